"""A stand-in for IGC-Santé: one root, one authority for persons, one for organisations, and their CRLs.

Every name says TEST and every certificate carries the test bit; nothing here is meant for real patients.

On disk::

    index.json            every certificate issued, and which are revoked
    trust/                what a server needs: copy this folder
      root.pem  persons.pem  organisations.pem     authorities (the file names say what each may issue)
      root.crl  persons.crl  organisations.crl     revocation lists, PEM
      ca.pem                                       the three authorities in one file, for TLS clients
    private/              keys of the authorities, mode 0600
    servers/              certificates and keys of our own servers, keys mode 0600

Clause: DMP IGC-Santé certificate profiles
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from guard.credentials import identity
from guard.credentials.cards import Card, KeyPair, PrivateKey, pem, write_private
from guard.credentials.identity import TEST_PRODUCT, CardType

ORGANISATION = "Carnet test"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_COUNTRY = x509.NameAttribute(NameOID.COUNTRY_NAME, "FR")
_CATEGORY = {CardType.CPS: 0x80, CardType.CPF: 0x80, CardType.CPE: 0x82, CardType.CPA: 0x82}
_ORGANISATION_CATEGORY = TEST_PRODUCT | 3
_CA_DAYS = 3650
_BACKDATED = timedelta(minutes=5)
"""Certificates start a little in the past, so that machines whose clocks differ a little agree on them."""


class KeyKind(StrEnum):
    """RSA of 2048 bits is what real cards hold; P-256 makes TLS handshakes and tests faster."""

    RSA = "rsa-2048"
    EC = "p-256"

    def generate(self) -> PrivateKey:
        if self is KeyKind.RSA:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return ec.generate_private_key(ec.SECP256R1())


class Authority(StrEnum):
    """The three authorities; the value is the stem of their files."""

    ROOT = "root"
    PERSONS = "persons"
    ORGANISATIONS = "organisations"


_CA_NAMES = {
    Authority.ROOT: "TEST AC RACINE CARNET ELEMENTAIRE",
    Authority.PERSONS: "TEST AC CARNET ELEMENTAIRE PERSONNES",
    Authority.ORGANISATIONS: "TEST AC CARNET ELEMENTAIRE ORGANISATIONS",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One line of the index. Times are UTC, ISO 8601; ``serial`` is lower-case hexadecimal."""

    serial: str
    authority: str
    purpose: str
    """``authentication``, ``signature`` or ``server``"""
    holder: str
    """PS_IdNat, Struct_IdNat or server name"""
    name: str
    not_after: str
    revoked: str = ""
    """Time of revocation, "" while the certificate stands."""


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """A server's certificate (with its chain) and key, PEM, as TLS servers read them."""

    certificate_file: Path
    key_file: Path
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class _Profile:
    """What distinguishes one kind of end-entity certificate."""

    authority: Authority
    purpose: str
    digital_signature: bool
    non_repudiation: bool
    extended: tuple[x509.ObjectIdentifier, ...]


@dataclass(frozen=True, slots=True)
class _Order:
    """One end-entity certificate to issue."""

    profile: _Profile
    subject: x509.Name
    extensions: Sequence[x509.ExtensionType]
    holder: str
    name: str


