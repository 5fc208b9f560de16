"""What the patient does with his own record, as commands of ``carnet patient``: the operator types for him.

Also what every command of ``carnet patient`` shares: who acts, and one act in one unit of the database.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

import storage
from carnet.affinity import domain_of, policy_of
from carnet.console import DATA, JSON, Refused, emit, settings_of, table
from carnet.retention import rules_of, scrub
from carnet.settings import Settings
from guard.credentials.caller import Caller, Mode
from record import actor as actors
from record import acts, circle, destruction, notices
from record.actor import Actor, RecordRefused, as_actor, carried_out
from record.circle import Listed
from record.store import Kind, Place

Made = TypeVar("Made")
STRUCTURE = click.option("--structure", is_flag=True, help="SUBJECT is a structure (Struct_IdNat), not a person.")
PURPOSES = click.Choice(sorted(acts.OBJECTIONS.values()))


def operator() -> Caller:
    """Who acts at this terminal: the operator, under the name the system knows."""
    return Caller(identifier=f"operator {os.environ.get('USER', '')}".strip(), mode=Mode.NODE)


def operator_of(settings: Settings) -> Actor:
    return replace(as_actor(operator()), rules=rules_of(settings), event="operator")


def patient_of(settings: Settings, patient: str, representative: str = "") -> Actor:
    """The patient himself, or his representative of that identifier; the operator vouches for either."""
    policy = policy_of(settings, domain_of(settings))
    return actors.patient(
        patient, policy, representative=representative, rules=rules_of(settings), event="patient"
    )


def done(settings: Settings, actor: Actor, name: str, patient: str, act: Callable[[Any], Made]) -> Made:
    """One act in one unit; a refusal leaves its line and ends the command."""
    database = storage.open_registry(settings.registry_database)
    try:
        return carried_out(database, actor, name, patient, act)
    except RecordRefused as error:
        raise Refused(f"{error} ({error.problem.dmp_error})") from error
    finally:
        database.close()


def _as_patient(
    data: Path, patient: str, name: str, act: Callable[[Any, Actor], Made]
) -> Made:
    settings = settings_of(data)
    actor = patient_of(settings, patient)
    return done(settings, actor, name, patient, lambda unit: act(unit, actor))


def _place(place: Place) -> dict[str, str]:
    return {
        "kind": place.kind.value, "subject": place.subject, "name": place.name, "specialty": place.specialty,
        "basis": place.basis, "since": place.since, "until": place.until, "attending_since": place.attending_since,
        "blocked_since": place.blocked_since, "last_act_at": place.last_act_at,
    }


def _tell(as_json: bool, place: Place) -> None:
    state = "barred" if place.blocked_since else f"authorised until {place.until or 'withdrawn'}" if place.basis else (
        "not authorised")
    emit(as_json, _place(place), f"{place.kind} {place.subject}: {state}")


def _kind(is_structure: bool) -> Kind:
    return Kind.STRUCTURE if is_structure else Kind.PERSON


@click.command("allow")
@click.argument("patient")
@click.argument("subject")
@STRUCTURE
@click.option("--days", type=click.IntRange(0), help="How long; 0: until withdrawn. Default: the setting.")
@DATA
@JSON
def allow(patient: str, subject: str, structure: bool, days: int | None, data: Path, as_json: bool) -> None:
    """Authorise a professional, by his national identifier, to open the record.

    \b
    Example:
      carnet patient allow "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" 899700000018
    """
    _tell(as_json, _as_patient(data, patient, circle.AUTHORISED, lambda unit, by: acts.allow(
        unit, patient, subject, by=by, kind=_kind(structure), days=days)))


@click.command("disallow")
@click.argument("patient")
@click.argument("subject")
@STRUCTURE
@DATA
@JSON
def disallow(patient: str, subject: str, structure: bool, data: Path, as_json: bool) -> None:
    """Take an authorisation back.

    \b
    Example:
      carnet patient disallow "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" 899700000018
    """
    _tell(as_json, _as_patient(data, patient, circle.WITHDRAWN, lambda unit, by: acts.disallow(
        unit, patient, subject, by=by, kind=_kind(structure))))


@click.command("block")
@click.argument("patient")
@click.argument("subject")
@STRUCTURE
@DATA
@JSON
def block(patient: str, subject: str, structure: bool, data: Path, as_json: bool) -> None:
    """Bar a professional: no access in any way, emergency included.

    \b
    Example:
      carnet patient block "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" 899700000018
    """
    _tell(as_json, _as_patient(data, patient, acts.BLOCKED, lambda unit, by: acts.block(
        unit, patient, subject, by=by, kind=_kind(structure))))


@click.command("unblock")
@click.argument("patient")
@click.argument("subject")
@STRUCTURE
@DATA
@JSON
def unblock(patient: str, subject: str, structure: bool, data: Path, as_json: bool) -> None:
    """Lift a bar; what was there before counts again.

    \b
    Example:
      carnet patient unblock "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" 899700000018
    """
    _tell(as_json, _as_patient(data, patient, acts.UNBLOCKED, lambda unit, by: acts.unblock(
        unit, patient, subject, by=by, kind=_kind(structure))))


@click.command("object")
@click.argument("patient")
@click.argument("purpose", type=PURPOSES)
@DATA
@JSON
def object_(patient: str, purpose: str, data: Path, as_json: bool) -> None:
    """Object to break-glass, to the emergency call centre, or to the care team.

    \b
    Example:
      carnet patient object "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" bris_de_glace
    """
    record = _as_patient(data, patient, acts.OBJECTED, lambda unit, by: acts.object_to(unit, patient, purpose, by=by))
    emit(as_json, sorted(record.objected_purposes), f"objections: {', '.join(sorted(record.objected_purposes))}")


@click.command("unobject")
@click.argument("patient")
@click.argument("purpose", type=PURPOSES)
@DATA
@JSON
def unobject(patient: str, purpose: str, data: Path, as_json: bool) -> None:
    """Take an objection back.

    \b
    Example:
      carnet patient unobject "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" bris_de_glace
    """
    record = _as_patient(
        data, patient, acts.NOT_OBJECTED, lambda unit, by: acts.lift_objection(unit, patient, purpose, by=by)
    )
    emit(as_json, sorted(record.objected_purposes), f"objections: {', '.join(sorted(record.objected_purposes))}")


@click.command("notices")
@click.argument("patient")
@click.option("--on/--off", "wanted", default=True, show_default=True)
@DATA
@JSON
def choose_notices(patient: str, wanted: bool, data: Path, as_json: bool) -> None:
    """As the patient: be told of each new document, or no more. `carnet notify` tells, and a running registry.

    \b
    Example:
      carnet patient notices "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --on
    """
    _as_patient(data, patient, notices.CHOSEN if wanted else notices.UNCHOSEN, lambda unit, by: notices.choose(
        unit, patient, by=by, is_wanted=wanted))
    emit(as_json, {"notices": wanted}, "told of new documents" if wanted else "not told of new documents")


@click.command("circle")
@click.argument("patient")
@click.option("--which", type=click.Choice([one.value for one in Listed]), default=Listed.ALL.value, show_default=True)
@DATA
@JSON
def list_circle(patient: str, which: str, data: Path, as_json: bool) -> None:
    """Who may open the record, and who may not.

    \b
    Example:
      carnet patient circle "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --which INTERDITE
    """
    found = _as_patient(data, patient, circle.CIRCLE_LISTED, lambda unit, by: circle.list_circle(
        unit, patient, by=by, which=Listed(which)))
    columns = ("kind", "subject", "name", "basis", "since", "until", "attending_since", "blocked_since")
    rows = [tuple(_place(one)[name] for name in columns) for one in found]
    emit(as_json, [_place(one) for one in found], table(rows, columns))


@click.command("destroy")
@click.argument("patient")
@click.option("--confirm", "token", help="The token the first step has given.")
@click.option("--yes", is_flag=True, help="Do not ask again.")
@DATA
@JSON
def destroy(patient: str, token: str | None, yes: bool, data: Path, as_json: bool) -> None:
    """Destroy a record for good, in two steps: the first gives a token, the second takes it and gives a receipt.

    \b
    Example:
      carnet patient destroy "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet patient destroy "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --confirm TOKEN
    """
    if token is None:
        given = _as_patient(data, patient, destruction.ASKED, lambda unit, by: destruction.ask_destruction(
            unit, patient, by=by))
        emit(as_json, {"token": given}, f"nothing is destroyed yet; confirm with: --confirm {given}")
        return
    if not yes and sys.stdin.isatty():
        click.confirm("Nothing brings it back. Destroy?", abort=True, err=True)
    made = _as_patient(data, patient, destruction.DESTROYED, lambda unit, by: destruction.confirm_destruction(
        unit, patient, token, by=by))
    database = storage.open_registry(settings_of(data).registry_database)
    try:
        scrub(database)
    except TimeoutError as error:
        click.echo(f"{error}: the retention job repeats it", err=True)
    finally:
        database.close()
    emit(as_json, {"receipt": made.receipt, "documents": made.documents},
         f"destroyed; receipt {made.receipt}; {made.documents} documents are being erased")


ACTS = (allow, disallow, block, unblock, object_, unobject, choose_notices, list_circle, destroy)
