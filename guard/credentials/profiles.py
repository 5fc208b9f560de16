"""What the certificates of the stand-in say: names, usages, private extensions and policies, as IGC-Santé has them.

One authority for persons, one for organisations; under each an authentication and a signature certificate for a
holder, with different keys. Test products carry bit 0x80 of the product category and names that begin with TEST;
production products carry neither.

Clause: DMP IGC-Santé certificate profiles (persons, organisations), product category
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from guard.credentials import identity
from guard.credentials.cards import KeyPair, PrivateKey, PublicKey
from guard.credentials.identity import TEST_PRODUCT, CardType
from guard.credentials.revocation import BACKDATED

COUNTRY = x509.NameAttribute(NameOID.COUNTRY_NAME, "FR")
AUTHORITY_DAYS = 3650
RESPONDER_DAYS = 90
CARD_ISSUER = "8025000001"
"""First half of a card number; the second counts the cards."""
PERSON_SIGNATURE_POLICY = "1.2.250.1.213.1.7.2.1.1.1.1"
_OWN_POLICIES = "1.2.250.1.999.1.7"
"""Arc of our own, fictive: the reference names the policy of a person's signature certificate and no other."""
_CATEGORY = {CardType.CPS: 0x00, CardType.CPF: 0x00, CardType.CPE: 0x02, CardType.CPA: 0x02}
_ORGANISATION_CATEGORY = 0x03


class Products(StrEnum):
    """What a PKI makes: test products, or production ones. Never both."""

    TEST = "test"
    PRODUCTION = "production"

    def category(self, kind: int) -> int:
        """The product category of a certificate, with its test bit. Clause: extension 1.2.250.1.71.1.2.5"""
        return kind | (TEST_PRODUCT if self is Products.TEST else 0)

    def titled(self, text: str) -> str:
        return f"TEST {text}" if self is Products.TEST else text


class Authority(StrEnum):
    """The three authorities; the value is the stem of their files."""

    ROOT = "root"
    PERSONS = "persons"
    ORGANISATIONS = "organisations"


