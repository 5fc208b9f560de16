"""Who a certificate names: the identifiers and private extensions of professionals and structures.

Clause: DMP VIHF certificates, IGC-Santé persons and organisations
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

CARD_TYPE = ObjectIdentifier("1.2.250.1.71.1.2.2")
CARD_NUMBER = ObjectIdentifier("1.2.250.1.71.1.2.3")
PRODUCT_CATEGORY = ObjectIdentifier("1.2.250.1.71.1.2.5")
PROFESSION = ObjectIdentifier("1.2.250.1.71.1.2.7")
SPECIALTY = ObjectIdentifier("1.2.250.1.71.4.2.5")

TEST_PRODUCT = 0x80
"""Bit of the product category that marks a test product."""

_INTEGER, _OCTETS, _UTF8, _PRINTABLE, _SEQUENCE = 0x02, 0x04, 0x0C, 0x13, 0x30


class Kind(StrEnum):
    """Which of the two branches of the public key infrastructure issued a certificate."""

    PERSON = "person"
    ORGANISATION = "organisation"


class CardType(StrEnum):
    """Card types, in the order of their code (0 to 3). Clause: extension 1.2.250.1.71.1.2.2"""

    CPS = "CPS"
    CPF = "CPF"
    CPE = "CPE"
    CPA = "CPA"

    @property
    def number(self) -> int:
        return list(CardType).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What one certificate says about its holder; "" or None where it says nothing.

    ``common_name`` is PS_IdNat for a person, the service or host name for an organisation.
    ``unit`` is the organisational unit: Struct_IdNat for a structure.
    """

    common_name: str = ""
    surname: str = ""
    given_name: str = ""
    title: str = ""
    unit: str = ""
    organisation: str = ""
    card_type: int | None = None
    card_number: str = ""
    product_category: int | None = None
    profession: int | None = None
    specialties: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Surname and given name; the cards of staff that carry neither show organisation and common name.

        Clause: DMP R617
        """
        if self.surname or self.given_name:
            return " ".join(part for part in (self.surname, self.given_name) if part)
        return " ".join(part for part in (self.organisation, self.common_name) if part)


def read(certificate: x509.Certificate) -> Identity:
    """The identity a certificate carries. Extensions that cannot be read count as absent."""
    subject = certificate.subject
    raw = {e.oid: e.value.value for e in certificate.extensions if isinstance(e.value, x509.UnrecognizedExtension)}
    category = _content(raw.get(PRODUCT_CATEGORY), _OCTETS)
    return Identity(
        common_name=_one(subject, NameOID.COMMON_NAME),
        surname=_one(subject, NameOID.SURNAME),
        given_name=_one(subject, NameOID.GIVEN_NAME),
        title=_one(subject, NameOID.TITLE),
        unit=_one(subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
        organisation=_one(subject, NameOID.ORGANIZATION_NAME),
        card_type=_integer(raw.get(CARD_TYPE)),
        card_number=(_content(raw.get(CARD_NUMBER), _PRINTABLE) or b"").decode("ascii", "replace"),
        product_category=category[0] if category else None,
        profession=_integer(raw.get(PROFESSION)),
        specialties=frozenset(_strings(raw.get(SPECIALTY))),
    )


def _one(name: x509.Name, oid: ObjectIdentifier) -> str:
    """The only value of an attribute; "" when absent or ambiguous."""
    values = name.get_attributes_for_oid(oid)
    return str(values[0].value) if len(values) == 1 else ""


def _content(der: bytes | None, tag: int) -> bytes | None:
    """Content of one short DER value (under 128 bytes), None when it is anything else."""
    if der is None or len(der) < 2 or der[0] != tag or der[1] > 0x7F or der[1] != len(der) - 2:
        return None
    return der[2:]


def _integer(der: bytes | None) -> int | None:
    content = _content(der, _INTEGER)
    return int.from_bytes(content, "big", signed=True) if content else None


def _strings(der: bytes | None) -> list[str]:
    found, rest = [], _content(der, _SEQUENCE) or b""
    while rest:
        if len(rest) < 2 or rest[0] != _UTF8 or rest[1] > 0x7F or len(rest) < 2 + rest[1]:
            return []
        found.append(rest[2 : 2 + rest[1]].decode("utf-8", "replace"))
        rest = rest[2 + rest[1] :]
    return found


def _tlv(tag: int, content: bytes) -> bytes:
    if len(content) > 0x7F:
        raise ValueError("extension content over 127 bytes")
    return bytes((tag, len(content))) + content


def extensions(
    *, card_type: CardType | None, card_number: str, category: int, profession: int | None, specialties: tuple[str, ...]
) -> list[x509.UnrecognizedExtension]:
    """The private extensions of a certificate to issue; those without a value are left out."""
    found = [x509.UnrecognizedExtension(PRODUCT_CATEGORY, _tlv(_OCTETS, bytes((category,))))]
    if card_type is not None:
        found.append(x509.UnrecognizedExtension(CARD_TYPE, _tlv(_INTEGER, bytes((card_type.number,)))))
    if card_number:
        found.append(numbered(card_number))
    if profession is not None:
        if not 0 <= profession <= 127:
            raise ValueError(f"profession {profession} is outside 0 to 127")
        found.append(x509.UnrecognizedExtension(PROFESSION, _tlv(_INTEGER, bytes((profession,)))))
    if specialties:
        inner = b"".join(_tlv(_UTF8, value.encode()) for value in specialties)
        found.append(x509.UnrecognizedExtension(SPECIALTY, _tlv(_SEQUENCE, inner)))
    return found


def numbered(card_number: str) -> x509.UnrecognizedExtension:
    """The extension that carries the number of a card."""
    return x509.UnrecognizedExtension(CARD_NUMBER, _tlv(_PRINTABLE, card_number.encode("ascii")))
