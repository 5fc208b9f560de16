"""The cards and the message that negative credentials are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lxml import etree

from guard.credentials import distinguished_name, vihf
from guard.credentials.cards import Card, KeyPair
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.token import hardened_parser
from guard.credentials.vihf import Vihf
from xds.namespaces import SAML, SOAP12

AUDIENCE = "urn:carnet:dmp"
PATIENT = "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
STRUCTURE = "10B0127189"
MESSAGE = (
    f'<soap12:Envelope xmlns:soap12="{SOAP12}"><soap12:Header/>'
    '<soap12:Body><Question xmlns="urn:carnet:example"/></soap12:Body></soap12:Envelope>'
).encode()
"""A message to put credentials on where the content does not matter."""


@dataclass(frozen=True, slots=True)
class Kit:
    """Cards of one PKI, and two of another that looks like it.

    ``foreign`` says the same as ``card`` and comes from an authority nobody trusts.
    """

    card: Card
    other: Card
    staff: Card
    structure: Card
    revoked: Card
    """Its signature certificate is revoked."""
    disconnected: Card
    """Its authentication certificate is revoked."""
    expired: Card
    foreign: Card
    clock: Callable[[], datetime]

    @classmethod
    def make(cls, pki: Pki, scratch: Path, clock: Callable[[], datetime] | None = None) -> Kit:
        """Issue the cards from ``pki``; ``scratch`` takes the foreign PKI and may be thrown away."""
        long_ago = datetime.now(UTC) - timedelta(days=400)
        revoked = pki.issue_person("899900000033", "REVOQUE", "Rose", specialties=("SM26",), key=KeyKind.EC)
        pki.revoke(revoked.signature.certificate.serial_number)
        disconnected = pki.issue_person("899900000066", "COUPE", "Carl", specialties=("SM26",), key=KeyKind.EC)
        pki.revoke(disconnected.authentication.certificate.serial_number)
        return cls(
            card=pki.issue_person("899900000011", "LIBRE", "Max", specialties=("SM26",)),
            other=pki.issue_person("899900000022", "VICTIME", "Vera", specialties=("SM26",), key=KeyKind.EC),
            staff=pki.issue_person("3100000017/77", "ACCUEIL", "Ana", profession=None, label="", key=KeyKind.EC),
            structure=pki.issue_structure(STRUCTURE, "CLINIQUE FICTIVE", "Dossier patient", key=KeyKind.EC),
            revoked=revoked,
            disconnected=disconnected,
            expired=pki.issue_person(
                "899900000044", "PERIME", "Paul", specialties=("SM26",), key=KeyKind.EC, start=long_ago, days=30
            ),
            foreign=Pki.create(scratch / "foreign").issue_person("899900000011", "LIBRE", "Max", specialties=("SM26",)),
            clock=clock or (lambda: datetime.now(UTC)),
        )

    def says(self, card: Card | None = None) -> Vihf:
        """What a card's holder says in these tests."""
        return vihf.for_card(card or self.card, structure_id=STRUCTURE, patient_id=PATIENT)

    def build(
        self,
        says: Vihf | None = None,
        card: Card | None = None,
        *,
        at: timedelta = timedelta(0),
        lifetime: timedelta | None = None,
        audiences: tuple[str, ...] = (),
    ) -> etree._Element:
        """An unsigned assertion in the name of a card (``card`` by default), dated ``at`` from now."""
        signer = (card or self.card).signature
        issuer = distinguished_name.write(signer.certificate.subject)
        moment = self.clock() + at
        return vihf.build(says or self.says(card), issuer, now=moment, lifetime=lifetime, audiences=audiences)

    def sign(self, root: etree._Element, pair: KeyPair | None = None) -> bytes:
        return vihf.sign(root, pair or self.card.signature)

    def good(self) -> bytes:
        """A good assertion of ``card``."""
        return self.sign(self.build())


def parse(data: bytes) -> etree._Element:
    return etree.fromstring(data, parser=hardened_parser())


def saml(name: str) -> str:
    return f"{{{SAML}}}{name}"


def put(message: bytes, *blocks: bytes, body: bytes = b"") -> bytes:
    """The message with header blocks added, and ``body`` added as first child of its body element.

    Works on bytes, because the assertion in a block must arrive exactly as it was signed.
    """
    root = parse(message)
    header = root.find(f"{{{SOAP12}}}Header")
    content = root.find(f"{{{SOAP12}}}Body")
    if header is None or content is None or not len(content):
        raise ValueError("the message needs a Header, and a Body with an element in it")
    etree.SubElement(header, "blocks-go-here")
    if body:
        content[0].insert(0, etree.Element("body-goes-here"))
    data = etree.tostring(root)
    data = data.replace(b"<blocks-go-here/>", b"".join(blocks), 1)
    return data.replace(b"<body-goes-here/>", body, 1)
