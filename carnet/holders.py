"""Whom a card is for, as typed on a command line: a person, a structure, or the holder of a card issued before."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from carnet.console import Refused
from guard.credentials.identity import CardType
from guard.credentials.pki import Pki
from guard.credentials.profiles import Holder
from guard.credentials.revocation import Reason

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
LOST = Reason.KEY_COMPROMISE
"""Somebody else may hold the keys of a lost card."""


def _national(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    form, words = FORMS[str(parameter.name)]
    if not form.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not an identifier of the form {words}")
    return value


def reason_option(default: Reason) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--reason", type=click.Choice([reason.value for reason in Reason]), default=default.value, show_default=True
    )


def person_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """IDENTIFIER, names, profession, specialties: the arguments of ``person``."""
    for option in (
        click.option("--specialty", "specialties", multiple=True, help="Specialty (TRE_R01), e.g. SM26."),
        click.option("--label", default="Médecin", show_default=True, help="Profession in words."),
        click.option(
            "--profession", type=int, default=10, show_default=True,
            help="Profession (TRE_G15): 10 physician, 60 nurse, 21 pharmacist; 0: staff card.",
        ),
        click.option("--given", required=True, help="Given name."),
        click.option("--surname", required=True),
        click.argument("identifier", callback=_national),
    ):  # fmt: skip
        command = option(command)
    return command


def person(
    pki: Pki, *, identifier: str, surname: str, given: str, profession: int, label: str, specialties: tuple[str, ...]
) -> Holder:
    card_type = CardType.CPS if profession else CardType.CPE
    return pki.person(
        identifier, surname, given, profession=profession or None, label=label, specialties=specialties,
        card_type=card_type,
    )  # fmt: skip


def structure_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """STRUCTURE_ID and names: the arguments of ``structure``."""
    for option in (
        click.option("--service", default="Service informatique", show_default=True, help="System or department."),
        click.option("--organisation", required=True, help="Name of the structure."),
        click.argument("structure_id", callback=_national),
    ):
        command = option(command)
    return command


def structure(pki: Pki, *, structure_id: str, organisation: str, service: str) -> Holder:
    return pki.structure(structure_id, organisation, service)


def renewed(pki: Pki, card: str) -> Holder:
    """The holder of a card that stands. Raises Refused for one that is unknown or revoked."""
    try:
        holder = pki.renewal(card)
    except (KeyError, FileNotFoundError) as error:
        raise Refused(f"no card {card} was issued here; `carnet pki list` shows which were") from error
    if any(line.revoked for line in pki.issued() if line.card == card):
        raise Refused(f"card {card} is revoked: `carnet card replace` gives its holder another one")
    return holder


def replaced(pki: Pki, card: str, reason: str) -> Holder:
    """The holder under the number of a new card; the old one is revoked first. Raises Refused."""
    try:
        holder = pki.replacement(card)
    except (KeyError, FileNotFoundError) as error:
        raise Refused(f"no card {card} was issued here; `carnet pki list` shows which were") from error
    pki.revoke_all(lambda line: line.card == card, reason=Reason(reason))
    return holder
