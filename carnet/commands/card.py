"""``carnet card``"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from carnet.assertions import Desk
from carnet.console import (
    CARD_HELP,
    CARD_PLACE,
    DATA,
    JSON,
    PIN_FILE,
    PURPOSE,
    REASON,
    Misuse,
    Place,
    Refused,
    emit,
    open_card,
    reason_given,
    secret,
    settings_of,
)
from carnet.settings import FILE_NAME
from conformance.tester_assertions import SPOILS
from conformance.tester_assertions import issue as issue_assertion
from guard.credentials.cards import Card, CardError, signature_path
from guard.credentials.identity import CardType
from guard.credentials.pki import Pki

OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="Card file to write (.p12).")


FORMS = {
    "identifier": (
        re.compile(r"8[0-9]{11}|0[0-9A-Z]{9}|[1-6][0-9A-Z]{8,14}/[!-.0-~]{1,40}"),
        "PS_IdNat: 8 and the 11 digits of the RPPS, 0 and the ADELI number, or structure/internal identifier",
    ),
    "structure_id": (
        re.compile(r"[0-9][0-9A-Z]{8,15}"),
        "Struct_IdNat: 1 and the FINESS, 2 and the SIREN, 3 and the SIRET, 4 and the RPPS with its rank",
    ),
}
"""Form of a national identifier, and its name in words. Clause: DMP PS_IdNat, Struct_IdNat"""


def _national(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    form, words = FORMS[str(parameter.name)]
    if not form.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not an identifier of the form {words}")
    return value


@click.group("card")
def command() -> None:
    """Test cards of professionals and structures."""


@command.group("issue")
def issue() -> None:
    """Issue a test card; the PIN comes from --pin-file, CARNET_PIN or a prompt."""


def _new_pin(pin_file: Path | None) -> str:
    pin = secret(pin_file, "CARNET_PIN", "PIN of the new card", option="--pin-file", confirm=True)
    if not pin:
        raise Misuse("a card needs a PIN: this one is empty")
    return pin


def _issue(out: Path, pin_file: Path | None, as_json: bool, make: Callable[[], Card]) -> None:
    """Everything that could stop the card is looked at before a certificate is issued that nobody would hold."""
    pin = _new_pin(pin_file)
    for file in (out, signature_path(out)):
        if file.exists():
            raise Refused(f"{file} already exists")
    if not out.absolute().parent.is_dir():
        raise Misuse(f"there is no folder {out.absolute().parent}")
    try:
        card = make()
        card.save(out, pin)
    except FileExistsError as error:
        raise Refused(str(error)) from error
    except (CardError, ValueError) as error:
        raise Misuse(f"the card cannot be made: {error}") from error
    emit(
        as_json,
        {"card": str(out), **_facts(card)},
        f"{out}: card of {card.identity.name or card.identity.organisation}",
    )


def _facts(card: Card) -> dict[str, Any]:
    who = card.identity
    return {
        "kind": card.kind.value,
        "identifier": who.common_name,
        "name": who.name,
        "profession": who.profession,
        "specialties": sorted(who.specialties),
        "structure": who.unit,
        "organisation": who.organisation,
        "valid_until": card.authentication.certificate.not_valid_after_utc.isoformat(),
        "can_sign": card.signature_pair is not None,
    }


@issue.command("person")
@click.argument("identifier", callback=_national)
@click.option("--surname", required=True)
@click.option("--given", required=True, help="Given name.")
@click.option(
    "--profession",
    type=int,
    default=10,
    show_default=True,
    help="Profession (TRE_G15): 10 physician, 60 nurse, 21 pharmacist; 0: staff card.",
)
@click.option("--label", default="Médecin", show_default=True, help="Profession in words.")
@click.option("--specialty", "specialties", multiple=True, help="Specialty (TRE_R01), e.g. SM26.")
@OUT
@PIN_FILE
@DATA
@JSON
def person(
    identifier: str,
    surname: str,
    given: str,
    profession: int,
    label: str,
    specialties: tuple[str, ...],
    out: Path,
    pin_file: Path | None,
    data: Path,
    as_json: bool,
) -> None:
    """Card of a professional. IDENTIFIER is PS_IdNat: 8 and the 11 digits of the RPPS.

    \b
    Example:
      CARNET_PIN=0000 carnet card issue person 899700000018 --surname ESSAI --given Anne --specialty SM26 --out anne.p12
    """
    pki = Pki.open(settings_of(data).pki)
    _issue(
        out,
        pin_file,
        as_json,
        lambda: pki.issue_person(
            identifier,
            surname,
            given,
            profession=profession or None,
            label=label,
            specialties=specialties,
            card_type=CardType.CPS if profession else CardType.CPE,
        ),
    )


@issue.command("structure")
@click.argument("structure_id", callback=_national)
@click.option("--organisation", required=True, help="Name of the structure.")
@click.option("--service", default="Service informatique", show_default=True, help="System or department.")
@OUT
@PIN_FILE
@DATA
@JSON
def structure(
    structure_id: str, organisation: str, service: str, out: Path, pin_file: Path | None, data: Path, as_json: bool
) -> None:
    """Certificates of a structure. STRUCTURE_ID is Struct_IdNat: 1 and the FINESS, 3 and the SIRET, ...

    \b
    Example:
      CARNET_PIN=0000 carnet card issue structure 10B0000001 --organisation "Laboratoire ESSAI" --out lab.p12
    """
    pki = Pki.open(settings_of(data).pki)
    _issue(out, pin_file, as_json, lambda: pki.issue_structure(structure_id, organisation, service))


@command.command("show")
@click.argument("card_file", type=CARD_PLACE)
@PIN_FILE
@JSON
def show(card_file: Place, pin_file: Path | None, as_json: bool) -> None:
    """What a card says of its holder.

    \b
    Example:
      carnet card show anne.p12
    """
    facts = _facts(open_card(card_file, pin_file))
    emit(as_json, facts, "\n".join(f"{k}: {v}" for k, v in facts.items() if v not in ("", None, [])))


@command.command("assert")
@click.option(
    "--card",
    "card_file",
    type=CARD_PLACE,
    required=True,
    envvar="CARNET_CARD",
    help=CARD_HELP,
)
@PIN_FILE
@click.option("--patient", default="", help="CX of the patient the assertion names.")
@click.option("--structure", "structure_id", default="", envvar="CARNET_STRUCTURE", help="Struct_IdNat (VIHF).")
@click.option("--purpose", default="", help=PURPOSE)
@REASON
@click.option("--role", default="", help="Role, code^^system; default: that of the card, or the domain's first.")
@click.option("--spoil", type=click.Choice(list(SPOILS)), help="Make a bad one: every service must refuse it.")
@click.option("--with-authz-consent", "consent", is_flag=True, help="Add the attributes of a patient's consent.")
@DATA
def make_assertion(
    card_file: Place,
    pin_file: Path | None,
    patient: str,
    structure_id: str,
    purpose: str,
    role: str,
    spoil: str | None,
    consent: bool,
    data: Path,
) -> None:
    """Print a signed assertion: plain XUA or VIHF, as the domain of --data asks. For test tools and by hand.

    \b
    Examples:
      carnet card assert --card anne.p12 --structure 10B0000001 --patient "279...^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet card assert --card anne.p12 --patient "T-1001^^^&1.3.6.1.4.1.21367.2005.3.7&ISO" --spoil expired
    """
    settings = settings_of(data) if (data / FILE_NAME).is_file() else None
    card = open_card(card_file, pin_file)
    try:
        root = Desk.of(settings).build(
            card, patient_id=patient, structure_id=structure_id, purpose=purpose, role=role, reason=reason_given()
        )
        click.echo(issue_assertion(root, card.signature, spoil=spoil or "", consent=consent))
    except CardError as error:
        raise Refused(str(error)) from error
    except ValueError as error:
        raise Misuse(str(error)) from error
