"""``carnet log``"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

import storage
from carnet import log_keeper, proofs
from carnet.affinity import domain_source
from carnet.commands.patient import operator
from carnet.commands.patient_acts import operator_of
from carnet.console import DATA, JSON, Misuse, Refused, emit, settings_of
from carnet.gate import REGISTRY_NODE, REPOSITORY_NODE, TOKENS_NODE
from carnet.retention import expire as expire_traces
from carnet.settings import Settings
from carnet.wiring import audit_node, other_logs
from guard.audit.access_log import as_json as line_as_json
from guard.audit.access_log import in_words, stamp
from guard.audit.atna import Message, grouped
from guard.audit.atna import messages as atna_messages
from guard.audit.chain import Flaw
from guard.audit.readers import Reader, ReaderKind
from guard.audit.store import AccessLine
from guard.credentials.caller import Caller, Mode
from record import traces
from record.documents import hidden_names
from registry.shelf import Shelf


class _LogGroup(click.Group):
    """``carnet log PATIENT`` is short for ``carnet log show PATIENT``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group("log", cls=_LogGroup)
def command() -> None:
    """The access log: of one record, its proof, and accesses by emergency. `carnet log PATIENT` shows a record's.

    \b
    Examples:
      carnet log "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --lang fr
      carnet log verify
      carnet log proof 0123456789abcdef0123456789abcdef
      carnet log emergencies --since 2026-01-01
    """


@command.command("show")
@click.argument("patient", required=False)
@click.option("--all", "everything", is_flag=True, help="The newest lines of both services, refused logins included.")
@click.option("--last", default=50, show_default=True, help="How many lines with --all.")
@click.option("--atna", is_flag=True, help="The audit messages of the lines (XML), as far back as they are kept.")
@click.option(
    "--lang", "--language", "language", type=click.Choice(["fr", "en"]), default="en", show_default=True
)
@click.option(
    "--as", "reader", default="",
    help="patient, representative (without secret connections), or the PS_IdNat of a professional: what he may see. "
    "Default: the operator, who sees all.",
)
@DATA
@JSON
def show(
    patient: str | None, everything: bool, last: int, atna: bool, language: str, reader: str, data: Path, as_json: bool
) -> None:
    """The access log of a patient's record: who, as what, when, what and why, in plain words.

    \b
    Examples:
      carnet log "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet log "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --as representative --lang fr
      carnet log --all --last 10
      carnet log --all --atna
    """
    if bool(patient) == everything:
        raise Misuse("give a PATIENT, or --all")
    if reader and (atna or everything):
        raise Misuse("--as goes with the lines of one PATIENT")
    settings = settings_of(data)
    if atna:
        for message in messages(settings, patient or "", last):
            click.echo(json.dumps({"at": message.at, "message": message.xml}) if as_json else message.xml)
        return
    lines = latest(settings, last) if everything else of_patient(settings, patient or "", reader)
    for line in lines:
        if as_json:
            click.echo(json.dumps(json.loads(line_as_json(line)), ensure_ascii=False))
        else:
            cause = f" [{line.reason}; {line.clause}]" if everything and line.reason else ""
            click.echo(in_words(line, language) + cause)


def of_patient(settings: Settings, patient_id: str, reader: str = "") -> list[AccessLine]:
    """Lines of one record that this reader may see, oldest first: the registry keeps them, retrieves included."""
    database = storage.open_registry(settings.registry_database)
    try:
        with database.write() as unit:
            record = unit.record.find(patient_id)
            if record is None:
                raise Misuse("there is no record for this patient")
            by = operator()
            match reader:
                case "":
                    eyes = Reader(ReaderKind.OPERATOR)
                case "patient" | "representative":
                    mode = Mode.PATIENT if reader == "patient" else Mode.REPRESENTATIVE
                    shelf = Shelf(domain_source(settings), settings.registry.device_id)
                    hidden = hidden_names(unit, record, Caller(identifier=reader, mode=mode), shelf)
                    eyes = Reader(ReaderKind(reader), hidden=hidden)
                case _:
                    by = Caller(identifier=reader, mode=Mode.NODE)
                    eyes = traces.professional(unit.record, record, by)
            return traces.read(unit, record, eyes, by=by)
    except traces.TraceRefused as error:
        raise Refused(str(error)) from error
    finally:
        database.close()


