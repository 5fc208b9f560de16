"""``carnet patient``"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

import storage
from carnet.console import DATA, JSON, Refused, emit, settings_of, table
from carnet.settings import Settings
from carnet.wiring import domain_of
from guard.credentials.caller import Caller, Mode
from record import identity, lifecycle
from record.actor import RecordRefused
from record.store import Record
from registry.store import RegistryUnit


@click.group("patient")
def command() -> None:
    """Patients' records: open, close, reopen; identifiers: add, merge. PATIENT is a CX: number^^^&OID&ISO^NH."""


def operator() -> Caller:
    """Who acts at this terminal: the operator, under the name the system knows."""
    return Caller(identifier=f"operator {os.environ.get('USER', '')}".strip(), mode=Mode.NODE)


def by_hand() -> identity.Act:
    return identity.Act(by=operator(), event="operator")


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


def _facts(record: Record, merged_into: str = "") -> dict[str, str]:
    return {
        "patient_id": record.patient_id,
        "status": record.status.value,
        "opened_at": record.opened_at,
        "opened_by": record.opened_by,
        "consent": record.consent,
        "channel": record.channel,
        "closed_at": record.closed_at,
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
    names = {r.patient_key: r.patient_id for r in records}
    facts = [_facts(r, names.get(r.subsumed_by or 0, "")) for r in records]
    columns = ("patient_id", "status", "opened_at", "opened_by", "merged_into")
    rows = [tuple(one[name] for name in columns) for one in facts]
    emit(as_json, facts, table(rows, ("patient", "status", "opened", "by", "merged into")))
