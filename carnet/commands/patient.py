"""``carnet patient``"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

import storage
from carnet.console import DATA, JSON, Refused, emit, settings_of, table
from carnet.settings import Settings
from carnet.wiring import domain_of
from guard.credentials.caller import Caller, Mode
from record import lifecycle
from record.lifecycle import RecordRefused
from record.store import Record
from registry.store import RegistryUnit


@click.group("patient")
def command() -> None:
    """Patients' records: open, close, reopen. PATIENT is a CX: number^^^&OID&ISO^NH."""


def operator() -> Caller:
    """Who acts at this terminal: the operator, under the name the system knows."""
    return Caller(identifier=f"operator {os.environ.get('USER', '')}".strip(), mode=Mode.NODE)


def _act(data: Path, as_json: bool, act: Callable[[RegistryUnit, Settings], Record]) -> None:
    settings = settings_of(data)
    database = storage.open_registry(settings.registry_database)
    try:
        with database.write() as unit:
            record = act(unit, settings)
    except RecordRefused as error:
        raise Refused(str(error)) from error
    finally:
        database.close()
    emit(as_json, _facts(record), f"{record.patient_id}: {record.status.value}")


def _facts(record: Record) -> dict[str, str]:
    return {
        "patient_id": record.patient_id,
        "status": record.status.value,
        "opened_at": record.opened_at,
        "opened_by": record.opened_by,
        "consent": record.consent,
        "channel": record.channel,
        "closed_at": record.closed_at,
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
            by=operator(),
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
    """Make a patient known, for test events where records need no consent of their own.

    \b
    Example:
      carnet patient add "T-1001^^^&1.3.6.1.4.1.21367.2005.3.7&ISO"
    """
    _act(
        data,
        as_json,
        lambda unit, settings: lifecycle.open_record(
            unit,
            patient,
            by=operator(),
            consent="test event",
            channel="batch",
            authorities=domain_of(settings).assigning_authorities,
        ),
    )


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
    _act(data, as_json, lambda unit, _: lifecycle.close_record(unit, patient, by=operator(), reason=reason))


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
        lambda unit, _: lifecycle.reopen_record(
            unit, patient, by=operator(), consent="CONSENTEMENT_REACTIVATION_DMP" if consent else ""
        ),
    )


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
    rows = [(r.patient_id, r.status.value, r.opened_at, r.opened_by) for r in records]
    emit(as_json, [_facts(r) for r in records], table(rows, ("patient", "status", "opened", "by")))
