"""Who the patient is, as commands of ``carnet patient``: administrative data, further identifiers, search by traits."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import click

from carnet.affinity import domain_of
from carnet.commands.patient_acts import done, operator_of, patient_of
from carnet.console import DATA, JSON, Misuse, a_cx, emit, settings_of, table
from record import personal
from record.administrative import RELATIONS, AdministrativeData, Representative
from record.lifecycle import checked_identifier
from record.personal import Personal

TRAITS = tuple(one.name for one in fields(AdministrativeData) if one.name != "representatives")
SOUGHT = ("birth_name", "birth_given_names", "birth_date", "sex", "postal_code", "city")
AS_PATIENT = click.option("--as-patient", is_flag=True, help="As the patient himself; default: as the operator.")


def _given(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` of administrative data."""
    given = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not separator or name not in TRAITS:
            raise Misuse(f"{name!r}: give NAME=VALUE, with NAME one of {', '.join(TRAITS)}")
        given[name] = text
    return given


def _representatives(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Representative, ...]:
    """``RELATION:FAMILY NAME:GIVEN NAME:IDENTIFIER``, the last two as far as they are known."""
    made = []
    for value in values:
        relation, *rest = value.split(":")
        if relation not in RELATIONS or not rest or len(rest) > 3:
            raise Misuse(f"{value!r}: give RELATION:FAMILY[:GIVEN[:IDENTIFIER]], with RELATION one of "
                         f"{', '.join(sorted(RELATIONS))}")  # fmt: skip
        family, given, identifier = (*rest, "", "")[:3]
        made.append(Representative(family_name=family, given_name=given, relation=relation, identifier=identifier))
    return tuple(made)


def _facts(one: Personal) -> dict[str, Any]:
    return {
        "identifiers": list(one.patient_ids), "status": one.record.status.value,
        "objections": sorted(one.record.objected_purposes), **asdict(one.traits),
    }


def _words(one: Personal) -> str:
    facts = _facts(one)
    rows = [(name, facts[name]) for name in TRAITS if facts[name]]
    rows += [("representative", f"{who.relation} {who.family_name} {who.given_name}".strip())
             for who in one.traits.representatives]  # fmt: skip
    return "\n".join([*one.patient_ids, table(rows, ("", "")).strip() if rows else "no administrative data"])


@click.command("data")
@click.argument("patient", callback=a_cx)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", callback=_given,
              help="Change one of the data; may be repeated. An empty value removes it.")  # fmt: skip
@click.option("--representative", "representatives", multiple=True, metavar="RELATION:FAMILY[:GIVEN[:ID]]",
              callback=_representatives, help="Legal representatives; those given replace those kept.")  # fmt: skip
@AS_PATIENT
@DATA
@JSON
def data_(
    patient: str, changes: dict[str, str], representatives: tuple[Representative, ...], as_patient: bool, data: Path,
    as_json: bool,
) -> None:
    """Read the administrative data of a record (TD1.3a), or change them (TD1.3b).

    \b
    Examples:
      carnet patient data "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet patient data "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --set city=PARIS --set phone=0102030405
      carnet patient data "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --representative MTH:ESSAI:Anne:RL-0001
    """
    settings = settings_of(data)
    actor = patient_of(settings, patient) if as_patient else operator_of(settings)
    new: dict[str, Any] = dict(changes)
    if representatives:
        new["representatives"] = representatives

    def act(unit: Any) -> Personal:
        found = personal.read_data(unit, patient, by=actor)
        return personal.change_data(unit, patient, replace(found.traits, **new), by=actor) if new else found

    found = done(settings, actor, personal.DATA_CHANGED if new else personal.DATA_READ, patient, act)
    emit(as_json, _facts(found), _words(found))


@click.command("identify")
@click.argument("patient", callback=a_cx)
@click.argument("further", callback=a_cx)
@DATA
@JSON
def identify(patient: str, further: str, data: Path, as_json: bool) -> None:
    """The same person is known by another identifier, too: both lead to the record from now on.

    \b
    Example:
      carnet patient identify "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" \\
        "1234567890123456789012^^^&1.2.250.1.213.1.4.2&ISO^INS-C"
    """
    settings = settings_of(data)
    actor = operator_of(settings)

    def act(unit: Any) -> Personal:
        checked = checked_identifier(further, domain_of(settings).assigning_authorities)
        return personal.add_identifier(unit, patient, checked, by=actor)

    found = done(settings, actor, personal.IDENTIFIER_ADDED, patient, act)
    emit(as_json, _facts(found), "\n".join(found.patient_ids))


@click.command("search")
@click.option("--name", "birth_name", required=True, help="Family name, or its beginning.")
@click.option("--given", "birth_given_names", default="", help="Given names, or their beginning.")
@click.option("--born", "birth_date", default="", help="YYYY-MM-DD")
@click.option("--sex", type=click.Choice(["", "M", "F", "U"]), default="")
@click.option("--postal-code", default="")
@click.option("--city", default="")
@DATA
@JSON
def search(data: Path, as_json: bool, **wanted: str) -> None:
    """Find a record by the patient's traits: ten at most. Professionals do it in regulation mode only (TD0.5).

    \b
    Example:
      carnet patient search --name ESSAI --born 1979-05-14
    """
    settings = settings_of(data)
    actor = operator_of(settings)
    traits = replace(AdministrativeData(), **{name: wanted[name] for name in SOUGHT})  # type: ignore[arg-type]
    found = done(settings, actor, personal.SEARCHED, "", lambda unit: personal.find_by_traits(unit, traits, by=actor))
    rows = [(one.patient_ids[0], *(getattr(one.traits, name) for name in SOUGHT[:4])) for one in found]
    emit(as_json, [_facts(one) for one in found], table(rows, ("patient", *SOUGHT[:4])))


DATA_COMMANDS = (data_, identify, search)