@command.command("verify")
@click.option(
    "--checkpoints", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with copies of the checkpoint files (registry.jsonl, repository.jsonl); default: the services' own.",
)
@DATA
@JSON
def verify(checkpoints: Path | None, data: Path, as_json: bool) -> None:
    """Is the log whole? Finds lines that were changed, removed, inserted or cut off, and says which. Status 1 if any.

    \b
    Examples:
      carnet log verify
      carnet log verify --checkpoints /mnt/witness --json
    """
    settings = settings_of(data)
    found = []
    for name, database in opened(settings):
        file = log_keeper.checkpoint_file(settings, name)
        try:
            found.append(log_keeper.verify(settings, name, database, checkpoints / file.name if checkpoints else None))
        finally:
            database.close()
    for one in found:
        if as_json:
            continue
        click.echo(
            f"{one.log}: {one.lines} lines in the chain, {one.destroyed} destroyed, {one.checkpoints} checkpoints"
            + (f" (the newest of {one.last_checkpoint})" if one.last_checkpoint else "")
            + (f"; {one.older} older lines, from before the chain, are not protected" if one.older else "")
        )
        for flaw in one.flaws:
            click.echo(f"  {_flaw_in_words(flaw)}")
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
    if any(one.flaws for one in found):
        raise SystemExit(1)


def _flaw_in_words(flaw: Flaw) -> str:
    places = f"line {flaw.first}" if flaw.first == flaw.last else f"lines {flaw.first} to {flaw.last}"
    where = f"{places} of lane {flaw.lane}" if flaw.lane >= 0 and flaw.first else ""
    known = ", ".join(filter(None, (flaw.at, flaw.trace_id and f"trace {flaw.trace_id}")))
    told = (f"{flaw.kind.upper()}:", where, known and f"({known})", flaw.told and f"- {flaw.told}")
    return " ".join(filter(None, told))


@command.command("proof")
@click.argument("what", metavar="TRACE|SHA256")
@click.option("--xml", is_flag=True, help="The assertion as it was signed, instead of what it says.")
@click.option(
    "--trust", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Trust folder with the authorities of that time; default: the installation's own.",
)
@DATA
@JSON
def proof(what: str, xml: bool, trust: Path | None, data: Path, as_json: bool) -> None:
    """What the assertion of an act said, and that it was signed: verified again. Status 1 if it does not hold.

    WHAT is the trace id of the act, as the answer and the log carry it, or the hash its line names.

    \b
    Examples:
      carnet log proof 0123456789abcdef0123456789abcdef
      carnet log proof 0123456789abcdef0123456789abcdef --xml > assertion.xml
    """
    settings = settings_of(data)
    found = proofs.find(opened(settings), what)
    if not found:
        raise Misuse("no line of the log names an assertion by this trace id or hash")
    checked = [proofs.verify(settings, one, trust) for one in found]
    for one, result in zip(found, checked, strict=True):
        if xml:
            click.echo(one.assertion.decode())
        elif not as_json:
            click.echo(result.in_words())
    if as_json and not xml:
        click.echo(json.dumps([asdict(result) for result in checked], ensure_ascii=False))
    if not all(result.holds for result in checked):
        raise SystemExit(1)


@command.command("checkpoint")
@DATA
@JSON
def checkpoint(data: Path, as_json: bool) -> None:
    """Sign the present end of both logs, as the services do every so often.

    \b
    Example:
      carnet log checkpoint
    """
    settings = settings_of(data)
    made = []
    for name, database in opened(settings):
        try:
            if log_keeper.make_checkpoint(settings, name, database) is not None:
                made.append(str(log_keeper.checkpoint_file(settings, name)))
        finally:
            database.close()
    emit(as_json, {"written": made}, "\n".join(made) or "nothing new to sign")


