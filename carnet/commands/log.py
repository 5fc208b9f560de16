"""``carnet log``"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import click

import storage
from carnet.console import DATA, JSON, Misuse, settings_of
from carnet.settings import Settings
from carnet.wiring import audit_node
from guard.audit.access_log import as_json as line_as_json
from guard.audit.access_log import in_words
from guard.audit.atna import Message, grouped
from guard.audit.atna import messages as atna_messages
from guard.audit.store import AccessLine


@click.command("log")
@click.argument("patient", required=False)
@click.option("--all", "everything", is_flag=True, help="The newest lines of both services, refused logins included.")
@click.option("--last", default=50, show_default=True, help="How many lines with --all.")
@click.option("--atna", is_flag=True, help="The audit messages of the lines (XML), as far back as they are kept.")
@click.option("--language", type=click.Choice(["fr", "en"]), default="en", show_default=True)
@DATA
@JSON
def command(
    patient: str | None, everything: bool, last: int, atna: bool, language: str, data: Path, as_json: bool
) -> None:
    """The access log of a patient's record: who, as what, when, what and why, in plain words.

    \b
    Examples:
      carnet log "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet log --all --last 10
      carnet log --all --atna
    """
    if bool(patient) == everything:
        raise Misuse("give a PATIENT, or --all")
    settings = settings_of(data)
    if atna:
        for message in messages(settings, patient or "", last):
            click.echo(json.dumps({"at": message.at, "message": message.xml}) if as_json else message.xml)
        return
    lines = latest(settings, last) if everything else of_patient(settings, patient or "")
    for line in lines:
        if as_json:
            click.echo(json.dumps(json.loads(line_as_json(line)), ensure_ascii=False))
        else:
            cause = f" [{line.reason}; {line.clause}]" if everything and line.reason else ""
            click.echo(in_words(line, language) + cause)


def of_patient(settings: Settings, patient_id: str) -> Iterator[AccessLine]:
    """Lines of one record, oldest first: the registry keeps them, retrieves included. Those written for an identifier
    that was merged into this one are among them."""
    database = storage.open_registry(settings.registry_database)
    try:
        with database.read() as unit:
            record = unit.record.find(patient_id)
            if record is None:
                raise Misuse("there is no record for this patient")
            keys = [record.patient_key, *(one.patient_key for one in unit.record.merged_into(record.patient_key))]
            yield from heapq.merge(*map(unit.audit.read_for_patient, keys), key=attrgetter("at"))
    finally:
        database.close()


def latest(settings: Settings, last: int) -> list[AccessLine]:
    """The newest lines of both services, oldest first."""
    found: list[AccessLine] = []
    for opener, url in (
        (storage.open_registry, settings.registry_database),
        (storage.open_repository, settings.repository_database),
    ):
        database = opener(url)
        with database.read() as unit:
            found += unit.audit.read_latest(last)
        database.close()
    return sorted(found, key=lambda line: line.at)[-last:]


def messages(settings: Settings, patient_id: str, last: int) -> list[Message]:
    """Audit messages of one record, or of the newest lines of both services; sent or not, oldest first.

    Those of a record are the registry's: the repository's log knows no records.
    """
    node = audit_node(settings)
    found: list[Message] = []
    opened: list[tuple[str, Any]] = [("registry", storage.open_registry(settings.registry_database))]
    if not patient_id:
        opened.append(("repository", storage.open_repository(settings.repository_database)))
    for name, database in opened:
        try:
            with database.read() as unit:
                if patient_id:
                    record = unit.record.find(patient_id)
                    if record is None:
                        raise Misuse("there is no record for this patient")
                    rows = unit.outbox.of_patient(record.patient_key)
                else:
                    rows = unit.outbox.latest(last)
        finally:
            database.close()
        for group in grouped(line for _, line in rows):
            found += atna_messages(group, node, name)
    found.sort(key=lambda message: message.at)
    return found if patient_id else found[-last:]
