"""The command line: one program, verbs grouped by reader."""

from __future__ import annotations

import importlib
from typing import Any

import click

from carnet.keys import KeyTrouble
from carnet.secrecy import close_process, hide_secrets
from guard.credentials.try_counter import CardError

OPERATOR = (
    "init", "serve", "check", "patient", "document", "on-demand", "log", "notify", "remove", "matrix", "explain",
    "verify",
)
CREDENTIALS = ("pki", "card", "token")
PROFESSIONAL = ("send", "query", "retrieve", "circle", "call")
TESTER = ("demo", "bench")
GROUPS = {
    "Operate": OPERATOR,
    "Credentials": CREDENTIALS,
    "Deposit and read": PROFESSIONAL,
    "Try and measure": TESTER,
}


class Commands(click.Group):
    """Loads a verb's module when it is asked for, so that ``carnet --help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in GROUPS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"carnet.commands.{cmd_name.replace('-', '_')}")
        command = module.command
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:
        """What the process must not show is hidden before a verb's module is loaded.

        A card may refuse at any moment: taken out, or no longer answering. So may a key of the installation.
        """
        close_process()
        hide_secrets()
        try:
            return super().invoke(ctx)
        except (CardError, KeyTrouble) as error:
            raise click.ClickException(str(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in GROUPS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append((name, command.get_short_help_str(90)))
            with formatter.section(title):
                formatter.write_dl(rows)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="carnet")
def main() -> None:
    """Carnet: an open health-document exchange (IHE XDS.b) under signed professional credentials.

    \b
    Start here:
      carnet init --data data
      carnet serve all --data data
    """