_CA_NAMES = {
    Authority.ROOT: "AC RACINE CARNET ELEMENTAIRE",
    Authority.PERSONS: "AC CARNET ELEMENTAIRE PERSONNES",
    Authority.ORGANISATIONS: "AC CARNET ELEMENTAIRE ORGANISATIONS",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What distinguishes one kind of end-entity certificate."""

    authority: Authority
    purpose: str
    digital_signature: bool
    non_repudiation: bool
    extended: tuple[x509.ObjectIdentifier, ...]
    policy: str


PERSON_AUTHENTICATION = Profile(
    Authority.PERSONS, "authentication", True, False, (ExtendedKeyUsageOID.CLIENT_AUTH,), f"{_OWN_POLICIES}.1"
)
PERSON_SIGNATURE = Profile(
    Authority.PERSONS, "signature", False, True, (ExtendedKeyUsageOID.EMAIL_PROTECTION,), PERSON_SIGNATURE_POLICY
)
ORG_AUTH_CLI = Profile(
    Authority.ORGANISATIONS, "authentication", True, False, (ExtendedKeyUsageOID.CLIENT_AUTH,), f"{_OWN_POLICIES}.2"
)
ORG_SIGN = Profile(
    Authority.ORGANISATIONS, "signature", True, True, (ExtendedKeyUsageOID.EMAIL_PROTECTION,), f"{_OWN_POLICIES}.3"
)
SERVER = Profile(
    Authority.ORGANISATIONS, "server", True, False,
    (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH), f"{_OWN_POLICIES}.4",
)  # fmt: skip
BY_PURPOSE = {
    (profile.authority, profile.purpose): profile
    for profile in (PERSON_AUTHENTICATION, PERSON_SIGNATURE, ORG_AUTH_CLI, ORG_SIGN, SERVER)
}


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a card is for: what both of its certificates say, whatever keys they certify."""

    authority: Authority
    subject: x509.Name
    extensions: tuple[x509.UnrecognizedExtension, ...]
    identifier: str
    """PS_IdNat or Struct_IdNat"""
    name: str
    card: str
    """Number of the card, by which it is found again; in the certificates of persons it is an extension."""


def card_number() -> str:
    """A number no other card has: issuer, slash, ten digits."""
    return f"{CARD_ISSUER}/{x509.random_serial_number() % 10**10:010d}"


def person(
    identifier: str,
    surname: str,
    given_name: str,
    *,
    products: Products,
    profession: int | None = 10,
    label: str = "Médecin",
    specialties: tuple[str, ...] = (),
    card_type: CardType = CardType.CPS,
) -> Holder:
    """A professional. ``identifier`` is PS_IdNat (``8`` and 11 digits for RPPS), ``profession`` the number of TRE_G15
    (None for staff), ``label`` its name, ``specialties`` codes of TRE_R01. Raises ValueError."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, identifier)]
    if surname:
        names.append(x509.NameAttribute(NameOID.SURNAME, surname))
    if given_name:
        names.append(x509.NameAttribute(NameOID.GIVEN_NAME, given_name))
    rdns = [x509.RelativeDistinguishedName([COUNTRY])]
    if label:
        rdns.append(x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.TITLE, label)]))
    number = card_number()
    private = identity.extensions(
        card_type=card_type,
        card_number=number,
        category=products.category(_CATEGORY[card_type]),
        profession=profession,
        specialties=specialties,
    )
    subject = x509.Name([*rdns, x509.RelativeDistinguishedName(names)])
    return Holder(
        Authority.PERSONS, subject, tuple(private), identifier, f"{surname} {given_name}".strip(), number
    )


def structure(
    structure_id: str, organisation: str, service: str, *, products: Products, department: str = "Paris (75)"
) -> Holder:
    """A structure. ``structure_id`` is Struct_IdNat, ``service`` the system or department that uses it."""
    subject = x509.Name(
        [
            COUNTRY,
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, department),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, structure_id),
            x509.NameAttribute(NameOID.COMMON_NAME, service),
        ]
    )
    private = tuple(organisation_extensions(products))
    return Holder(Authority.ORGANISATIONS, subject, private, structure_id, organisation, card_number())


def with_number(
    extensions: Iterable[x509.UnrecognizedExtension], number: str
) -> tuple[x509.UnrecognizedExtension, ...]:
    """The same private extensions with another card number; those of structures have none."""
    return tuple(
        identity.numbered(number) if extension.oid == identity.CARD_NUMBER else extension for extension in extensions
    )


def authority_name(which: Authority, products: Products) -> x509.Name:
    """Name of an authority of ours; never that of a real one."""
    return x509.Name(
        [
            COUNTRY,
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation_name(products)),
            x509.NameAttribute(NameOID.COMMON_NAME, products.titled(_CA_NAMES[which])),
        ]
    )


def organisation_name(products: Products) -> str:
    return "Carnet test" if products is Products.TEST else "Carnet"


def organisation_extensions(products: Products) -> list[x509.UnrecognizedExtension]:
    return identity.extensions(
        card_type=None, card_number="", category=products.category(_ORGANISATION_CATEGORY), profession=None,
        specialties=(),
    )  # fmt: skip


def own_name(organisation: str, name: str) -> x509.Name:
    """Name of a system of ours."""
    attributes = [(NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, name)]
    return x509.Name([COUNTRY, *(x509.NameAttribute(kind, value) for kind, value in attributes)])


def builder(
    subject: x509.Name, public: PublicKey, issuer: x509.Name, issuer_key: PrivateKey, start: datetime | None, days: int
) -> x509.CertificateBuilder:
    """What every certificate has: names, key, times, serial number, key identifiers."""
    begin = start or datetime.now(UTC) - BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def authority_certificate(
    which: Authority, products: Products, key: PrivateKey, root: KeyPair | None = None, base_url: str = ""
) -> x509.Certificate:
    """Of an authority; without ``root`` it is the root itself."""
    subject = authority_name(which, products)
    issuer, issuer_key = (root.certificate.subject, root.key) if root is not None else (subject, key)
    made = builder(subject, key.public_key(), issuer, issuer_key, None, AUTHORITY_DAYS)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=1 if root is None else 0), critical=True)
    made = made.add_extension(usage(authority=True), critical=True)
    for place in places(base_url, Authority.ROOT) if root is not None else ():
        made = made.add_extension(place, critical=False)
    return made.sign(issuer_key, hashes.SHA256())


def responder_certificate(
    which: Authority, products: Products, public: PublicKey, issuer: KeyPair
) -> x509.Certificate:
    """Of who signs OCSP answers for an authority. Clause: RFC 6960 4.2.2.2, 4.2.2.2.1"""
    name = own_name(organisation_name(products), products.titled(f"OCSP {which}".upper()))
    made = builder(name, public, issuer.certificate.subject, issuer.key, None, RESPONDER_DAYS)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(usage(digital_signature=True), critical=True)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
    return made.add_extension(x509.OCSPNoCheck(), critical=False).sign(issuer.key, hashes.SHA256())


def usage(*, digital_signature: bool = False, non_repudiation: bool = False, authority: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=non_repudiation,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def policy(number: str) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(number), None)])


def places(base_url: str, issuer: Authority, *, lists: bool = True) -> list[x509.ExtensionType]:
    """Where lists, responder and issuer's certificate are found; [] for a PKI that was given no address.

    Clause: RFC 5280 4.2.1.13, 4.2.1.15, 4.2.2.1
    """
    if not base_url:
        return []
    found: list[x509.ExtensionType] = [
        x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(AuthorityInformationAccessOID.OCSP, _uri(f"{base_url}/ocsp")),
                x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, _uri(f"{base_url}/ca/{issuer}.crt")),
            ]
        )
    ]
    if lists:
        found += [x509.CRLDistributionPoints(_point(f"{base_url}/crl/{issuer}.crl")), freshest(base_url, issuer)]
    return found


def freshest(base_url: str, issuer: Authority) -> x509.FreshestCRL:
    """Where the delta list is."""
    return x509.FreshestCRL(_point(f"{base_url}/crl/{issuer}.delta.crl"))


def _point(address: str) -> list[x509.DistributionPoint]:
    return [x509.DistributionPoint([_uri(address)], None, None, None)]


def _uri(address: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(address)


def alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)