_PERSON_AUTHENTICATION = _Profile(
    Authority.PERSONS, "authentication", True, False, (ExtendedKeyUsageOID.CLIENT_AUTH,)
)
_PERSON_SIGNATURE = _Profile(Authority.PERSONS, "signature", False, True, (ExtendedKeyUsageOID.EMAIL_PROTECTION,))
_ORG_AUTH_CLI = _Profile(Authority.ORGANISATIONS, "authentication", True, False, (ExtendedKeyUsageOID.CLIENT_AUTH,))
_ORG_SIGN = _Profile(Authority.ORGANISATIONS, "signature", True, True, (ExtendedKeyUsageOID.EMAIL_PROTECTION,))
_SERVER = _Profile(
    Authority.ORGANISATIONS,
    "server",
    True,
    False,
    (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
)


class Pki:
    """The stand-in authorities of one folder. Safe to use from several threads of one process."""

    def __init__(self, folder: Path, authorities: dict[Authority, KeyPair]):
        self.folder = folder
        self._authorities = authorities
        self._lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path | str, *, key: KeyKind = KeyKind.EC, crl_days: int = 365) -> Pki:
        """Make the authorities in ``folder``. Raises FileExistsError when there is a PKI already."""
        folder = Path(folder)
        if (folder / "index.json").exists() or (folder / "private").exists():
            raise FileExistsError(f"{folder} already holds a PKI; it is never overwritten")
        for name, mode in (("trust", 0o755), ("private", 0o700), ("servers", 0o755)):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=mode)
        root_key = key.generate()
        root = KeyPair(root_key, _authority(Authority.ROOT, root_key, None))
        authorities = {Authority.ROOT: root}
        for which in (Authority.PERSONS, Authority.ORGANISATIONS):
            own = key.generate()
            authorities[which] = KeyPair(own, _authority(which, own, root), (root.certificate,))
        for which, pair in authorities.items():
            write_private(folder / "private" / f"{which}.key", _plain(pair.key))
            _replace(folder / "trust" / f"{which}.pem", pem(pair.certificate))
        _replace(folder / "trust" / "ca.pem", pem(*(pair.certificate for pair in authorities.values())))
        pki = cls(folder, authorities)
        pki._write_index([])
        pki.write_crls(days=crl_days)
        return pki

    @classmethod
    def open(cls, folder: Path | str) -> Pki:
        """Open the PKI of ``folder``. Raises FileNotFoundError when there is none."""
        folder = Path(folder)
        if not (folder / "index.json").is_file():
            raise FileNotFoundError(f"{folder} holds no PKI")
        authorities: dict[Authority, KeyPair] = {}
        for which in Authority:
            key = load_pem_private_key((folder / "private" / f"{which}.key").read_bytes(), None)
            if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
                raise ValueError(f"the key of authority {which} is of an unexpected type")
            certificate = x509.load_pem_x509_certificate((folder / "trust" / f"{which}.pem").read_bytes())
            chain = () if which is Authority.ROOT else (authorities[Authority.ROOT].certificate,)
            authorities[which] = KeyPair(key, certificate, chain)
        return cls(folder, authorities)

    @property
    def trust(self) -> Path:
        """The folder a server is given to trust."""
        return self.folder / "trust"

    @property
    def ca_file(self) -> Path:
        """All authorities in one PEM file, for TLS."""
        return self.trust / "ca.pem"

    def issue_person(
        self,
        identifier: str,
        surname: str,
        given_name: str,
        *,
        profession: int | None = 10,
        label: str = "Médecin",
        specialties: tuple[str, ...] = (),
        card_type: CardType = CardType.CPS,
        key: KeyKind = KeyKind.RSA,
        days: int = 1095,
        start: datetime | None = None,
    ) -> Card:
        """A card for one professional, not yet saved: authentication and signature certificates.

        ``identifier`` is PS_IdNat (``8`` and 11 digits for RPPS), ``profession`` the number of TRE_G15 (10
        physician, 60 nurse, 21 pharmacist; None for staff), ``label`` its name, ``specialties`` codes of TRE_R01.
        """
        holder = [x509.NameAttribute(NameOID.COMMON_NAME, identifier)]
        if surname:
            holder.append(x509.NameAttribute(NameOID.SURNAME, surname))
        if given_name:
            holder.append(x509.NameAttribute(NameOID.GIVEN_NAME, given_name))
        rdns = [x509.RelativeDistinguishedName([_COUNTRY])]
        if label:
            rdns.append(x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.TITLE, label)]))
        subject = x509.Name([*rdns, x509.RelativeDistinguishedName(holder)])
        private = identity.extensions(
            card_type=card_type,
            card_number=f"8025000001/{x509.random_serial_number() % 10**10:010d}",
            category=_CATEGORY[card_type],
            profession=profession,
            specialties=specialties,
        )
        name = f"{surname} {given_name}".strip()
        pairs = [
            self._issue(_Order(profile, subject, private, identifier, name), key, days, start)
            for profile in (_PERSON_AUTHENTICATION, _PERSON_SIGNATURE)
        ]
        return Card(pairs[0], pairs[1])

    def issue_structure(
        self,
        structure_id: str,
        organisation: str,
        service: str,
        *,
        department: str = "Paris (75)",
        key: KeyKind = KeyKind.RSA,
        days: int = 1095,
        start: datetime | None = None,
    ) -> Card:
        """The two certificates of a structure (ORG_AUTH_CLI, ORG_SIGN), not yet saved.

        ``structure_id`` is Struct_IdNat (``1`` and FINESS, ``3`` and SIRET, ...), ``service`` the name of the
        system or department that uses them.
        """
        subject = x509.Name(
            [
                _COUNTRY,
                x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, department),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, structure_id),
                x509.NameAttribute(NameOID.COMMON_NAME, service),
            ]
        )
        private = _organisation_extensions()
        pairs = [
            self._issue(_Order(profile, subject, private, structure_id, organisation), key, days, start)
            for profile in (_ORG_AUTH_CLI, _ORG_SIGN)
        ]
        return Card(pairs[0], pairs[1])

    def issue_server(
        self, name: str, host_names: Sequence[str] = (), *, key: KeyKind = KeyKind.EC, days: int = 1095
    ) -> ServerFiles:
        """A certificate for one of our servers, usable on both ends of a connection between nodes.

        Written to ``servers/<name>.pem`` and ``.key``; raises FileExistsError when there is one already.
        Host names and addresses are added to localhost, 127.0.0.1 and ::1.
        """
        names = _alternative_names((*LOCAL_NAMES, *host_names))
        return self._issue_files(_SERVER, name, [*_organisation_extensions(), names], key, days)

    def issue_token_signer(self, name: str, *, key: KeyKind = KeyKind.EC, days: int = 1095) -> ServerFiles:
        """A certificate that signs the assertions of a token service: a cachet that belongs to no structure, so that
        it counts where it is listed and nowhere else. Written as ``issue_server`` does. Raises FileExistsError."""
        return self._issue_files(_ORG_SIGN, name, _organisation_extensions(), key, days)

    def _issue_files(
        self, profile: _Profile, name: str, extensions: Sequence[x509.ExtensionType], key: KeyKind, days: int
    ) -> ServerFiles:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
            raise ValueError("a server name is made of letters, digits, dots and hyphens")
        files = (self.folder / "servers" / f"{name}.pem", self.folder / "servers" / f"{name}.key")
        if any(file.exists() for file in files):
            raise FileExistsError(f"server {name} already has a certificate")
        subject = x509.Name(
            [
                _COUNTRY,
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        pair = self._issue(_Order(profile, subject, extensions, name, ORGANISATION), key, days, None)
        write_private(files[1], _plain(pair.key))
        _replace(files[0], pem(pair.certificate, *pair.chain[:-1]))
        return ServerFiles(files[0], files[1], pair.certificate)

    def server(self, name: str) -> ServerFiles:
        """The files of a server issued before. Raises FileNotFoundError."""
        certificate_file, key_file = (self.folder / "servers" / f"{name}{suffix}" for suffix in (".pem", ".key"))
        certificate = x509.load_pem_x509_certificates(certificate_file.read_bytes())[0]
        return ServerFiles(certificate_file, key_file, certificate)

    def revoke(self, serial: int | str, *, crl_days: int = 365) -> Issued:
        """Put a certificate on its authority's list, at once. Raises KeyError for a serial never issued here.

        May be repeated: the first time of revocation stays.
        """
        wanted = f"{serial:x}" if isinstance(serial, int) else serial.lower().lstrip("0")
        with self._lock:
            index = self._read_index()
            for place, line in enumerate(index):
                if line.serial == wanted:
                    revoked = line if line.revoked else replace(line, revoked=_iso(datetime.now(UTC)))
                    index[place] = revoked
                    self._write_index(index)
                    self._write_crls(index, crl_days)
                    return revoked
        raise KeyError(f"no certificate with serial {wanted} was issued here")

    def issued(self) -> list[Issued]:
        """Every certificate issued to persons, structures and servers, oldest first."""
        with self._lock:
            return self._read_index()

    def write_crls(self, *, days: int = 365) -> None:
        """Write fresh revocation lists, valid for ``days``."""
        with self._lock:
            self._write_crls(self._read_index(), days)

    def _issue(self, order: _Order, kind: KeyKind, days: int, start: datetime | None) -> KeyPair:
        """Make the key, sign the certificate, note it in the index."""
        profile, key = order.profile, kind.generate()
        authority = self._authorities[profile.authority]
        begin = start or datetime.now(UTC) - _BACKDATED
        builder = _builder(order.subject, key, authority.certificate.subject, authority.key)
        builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        usage = _usage(digital_signature=profile.digital_signature, non_repudiation=profile.non_repudiation)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(profile.extended), critical=False)
        for extension in order.extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(authority.key, hashes.SHA256())
        line = Issued(
            serial=f"{certificate.serial_number:x}",
            authority=profile.authority.value,
            purpose=profile.purpose,
            holder=order.holder,
            name=order.name,
            not_after=_iso(certificate.not_valid_after_utc),
        )
        with self._lock:
            self._write_index([*self._read_index(), line])
        return KeyPair(key, certificate, (authority.certificate, *authority.chain))

    def _read_index(self) -> list[Issued]:
        lines = json.loads((self.folder / "index.json").read_text("utf-8"))
        return [Issued(**line) for line in lines["issued"]]

    def _write_index(self, index: list[Issued]) -> None:
        text = json.dumps({"issued": [asdict(line) for line in index]}, ensure_ascii=False, indent=1)
        _replace(self.folder / "index.json", text.encode())

    def _write_crls(self, index: list[Issued], days: int) -> None:
        now = datetime.now(UTC)
        for which, authority in self._authorities.items():
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(authority.key))
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(authority.certificate.subject)
                .last_update(now - _BACKDATED)
                .next_update(now + timedelta(days=days))
                .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
                .add_extension(identifier, critical=False)
            )
            for line in index:
                if line.authority == which and line.revoked:
                    entry = x509.RevokedCertificateBuilder().serial_number(int(line.serial, 16))
                    builder = builder.add_revoked_certificate(
                        entry.revocation_date(datetime.fromisoformat(line.revoked)).build()
                    )
            crl = builder.sign(authority.key, hashes.SHA256())
            _replace(self.trust / f"{which}.crl", crl.public_bytes(Encoding.PEM))


