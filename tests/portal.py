"""Patients at a portal the operator has listed: their assertions are signed like anybody's and go the way of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives import hashes

from carnet.assertions import AUTOMATE
from conformance.client import Client
from guard.credentials import vihf
from guard.credentials.cards import Card
from guard.credentials.pki import KeyKind, Pki
from tests.world import World

PORTAL = "10B0000099"
"""Struct_IdNat of the portal."""


def fingerprint(card: Card) -> str:
    """As an operator lists the certificate a card signs with."""
    return card.signature.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def with_portal(world: World, *managers: str) -> World:
    """The same installation, served in this process by settings that list a portal, and these cards as managers."""
    pki = Pki.open(world.folder / "pki")
    card = pki.issue_structure(PORTAL, "PORTAIL FICTIF", "Portail", key=KeyKind.EC)
    chosen = world.settings
    settings = chosen.model_copy(update={
        "credentials": chosen.credentials.model_copy(update={"portals": [fingerprint(card)]}),
        "record": chosen.record.model_copy(update={"managers": [fingerprint(world.cards[one]) for one in managers]}),
    })
    return replace(world, settings=settings, cards=world.cards | {"portal": card}, _clients={}).serve_here()


def signing(world: World, account: str = "", record: str = "", **changes: Any) -> Callable[[str], bytes]:
    """Who has logged in: the holder, or the account given; ``record`` where it is another than the message's."""
    card = world.cards["portal"]

    def sign(named: str) -> bytes:
        of = record or named
        content = vihf.for_card(
            card, patient_id=of, name_id=f"{PORTAL}/{account or of.split('^')[0]}", roles=(AUTOMATE,)
        )
        return vihf.issue(replace(content, **changes), card.signature)

    return sign


def at_portal(world: World, account: str = "", record: str = "", **changes: Any) -> Client:
    return world.client("portal", sign=signing(world, account, record, **changes))
