"""``carnet circle``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from lxml import etree

from carnet.commands.call import typed
from carnet.console import DATA, JSON, Misuse, Place, a_cx, card_options, client_of, emit, table
from conformance.client import Client
from record.circle import Listed
from record.td.services import ACTS, HABILITATIONS, PATIENTS, SYSTEM
from record.td.td03_set_authorization import ATTENDING, IN_CARE_TEAM
from record.td.td04_patient_list import DATE_TYPES

PLACE = ("nationalId", "lastName", "codeSpeciality", "startOfAuthorization", "lastActionDate", "mode", "specificRight")
RECORD = ("nationalId", "patronymicalName", "firstName", "dateOfBirth", "MT", "message", "lastAccessDate",
          "lastAddDate")
Options = dict[str, Any]


@click.group("circle")
def command() -> None:
    """Who may open a record, as a professional with his card: TD0.3, TD0.4 and TD1.6. What the patient himself does to
    his circle is in `carnet patient`. And what his software has to know of the server.

    \b
    Examples:
      carnet circle join "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --agreed
      carnet circle records --since 2026-01-31
    """


def by_card(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a caller with a card; the command gets a client made of them."""

    @card_options
    @DATA
    @JSON
    @click.pass_context
    def wrapped(
        context: click.Context, card_file: Place | None, pin_file: Path | None, structure_id: str, purpose: str,
        repository_url: str, registry_url: str, ca: Path | None, data: Path, **given: Any,
    ) -> None:
        client = client_of(data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca)
        context.invoke(function, client=client, **given)

    wrapped.__doc__ = function.__doc__
    return wrapped


def _set(client: Client, patient: str, action: str, role: str, as_json: bool) -> None:
    answer = typed(client, HABILITATIONS, "setAuthorization", patient, action=action, role=role)
    told = "".join(one.text or "" for one in answer.iterfind("{*}output/{*}context"))
    emit(as_json, {"action": action, "role": role, "context": told}, told or "done")


@command.command("join")
@click.argument("patient", callback=a_cx)
@click.option("--agreed", is_flag=True, help="The patient agrees (required: it is never assumed).")
@click.option("--attending", is_flag=True, help="Become the attending physician, too.")
@click.option(
    "--care-team", is_flag=True, help="As a member of the care team: the patient is informed and does not object."
)
@by_card
def join(client: Client, patient: str, agreed: bool, attending: bool, care_team: bool, as_json: bool) -> None:
    """Declare oneself authorised, with the patient's agreement (TD0.3). Again: its end moves.

    \b
    Examples:
      carnet circle join "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --agreed --attending
      carnet circle join "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --care-team
    """
    if attending and care_team:
        raise Misuse("give --attending or --care-team")
    if not (agreed or care_team):
        raise Misuse("ask the patient, and say with --agreed that he agrees, or with --care-team that he was informed")
    _set(client, patient, "AJOUT", ATTENDING if attending else IN_CARE_TEAM if care_team else "", as_json)


@command.command("leave")
@click.argument("patient", callback=a_cx)
@click.option("--attending", is_flag=True, help="Only stop attending; the authorisation stays.")
@by_card
def leave(client: Client, patient: str, attending: bool, as_json: bool) -> None:
    """Withdraw one's own authorisation (TD0.3).

    \b
    Example:
      carnet circle leave "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
    """
    _set(client, patient, "SUPPRESSION", ATTENDING if attending else "", as_json)


@command.command("show")
@click.argument("patient", callback=a_cx)
@click.option("--which", type=click.Choice([one.value for one in Listed]), default=Listed.ALL.value, show_default=True)
@by_card
def show(client: Client, patient: str, which: str, as_json: bool) -> None:
    """Who is authorised, who is barred (TD1.6).

    \b
    Example:
      carnet circle show "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --which INTERDITE
    """
    answer = typed(client, HABILITATIONS, "listAuthorizationByPatient", patient, mode=which)
    _list(as_json, answer, "listOfAuthorizationByPatient", PLACE)


@command.command("records")
@click.option("--since", default="", metavar="DATE", help="YYYY-MM-DD or DDMMYYYY; default: all.")
@click.option("--by", type=click.Choice(DATE_TYPES), default=DATE_TYPES[0], show_default=True)
@by_card
def records(client: Client, since: str, by: str, as_json: bool) -> None:
    """The records one may open (TD0.4).

    \b
    Example:
      carnet circle records --since 2026-01-31 --by LASTDOC
    """
    answer = typed(client, PATIENTS, "patientList", "", startDate=since, dateType=by)
    _list(as_json, answer, "patientlistData", RECORD)


@command.command("alert")
@click.argument("patient", callback=a_cx)
@click.option("--type", "types", multiple=True, metavar="CODE^^SYSTEM", help="Only of this type; may be repeated.")
@click.option("--on/--off", "wanted", default=True, show_default=True)
@by_card
def alert(client: Client, patient: str, types: tuple[str, ...], wanted: bool, as_json: bool) -> None:
    """Be told of new documents of a record, or no more. Again: the types given replace those of before.

    \b
    Example:
      carnet circle alert "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --type "11502-2^^2.16.840.1.113883.6.1"
    """
    typed(client, ACTS, "setNotices", patient, value="true" if wanted else "false", typeCode=types)
    emit(as_json, {"alert": wanted, "types": list(types)}, "done")


@command.command("parameters")
@by_card
def parameters(client: Client, as_json: bool) -> None:
    """What software has to know of the server: are minors managed, the ages, which marks exclude each other.

    \b
    Example:
      carnet circle parameters --json
    """
    answer = typed(client, SYSTEM, "getParameters", "")
    _list(as_json, answer, "parameter", ("name", "value"))


def _list(as_json: bool, answer: etree._Element, each: str, columns: tuple[str, ...]) -> None:
    rows = [
        {name: ", ".join(one.text or "" for one in line.iter(f"{{*}}{name}")) for name in columns}
        for line in answer.iterfind(f"{{*}}output/{{*}}{each}")
    ]
    emit(as_json, rows, table([tuple(row.values()) for row in rows], columns))
