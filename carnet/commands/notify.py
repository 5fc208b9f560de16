"""``carnet notify``"""

from __future__ import annotations

import json
from pathlib import Path

import click

import storage
from carnet.console import DATA, JSON, Misuse, Refused, emit, settings_of
from carnet.notices import AT_ONCE, deliver_all, grouped, message, notifier_of


@click.command("notify")
@click.option("--pending", is_flag=True, help="Show who is to be told, and of what.")
@click.option("--deliver", is_flag=True, help="Tell them: through --notifier, or the setting emergencies.notifier.")
@click.option("--notifier", default="", help="Program that gets one JSON object on its input, or module:function.")
@DATA
@JSON
def command(pending: bool, deliver: bool, notifier: str, data: Path, as_json: bool) -> None:
    """Tell patients of accesses by emergency. One message for each record and professional; kept until delivered.
    A running registry does it by itself when emergencies.notifier is set.

    \b
    Examples:
      carnet notify --pending
      carnet notify --deliver --notifier /usr/local/bin/tell-patient
      carnet notify --deliver --notifier our_notices:send
    """
    if pending == deliver:
        raise Misuse("give --pending or --deliver")
    settings = settings_of(data)
    database = storage.open_registry(settings.registry_database)
    try:
        if pending:
            with database.read() as unit:
                waiting = unit.emergencies.to_notify(AT_ONCE)
            for group in grouped(waiting):
                told = message([line for _, line in group])
                click.echo(json.dumps(told, ensure_ascii=False) if as_json else told["text_en"])
            return
        chosen = notifier or settings.emergencies.notifier
        if not chosen:
            raise Misuse("no notifier: use --notifier, or set emergencies.notifier")
        try:
            notify = notifier_of(chosen)
        except ValueError as error:
            raise Misuse(str(error)) from error
        delivered, failed = deliver_all(database, notify)
    finally:
        database.close()
    emit(as_json, {"delivered": delivered, "failed": failed}, f"{delivered} delivered, {failed} failed")
    if failed:
        raise Refused("some patients were not told; they stay in the queue")