def _authority(which: Authority, key: PrivateKey, root: KeyPair | None) -> x509.Certificate:
    subject = x509.Name(
        [
            _COUNTRY,
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, _CA_NAMES[which]),
        ]
    )
    begin = datetime.now(UTC) - _BACKDATED
    issuer, issuer_key = (root.certificate.subject, root.key) if root is not None else (subject, key)
    builder = _builder(subject, key, issuer, issuer_key)
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=_CA_DAYS))
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=1 if root is None else 0), critical=True
    )
    builder = builder.add_extension(_usage(authority=True), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def _builder(
    subject: x509.Name, key: PrivateKey, issuer: x509.Name, issuer_key: PrivateKey
) -> x509.CertificateBuilder:
    """What every certificate has: names, key, serial number, key identifiers."""
    public = _public(key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(issuer_key)), critical=False)
    )


def _usage(
    *, digital_signature: bool = False, non_repudiation: bool = False, authority: bool = False
) -> x509.KeyUsage:
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


def _organisation_extensions() -> list[x509.ExtensionType]:
    return list(
        identity.extensions(
            card_type=None, card_number="", category=_ORGANISATION_CATEGORY, profession=None, specialties=()
        )
    )


def _alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


def _public(key: PrivateKey) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    return key.public_key()


def _plain(key: PrivateKey) -> bytes:
    """PEM without encryption, because servers start unattended; the file mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _replace(path: Path, data: bytes) -> None:
    """Write so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
