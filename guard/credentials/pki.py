"""A stand-in for IGC-Santé: one root, one authority for persons, one for organisations, and what they take back.

A PKI makes test products or production ones, for its whole life; each certificate says which
(``guard.credentials.profiles``). Nothing here is meant for real patients.

On disk::

    index.json            what was issued and revoked, the kind of products, the address, the number of the lists
    issued/               every certificate issued, by serial number
    trust/                what a server needs: copy this folder
      root.pem  persons.pem  organisations.pem     authorities (the file names say what each may issue)
      root.crl  persons.crl  organisations.crl     revocation lists, PEM; ``*.delta.crl`` since the last full ones
      ca.pem                                       the three authorities in one file, for TLS clients
    private/              keys of the authorities, mode 0600
    servers/              certificates and keys of our own servers, keys mode 0600
    responders/           certificates and keys that sign OCSP answers, keys mode 0600

Clause: DMP IGC-Santé certificate profiles
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from guard.credentials import profiles, revocation
from guard.credentials.cards import Card, KeyPair, PrivateKey, PublicKey, pem, write_private
from guard.credentials.certificate_requests import requested_keys
from guard.credentials.identity import CardType
from guard.credentials.profiles import Authority, Holder, Products, Profile
from guard.credentials.revocation import ListNumbers, Reason

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_RESPONDER_SPARE = timedelta(days=30)


class KeyKind(StrEnum):
    """RSA of 2048 bits is what real cards hold; P-256 makes TLS handshakes and tests faster."""

    RSA = "rsa-2048"
    EC = "p-256"

    def generate(self) -> PrivateKey:
        if self is KeyKind.RSA:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One line of the index. Times are UTC, ISO 8601; ``serial`` is lower-case hexadecimal."""

    serial: str
    authority: str
    purpose: str
    """``authentication``, ``signature``, ``server`` or ``ocsp``"""
    holder: str
    """PS_IdNat, Struct_IdNat or server name"""
    name: str
    not_after: str
    revoked: str = ""
    """Time of revocation, "" while the certificate stands."""
    reason: str = ""
    card: str = ""
    """Number of the card, "" for servers"""


@dataclass(slots=True)
class _Index:
    products: Products = Products.TEST
    base_url: str = ""
    numbers: ListNumbers = field(default_factory=ListNumbers)
    issued: list[Issued] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """A server's certificate (with its chain) and key, PEM, as TLS servers read them."""

    certificate_file: Path
    key_file: Path
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class Certified:
    """The two certificates of a card whose keys are elsewhere, and the authorities above them, leaf side first."""

    authentication: x509.Certificate
    signature: x509.Certificate
    chain: tuple[x509.Certificate, ...]

    def pem(self) -> bytes:
        return pem(self.authentication, self.signature, *self.chain)


