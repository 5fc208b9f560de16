"""``carnet patient``"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

import storage
from carnet.affinity import domain_of
from carnet.commands.patient_acts import ACTS, done, operator, operator_of, patient_of
from carnet.commands.patient_data import DATA_COMMANDS
from carnet.console import DATA, JSON, Refused, emit, settings_of, table
from carnet.retention import retain_once, scrub
from carnet.settings import Settings
from guard.audit import access_log
from record import identity, lifecycle
from record.store import Record
from registry.store import RegistryUnit

Made = TypeVar("Made")


@click.group("patient")
def command() -> None:
    """Patients' records: their life, who may open them, and what the patient does. PATIENT is a CX:
    number^^^&OID&ISO^NH."""


def by_hand() -> identity.Act:
    return identity.Act(by=operator(), event="operator")


def _act(
    data: Path, as_json: bool, act: Callable[[RegistryUnit, Settings], Record], *, patient: str = "", name: str = "",
) -> None:
    settings = settings_of(data)
    record = done(settings, operator_of(settings), name, patient, lambda unit: act(unit, settings))
    emit(as_json, _facts(record), f"{record.patient_id}: {record.status.value}")


def _facts(record: Record, merged_into: str = "") -> dict[str, str]:
    return {
        "patient_id": record.patient_id,
        "status": record.status.value,
        "opened_at": record.opened_at,
        "opened_by": record.opened_by,
        "consent": record.consent,
        "channel": record.channel,
        "closed_at": record.closed_at,
        "closed_because": record.closed_because,
        "objections": ", ".join(sorted(record.objected_purposes)),
        "merged_into": merged_into,
    }


@command.command("open")
@click.argument("patient")
@click.option("--consent", is_flag=True, help="The patient has consented to the opening (required).")
@click.option("--channel", type=click.Choice(list(lifecycle.CHANNELS)), default="desk", show_default=True)
@DATA
@JSON
def open_(patient: str, consent: bool, channel: str, data: Path, as_json: bool) -> None:
    """Open a record with the patient's consent.

    \b
    Example:
      carnet patient open "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --consent
    """
    _act(
        data,
        as_json,
        lambda unit, settings: lifecycle.open_record(
            unit,
            patient,
            by=operator_of(settings),
            consent="CONSENTEMENT_OUVERTURE_DMP" if consent else "",
            channel=channel,
            authorities=domain_of(settings).assigning_authorities,
        ),
    )


@command.command("add")
@click.argument("patient")
@DATA
@JSON
def add(patient: str, data: Path, as_json: bool) -> None:
    """Make a patient identifier known and open to submissions, where the domain asks for no consent.

    \b
    Example:
      carnet patient add "T-1001^^^&1.3.6.1.4.1.21367.2005.3.7&ISO"
    """

    def act(unit: RegistryUnit, settings: Settings) -> Record:
        domain = domain_of(settings)
        return identity.add_identity(unit, domain, identity.from_cx(domain, patient), by_hand())

    _act(data, as_json, act)


@command.command("merge")
@click.argument("old")
@click.argument("into")
@click.option("--yes", is_flag=True, help="Do not ask again.")
@DATA
@JSON
def merge(old: str, into: str, yes: bool, data: Path, as_json: bool) -> None:
    """Merge the identifier OLD into another. What was stored under OLD belongs to INTO; there is no way back.

    \b
    Example:
      carnet patient merge "T-1001^^^&1.3.6.1.4.1.21367.2005.3.7&ISO" "T-1002^^^&1.3.6.1.4.1.21367.2005.3.7&ISO"
    """
    if not yes and sys.stdin.isatty():
        click.confirm("A merge cannot be undone. Merge?", abort=True, err=True)

    def act(unit: RegistryUnit, settings: Settings) -> Record:
        domain = domain_of(settings)
        subsumed, surviving = (identity.from_cx(domain, one) for one in (old, into))
        return identity.merge_identities(unit, domain, subsumed, surviving, by_hand())

    _act(data, as_json, act)


@command.command("close")
@click.argument("patient")
@click.option("--reason", required=True, help="Why, in words.")
@DATA
@JSON
def close(patient: str, reason: str, data: Path, as_json: bool) -> None:
    """Close a record: nothing of it can be read or written any more; it is kept.

    \b
    Example:
      carnet patient close "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --reason "at the patient's request"
    """
    _act(
        data,
        as_json,
        lambda unit, settings: lifecycle.close_record(
            unit, patient, by=operator_of(settings), reason=reason, code=lifecycle.CLOSED_AT_PATIENTS_REQUEST
        ),
        patient=patient,
        name=access_log.RECORD_CLOSED,
    )


@command.command("reopen")
@click.argument("patient")
@click.option("--consent", is_flag=True, help="The patient has consented again (required).")
@DATA
@JSON
def reopen(patient: str, consent: bool, data: Path, as_json: bool) -> None:
    """Reopen a closed record with a new consent.

    \b
    Example:
      carnet patient reopen "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --consent
    """
    _act(
        data,
        as_json,
        lambda unit, settings: lifecycle.reopen_record(
            unit, patient, by=operator_of(settings), consent="CONSENTEMENT_REACTIVATION_DMP" if consent else ""
        ),
    )


@command.command("exists")
@click.argument("patient")
@DATA
@JSON
def exists(patient: str, data: Path, as_json: bool) -> None:
    """Is there a record, and in which state?

    \b
    Example:
      carnet patient exists "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
    """
    settings = settings_of(data)
    actor = operator_of(settings)
    found = done(settings, actor, lifecycle.EXISTENCE_TESTED, patient,
                  lambda unit: lifecycle.find_existence(unit, patient, by=actor))
    facts = _facts(found.record) if found else {"patient_id": patient, "status": "absent"}
    emit(as_json, facts, f"{patient}: {facts['status']}")


@command.command("died")
@click.argument("patient")
@click.option("--on", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Day of death.")
@DATA
@JSON
def died(patient: str, on: datetime, data: Path, as_json: bool) -> None:
    """The holder has died: close the record; it is kept its years and never reopened.

    \b
    Example:
      carnet patient died "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --on 2026-03-01
    """
    _act(
        data,
        as_json,
        lambda unit, settings: lifecycle.holder_died(unit, patient, by=operator_of(settings), on=on.date()),
        patient=patient,
        name=access_log.RECORD_CLOSED,
    )


@command.command("announce")
@click.argument("patients", nargs=-1, required=True)
@DATA
@JSON
def announce(patients: tuple[str, ...], data: Path, as_json: bool) -> None:
    """Announce records that open when the notice ends, unless the patient declines. Known patients are left out.

    \b
    Example:
      carnet patient announce "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
    """
    settings = settings_of(data)
    actor, authorities = operator_of(settings), domain_of(settings).assigning_authorities
    told = []
    for patient in patients:
        try:
            record = done(settings, actor, lifecycle.ANNOUNCED, patient,
                           partial(lifecycle.announce, patient_id=patient, by=actor, authorities=authorities))
            told.append({"patient_id": patient, "opens_at": record.opened_at, "refused": ""})
        except Refused as error:
            told.append({"patient_id": patient, "opens_at": "", "refused": str(error)})
    rows = [(one["patient_id"], one["opens_at"], one["refused"]) for one in told]
    emit(as_json, told, table(rows, ("patient", "opens", "refused")))


@command.command("decline")
@click.argument("patient")
@DATA
@JSON
def decline(patient: str, data: Path, as_json: bool) -> None:
    """As the patient: no record is wanted. An announced one is not opened.

    \b
    Example:
      carnet patient decline "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
    """
    settings = settings_of(data)
    actor = patient_of(settings, patient)
    record = done(settings, actor, lifecycle.DECLINED, patient,
                   lambda unit: lifecycle.decline(unit, patient, by=actor))
    emit(as_json, _facts(record), f"{patient}: {record.status.value}")


@command.command("retention")
@click.option("--run", is_flag=True, help="Do it; without, only show what destructions there were.")
@DATA
@JSON
def retention(run: bool, data: Path, as_json: bool) -> None:
    """Open what was announced, destroy what was kept long enough, and clear the files of what was destroyed.

    \b
    Example:
      carnet patient retention --run
    """
    settings = settings_of(data)
    database = storage.open_registry(settings.registry_database)
    try:
        if run:
            retain_once(settings, database)
            scrub(database)
        with database.read() as unit:
            found = unit.record.destructions()
    finally:
        database.close()
    columns = ("receipt", "decided_at", "documents", "completed_at", "scrubbed_at")
    facts = [{name: getattr(one, name) for name in columns} for one in found]
    rows = [tuple(str(one[name]) for name in columns) for one in facts]
    emit(as_json, facts, table(rows, ("receipt", "decided", "documents", "erased", "scrubbed")))


@command.command("list")
@DATA
@JSON
def listing(data: Path, as_json: bool) -> None:
    """Every record and its state.

    \b
    Example:
      carnet patient list --json
    """
    database = storage.open_registry(settings_of(data).registry_database)
    with database.read() as unit:
        records = unit.record.all()
    database.close()
    names = {r.patient_key: r.patient_id for r in records}
    facts = [_facts(r, names.get(r.subsumed_by or 0, "")) for r in records]
    columns = ("patient_id", "status", "opened_at", "opened_by", "merged_into")
    rows = [tuple(one[name] for name in columns) for one in facts]
    emit(as_json, facts, table(rows, ("patient", "status", "opened", "by", "merged into")))


for _one in (*ACTS, *DATA_COMMANDS):
    command.add_command(_one)
