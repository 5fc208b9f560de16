"""``carnet check``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from carnet import gate, node, wiring
from carnet.agreement import compare
from carnet.console import DATA, JSON, Refused, emit, settings_of
from repository.registry_link import RegistryUnavailable
from repository.sweep import sweep


@click.command("check")
@DATA
@click.option("--full", is_flag=True, help="Read every document and compute its SHA-1 again.")
@click.option("--repair", is_flag=True, help="Sweep unfinished deposits older than the grace period first.")
@click.option(
    "--grace", type=float,
    help="Seconds in place of the configured grace period with --repair; below it only while nothing is deposited.",
)
@JSON
def command(data: Path, full: bool, repair: bool, grace: float | None, as_json: bool) -> None:
    """Do registry, repository and documents agree, and are the keys whole and private? Repairs only when asked:
    leftovers of unfinished deposits, and the modes of key files.

    \b
    Examples:
      carnet check
      carnet check --full --repair --json
    """
    settings = settings_of(data)
    try:
        opened = node.close_key_files(settings, repair=repair)
    except OSError as error:
        raise Refused(f"{error.filename} is open to others and cannot be closed: {error.strerror}") from error
    wrong = [text for name in gate.names(settings) if (text := node.problem(settings, name))]
    if wrong:
        raise Refused("; ".join(wrong))
    registry = wiring.registry_actor(settings)
    local = wiring.registry_service(settings, registry).app
    repository = wiring.repository_actor(settings, wiring.link_of(settings, local))
    if repair:
        try:
            sweep(repository, settings.repository.grace if grace is None else grace)
        except RegistryUnavailable as error:
            raise Refused(f"sweep: {error}") from error
    told = "was open to others than its owner: closed" if repair else "IS OPEN to others than its owner: use --repair"
    report = compare(registry, repository, full=full)
    emit(
        as_json,
        {**asdict(report), "agree": report.agree, "open_keys": [] if repair else list(map(str, opened))},
        "\n".join([report.in_words(), *(f"  key file {file} {told}" for file in opened)]),
    )
    if not report.agree or (opened and not repair):
        raise SystemExit(1)