class Pki:
    """The stand-in authorities of one folder. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, authorities: dict[Authority, KeyPair]):
        self.folder = folder
        self._authorities = authorities
        self._lock = threading.Lock()

    @classmethod
    def create(
        cls, folder: Path | str, *, key: KeyKind = KeyKind.EC, crl_days: int = 365,
        products: Products = Products.TEST, base_url: str = "",
    ) -> Pki:
        """Make the authorities in ``folder``. Raises FileExistsError when there is a PKI already.

        ``base_url`` (http) is where ``carnet pki serve`` will answer: certificates then say where lists and
        responder are. Neither it nor ``products`` can be changed later, because certificates carry both.
        """
        folder = Path(folder)
        if (folder / "index.json").exists() or (folder / "private").exists():
            raise FileExistsError(f"{folder} already holds a PKI; it is never overwritten")
        if base_url and not re.fullmatch(r"http://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?", base_url):
            raise ValueError("the address of a PKI is http://host[:port][/path]; lists and answers are signed")
        for name, mode in (("trust", 0o755), ("private", 0o700), ("servers", 0o755), ("issued", 0o755)):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=mode)
        index = _Index(products, base_url.rstrip("/"))
        root_key = key.generate()
        root = KeyPair(root_key, profiles.authority_certificate(Authority.ROOT, index.products, root_key))
        authorities = {Authority.ROOT: root}
        for which in (Authority.PERSONS, Authority.ORGANISATIONS):
            own = key.generate()
            made = profiles.authority_certificate(which, index.products, own, root, index.base_url)
            authorities[which] = KeyPair(own, made, (root.certificate,))
        for which, pair in authorities.items():
            write_private(folder / "private" / f"{which}.key", _plain(pair.key))
            _replace(folder / "trust" / f"{which}.pem", pem(pair.certificate))
        _replace(folder / "trust" / "ca.pem", pem(*(pair.certificate for pair in authorities.values())))
        pki = cls(folder, authorities)
        pki._write_index(index)
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
            key = _load_key(folder / "private" / f"{which}.key")
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

    @property
    def products(self) -> Products:
        """What this PKI makes."""
        return self._read_index().products

    @property
    def base_url(self) -> str:
        """Where lists and responder are, as certificates say it; "" when they say nothing."""
        return self._read_index().base_url

    def authority(self, which: Authority) -> x509.Certificate:
        return self._authorities[which].certificate

    # -- cards ---------------------------------------------------------------------------------------------------------

    def person(
        self,
        identifier: str,
        surname: str,
        given_name: str,
        *,
        profession: int | None = 10,
        label: str = "Médecin",
        specialties: tuple[str, ...] = (),
        card_type: CardType = CardType.CPS,
    ) -> Holder:
        """A professional, for ``issue`` and ``certify``; see ``profiles.person``. Issues nothing."""
        return profiles.person(
            identifier, surname, given_name, products=self.products, profession=profession, label=label,
            specialties=specialties, card_type=card_type,
        )  # fmt: skip

    def structure(
        self, structure_id: str, organisation: str, service: str, *, department: str = "Paris (75)"
    ) -> Holder:
        """A structure, for ``issue`` and ``certify``; see ``profiles.structure``. Issues nothing."""
        return profiles.structure(structure_id, organisation, service, products=self.products, department=department)

    def issue(
        self, holder: Holder, *, key: KeyKind = KeyKind.RSA, days: int = 1095, start: datetime | None = None
    ) -> Card:
        """A card made in one step, not yet saved: keys and both certificates."""
        keys = key.generate(), key.generate()
        made = self._certify(holder, (keys[0].public_key(), keys[1].public_key()), days, start)
        return Card(KeyPair(keys[0], made.authentication, made.chain), KeyPair(keys[1], made.signature, made.chain))

    def certify(self, holder: Holder, requests: bytes, *, days: int = 1095) -> Certified:
        """Certificates for keys that were made elsewhere; ``requests`` is PEM, authentication first, then signature.

        Each request must be signed by the key it is for. Nothing but the keys is taken from it: who the holder is, is
        the authority's to say. Raises RequestRefused. Clause: RFC 2986
        """
        return self._certify(holder, requested_keys(requests), days, None)

    def renewal(self, card: str) -> Holder:
        """The holder of a card issued before, as its newest certificate says. Raises KeyError."""
        lines = [line for line in self.issued() if line.card == card and line.card]
        if not lines:
            raise KeyError(f"no card {card} was issued here")
        line = lines[-1]
        newest = x509.load_pem_x509_certificate((self.folder / "issued" / f"{line.serial}.pem").read_bytes())
        private = tuple(e.value for e in newest.extensions if isinstance(e.value, x509.UnrecognizedExtension))
        return Holder(Authority(line.authority), newest.subject, private, line.holder, line.name, card)

    def replacement(self, card: str) -> Holder:
        """The same holder with the number of another card. Raises KeyError."""
        holder, number = self.renewal(card), profiles.card_number()
        return replace(holder, card=number, extensions=profiles.with_number(holder.extensions, number))

    def issue_person(
        self, identifier: str, surname: str, given_name: str, *, profession: int | None = 10, label: str = "Médecin",
        specialties: tuple[str, ...] = (), card_type: CardType = CardType.CPS, key: KeyKind = KeyKind.RSA,
        days: int = 1095, start: datetime | None = None,
    ) -> Card:
        """``person`` and ``issue`` in one."""
        holder = self.person(
            identifier, surname, given_name, profession=profession, label=label, specialties=specialties,
            card_type=card_type,
        )  # fmt: skip
        return self.issue(holder, key=key, days=days, start=start)

    def issue_structure(
        self, structure_id: str, organisation: str, service: str, *, department: str = "Paris (75)",
        key: KeyKind = KeyKind.RSA, days: int = 1095, start: datetime | None = None,
    ) -> Card:
        """``structure`` (ORG_AUTH_CLI, ORG_SIGN) and ``issue`` in one."""
        holder = self.structure(structure_id, organisation, service, department=department)
        return self.issue(holder, key=key, days=days, start=start)

    def _certify(
        self, holder: Holder, keys: tuple[PublicKey, PublicKey], days: int, start: datetime | None
    ) -> Certified:
        issuer = self._authorities[holder.authority]
        made = [
            self._end_entity(
                profiles.BY_PURPOSE[(holder.authority, purpose)], holder.subject, public, holder.extensions, days, start
            )
            for purpose, public in zip(("authentication", "signature"), keys, strict=True)
        ]
        self._note(made, ("authentication", "signature"), holder.authority, holder.identifier, holder.name, holder.card)
        return Certified(made[0], made[1], (issuer.certificate, *issuer.chain))

    # -- servers -------------------------------------------------------------------------------------------------------

    def issue_server(
        self, name: str, host_names: Sequence[str] = (), *, key: KeyKind = KeyKind.EC, days: int = 1095,
        replace_old: bool = False,
    ) -> ServerFiles:
        """A certificate for one of our servers, usable on both ends of a connection between nodes.

        Written to ``servers/<name>.pem`` and ``.key``, with an RSA key to ``<name>.rsa.pem`` and ``.rsa.key``. Raises
        FileExistsError when they are there, unless the old ones are to be replaced; certificates issued before stay
        valid. Host names and addresses are added to localhost, 127.0.0.1 and ::1.
        """
        names = profiles.alternative_names((*LOCAL_NAMES, *host_names))
        return self._issue_files(profiles.SERVER, name, [names], key, days, replace_old=replace_old)

    def issue_token_signer(self, name: str, *, key: KeyKind = KeyKind.EC, days: int = 1095) -> ServerFiles:
        """As ``issue_server``, to sign assertions: a cachet of no structure, which counts where it is listed alone."""
        return self._issue_files(profiles.ORG_SIGN, name, [], key, days)

    def _issue_files(
        self, profile: Profile, name: str, more: Sequence[x509.ExtensionType], key: KeyKind, days: int, *,
        replace_old: bool = False,
    ) -> ServerFiles:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
            raise ValueError("a server name is made of letters, digits, dots and hyphens")
        stem = f"{name}.rsa" if key is KeyKind.RSA else name
        files = (self.folder / "servers" / f"{stem}.pem", self.folder / "servers" / f"{stem}.key")
        if not replace_old and any(file.exists() for file in files):
            raise FileExistsError(f"server {name} already has a certificate")
        products, own = self.products, key.generate()
        organisation = profiles.organisation_name(products)
        extensions = [*profiles.organisation_extensions(products), *more]
        subject = profiles.own_name(organisation, name)
        made = self._end_entity(profile, subject, own.public_key(), extensions, days, None)
        self._note([made], [profile.purpose], Authority.ORGANISATIONS, name, organisation)
        _replace(files[1], _plain(own), private=True)
        _replace(files[0], pem(made, self.authority(Authority.ORGANISATIONS)))
        return ServerFiles(files[0], files[1], made)

    def server(self, name: str) -> ServerFiles:
        """The files of a server issued before. Raises FileNotFoundError."""
        files = (self.folder / "servers" / f"{name}.pem", self.folder / "servers" / f"{name}.key")
        return ServerFiles(*files, x509.load_pem_x509_certificates(files[0].read_bytes())[0])

    def responder(self, which: Authority) -> KeyPair:
        """Who signs OCSP answers in the name of an authority; made anew while less than 30 days are left.

        Clause: RFC 6960 4.2.2.2 (delegated responder), 4.2.2.2.1 (no check of the responder itself)
        """
        folder = self.folder / "responders"
        files = folder / f"{which}.pem", folder / f"{which}.key"
        issuer = self._authorities[which]
        with self._changing():
            if all(file.is_file() for file in files):
                certificate = x509.load_pem_x509_certificate(files[0].read_bytes())
                if certificate.not_valid_after_utc - datetime.now(UTC) > _RESPONDER_SPARE:
                    return KeyPair(_load_key(files[1]), certificate, (issuer.certificate, *issuer.chain))
            key = KeyKind.EC.generate()
            certificate = profiles.responder_certificate(which, self.products, key.public_key(), issuer)
            folder.mkdir(exist_ok=True, mode=0o700)
            files[1].unlink(missing_ok=True)
            write_private(files[1], _plain(key))
            _replace(files[0], pem(certificate))
        return KeyPair(key, certificate, (issuer.certificate, *issuer.chain))

    # -- revocation ----------------------------------------------------------------------------------------------------

    def revoke(
        self, serial: int | str, *, reason: Reason = Reason.UNSPECIFIED, crl_days: int = 365
    ) -> Issued:
        """Put a certificate on its authority's list, at once. Raises KeyError for a serial never issued here.

        May be repeated: the first revocation stays, with its time and reason.
        """
        wanted = f"{serial:x}" if isinstance(serial, int) else serial.lower().lstrip("0")
        found = self.revoke_all(lambda line: line.serial == wanted, reason=reason, crl_days=crl_days)
        if not found:
            raise KeyError(f"no certificate with serial {wanted} was issued here")
        return found[0]

    def revoke_all(
        self, which: Callable[[Issued], bool], *, reason: Reason = Reason.UNSPECIFIED, crl_days: int = 365
    ) -> list[Issued]:
        """Revoke every certificate that ``which`` takes, in one list; returns them as they are now, [] for none."""
        with self._changing() as index:
            moment, touched = _iso(datetime.now(UTC)), []
            for place, line in enumerate(index.issued):
                if which(line):
                    ended = line if line.revoked else replace(line, revoked=moment, reason=reason.value)
                    index.issued[place] = ended
                    touched.append(ended)
            if touched:
                self._write_crls(index, crl_days)
        return touched

    def issued(self) -> list[Issued]:
        """Every certificate issued to persons, structures and servers, oldest first."""
        return self._read_index().issued

    def write_crls(self, *, days: int = 365) -> None:
        """Write fresh full lists, valid for ``days``; the delta lists begin anew from them."""
        with self._changing() as index:
            self._write_crls(index, days, is_base=True)

    def _write_crls(self, index: _Index, days: int, *, is_base: bool = False) -> None:
        now = datetime.now(UTC)
        index.numbers = index.numbers.following(now, is_base=is_base)
        self._write_index(index)
        for which, authority in self._authorities.items():
            revoked = [line for line in index.issued if line.authority == which and line.revoked]
            lists = revocation.lists(
                authority, [(int(line.serial, 16), line.revoked, line.reason) for line in revoked], index.numbers, now,
                days=days, freshest=profiles.freshest(index.base_url, which) if index.base_url else None,
            )  # fmt: skip
            _replace(self.trust / f"{which}.delta.crl", lists.delta.public_bytes(Encoding.PEM))
            _replace(self.trust / f"{which}.crl", lists.full.public_bytes(Encoding.PEM))

    # -- what all of it rests on ---------------------------------------------------------------------------------------

    def _end_entity(
        self, profile: Profile, subject: x509.Name, public: PublicKey, more: Sequence[x509.ExtensionType], days: int,
        start: datetime | None,
    ) -> x509.Certificate:
        authority = self._authorities[profile.authority]
        builder = profiles.builder(subject, public, authority.certificate.subject, authority.key, start, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        usage = profiles.usage(
            digital_signature=profile.digital_signature, non_repudiation=profile.non_repudiation
        )
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(profile.extended), critical=False)
        builder = builder.add_extension(profiles.policy(profile.policy), critical=False)
        for extension in (*more, *profiles.places(self.base_url, profile.authority)):
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(authority.key, hashes.SHA256())

    def _note(
        self, certificates: Sequence[x509.Certificate], purposes: Sequence[str], authority: Authority, holder: str,
        name: str, card: str = "",
    ) -> None:
        """Keep the certificates, then their lines: what is in the index can be shown and renewed."""
        (self.folder / "issued").mkdir(exist_ok=True)
        with self._changing() as index:
            for certificate, purpose in zip(certificates, purposes, strict=True):
                line = Issued(
                    serial=f"{certificate.serial_number:x}", authority=authority.value, purpose=purpose, holder=holder,
                    name=name, not_after=_iso(certificate.not_valid_after_utc), card=card,
                )  # fmt: skip
                _replace(self.folder / "issued" / f"{line.serial}.pem", pem(certificate))
                index.issued.append(line)
            self._write_index(index)

    @contextmanager
    def _changing(self) -> Iterator[_Index]:
        """The index, while no other thread or process changes it."""
        with self._lock, open(self.folder / ".lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self._read_index()

    def _read_index(self) -> _Index:
        told: dict[str, Any] = json.loads((self.folder / "index.json").read_text("utf-8"))
        return _Index(
            Products(told.get("products", Products.TEST)),
            told.get("base_url", ""),
            ListNumbers(**told.get("lists", {})),
            [Issued(**line) for line in told["issued"]],
        )

    def _write_index(self, index: _Index) -> None:
        text = json.dumps(
            {
                "products": index.products.value,
                "base_url": index.base_url,
                "lists": asdict(index.numbers),
                "issued": [asdict(line) for line in index.issued],
            },
            ensure_ascii=False,
            indent=1,
        )
        _replace(self.folder / "index.json", text.encode())


def _load_key(file: Path) -> PrivateKey:
    key = load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError(f"the key {file.name} is of an unexpected type")
    return key


def _plain(key: PrivateKey) -> bytes:
    """PEM without encryption, because servers start unattended; the file mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _replace(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write so that a reader sees the old file or the new one, never half of it; private: nobody but its owner."""
    temporary = path.with_name(f".{path.name}.new")
    if private:
        temporary.unlink(missing_ok=True)
        write_private(temporary, data)
    else:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
