"""Pairs of questions that differ in what the caller may not learn: does it exist?

Each pair is asked by somebody who may not know, once of a thing that exists and once of one that does not.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from conformance import frames
from guard.credentials import vihf
from guard.credentials.cards import Card
from guard.credentials.pki import KeyKind, Pki
from tests.world import FIND_DOCUMENTS, STRUCTURE, World
from xds.model import Code
from xds.wire.client import BadAnswer, FaultReceived

TRACE = re.compile("trace [0-9a-f]{32}")
MASKED = Code("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "Masqué aux professionnels de santé")


@dataclass(frozen=True)
class Pair:
    """Two questions; each returns what the caller sees, without trace ids."""

    name: str
    known: Callable[[], str]
    unknown: Callable[[], str]


def pairs(world: World) -> list[Pair]:
    """Documents and signers. Whether a record exists is no secret among professionals: TD0.2 tells it."""
    patient = world.patient()
    hidden = frames.valid_submission("dmp", patient_id=patient)
    entry = hidden.entries[0]
    entry.confidentiality_codes = [*entry.confidentiality_codes, MASKED]
    assert world.deposit(hidden).is_success

    def read(unique_id: str) -> str:
        outcome, items = world.read(patient, [unique_id], "colleague")
        assert not items
        told = [(error.code, TRACE.sub("", error.context.replace(unique_id, "ID"))) for error in outcome.errors]
        return f"{outcome.status} {told}"

    pki = Pki.open(world.folder / "pki")
    revoked = pki.issue_person("899700000083", "REVOQUE", "Rose", key=KeyKind.EC)
    pki.revoke(revoked.signature.certificate.serial_number)
    another = Pki.create(world.folder / f"foreign-{uuid.uuid4()}")
    foreign = another.issue_person("899700000083", "REVOQUE", "Rose", key=KeyKind.EC)

    def signed_by(card: Card) -> str:
        mine = world.cards["physician"]
        said = replace(vihf.for_card(card, structure_id=STRUCTURE), patient_id=patient)
        client = world.client("physician", sign=lambda _: vihf.issue(said, card.signature), card=mine)
        try:
            client.query(FIND_DOCUMENTS, [], patient_id=patient)
        except (FaultReceived, BadAnswer) as error:
            return f"{getattr(error, 'subcode', '')} {getattr(error, 'reason', error)}"
        raise AssertionError("accepted")

    return [
        Pair("a masked document", lambda: read(entry.unique_id), lambda: read("1.2.250.1.999.404")),
        Pair("the signer's certificate", lambda: signed_by(revoked), lambda: signed_by(foreign)),
    ]