@command.command("emergencies")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), default=None,
    help="UTC; default: the last 30 days.",
)
@click.option("--lang", "language", type=click.Choice(["fr", "en"]), default="en", show_default=True)
@DATA
@JSON
def list_emergencies(since: datetime | None, language: str, data: Path, as_json: bool) -> None:
    """Accesses by emergency, for control after the fact: each with its alerts and when the patient was told.

    \b
    Examples:
      carnet log emergencies
      carnet log emergencies --since 2026-01-31 --json
    """
    begin = since.replace(tzinfo=UTC) if since else datetime.now(UTC) - timedelta(days=30)
    database = storage.open_registry(settings_of(data).registry_database)
    try:
        with database.read() as unit:
            rows = unit.emergencies.since(int(begin.timestamp()) * 10**9)
            alerts: dict[str, list[str]] = {}
            for trace_id, event, detail in unit.emergencies.alerts():
                alerts.setdefault(trace_id, []).append(f"{event}: {detail}")
    finally:
        database.close()
    for _, line, told_at in rows:
        unusual = alerts.get(line.trace_id, [])
        told = stamp(datetime.fromtimestamp(told_at / 1e9, UTC)) if told_at else ""
        if as_json:
            click.echo(json.dumps(json.loads(line_as_json(line)) | {"alerts": unusual, "notified_at": told}))
        else:
            click.echo(
                f"{line.patient_id}: {in_words(line, language)}"
                + "".join(f" [! {one}]" for one in unusual) + (f" [told {told}]" if told else " [patient not told yet]")
            )


@command.command("extract")
@click.argument("identifier")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), default=None, help="First day, UTC; default: no bound.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Last day, UTC; default: no bound.")
@click.option("--lang", "language", type=click.Choice(["fr", "en"]), default="en", show_default=True)
@DATA
@JSON
def extract(
    identifier: str, since: datetime | None, until: datetime | None, language: str, data: Path, as_json: bool
) -> None:
    """Everything one professional did, in all records, on a lawful request. IDENTIFIER is PS_IdNat. That it was taken
    out is a line of the log.

    The lines are those of the registry, which knows every access once.

    \b
    Examples:
      carnet log extract 899700000018 --since 2026-01-01 --until 2026-03-31
      carnet log extract 899700000018 --json > traces.jsonl
    """
    if not identifier.strip():
        raise Misuse("IDENTIFIER is blank: give the PS_IdNat of a professional")
    begin, end = (stamp(one.replace(tzinfo=UTC) + timedelta(days=later)) if one else ""
                  for one, later in ((since, 0), (until, 1)))
    settings = settings_of(data)
    actor = operator_of(settings)
    database = storage.open_registry(settings.registry_database)
    try:
        with database.write() as unit:
            lines = traces.of_professional(unit, identifier.strip(), by=actor, since=begin, until=end)
    finally:
        database.close()
    for line in lines:
        click.echo(line_as_json(line) if as_json else f"{line.patient_id or '-'}: {in_words(line, language)}")


@command.command("expire")
@DATA
@JSON
def expire(data: Path, as_json: bool) -> None:
    """Destroy the traces of records whose time of keeping has ended. Their hashes stay, the chain holds. A running
    registry does it by itself.

    \b
    Example:
      carnet log expire
    """
    settings = settings_of(data)
    registry = storage.open_registry(settings.registry_database)
    try:
        records, lines = expire_traces(settings, registry, other_logs(settings), operator())
    finally:
        registry.close()
    emit(as_json, {"records": records, "lines": lines}, f"{lines} lines of {records} records destroyed")


def opened(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Name and database of each service; whoever asks closes them."""
    yield REGISTRY_NODE, storage.open_registry(settings.registry_database)
    yield REPOSITORY_NODE, storage.open_repository(settings.repository_database)
    yield TOKENS_NODE, storage.open_tokens(settings.tokens_database)


def latest(settings: Settings, last: int) -> list[AccessLine]:
    """The newest lines of every service, oldest first."""
    found: list[AccessLine] = []
    for opener, url in (
        (storage.open_registry, settings.registry_database),
        (storage.open_repository, settings.repository_database),
        (storage.open_tokens, settings.tokens_database),
    ):
        database = opener(url)
        with database.read() as unit:
            found += unit.audit.read_latest(last)
        database.close()
    return sorted(found, key=lambda line: line.at)[-last:]


def messages(settings: Settings, patient_id: str, last: int) -> list[Message]:
    """Audit messages of one record, or of the newest lines of every service; sent or not, oldest first.

    Those of a record are the registry's: the other logs know no records.
    """
    node = audit_node(settings)
    found: list[Message] = []
    opened: list[tuple[str, Any]] = [("registry", storage.open_registry(settings.registry_database))]
    if not patient_id:
        opened.append(("repository", storage.open_repository(settings.repository_database)))
        opened.append(("tokens", storage.open_tokens(settings.tokens_database)))
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
