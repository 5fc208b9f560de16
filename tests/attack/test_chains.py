"""Certificates that look like good ones: nobody but the authorities of the trust folder makes a signer.

Sources: RFC 5280 4.2.1.9, 4.2.1.10, 6.1 (path length, names, chains). The twins have the subject, the serial number
and the key identifiers of a good certificate under another key.
Every signature here holds under the key of its certificate (step g is what refuses it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from conformance.hand_signatures import ECDSA_SHA256, RSA_SHA256, Form, certificate_info, sign
from conformance.negative_assertions import kit_rule
from conformance.negative_kit import MESSAGE, Kit, put
from guard.credentials import vihf
from guard.credentials.assertion import Verifier
from guard.credentials.cards import KeyPair, PrivateKey
from guard.credentials.certificates import TrustError, TrustStore
from guard.credentials.pki import Pki
from tests.attack import oracles
from tests.attack.attack import lenient
from xds.wire.faults import FAILED_AUTHENTICATION, SoapFault


@dataclass(frozen=True, slots=True)
class Signer:
    """A key, its certificate, and what goes with it into KeyInfo."""

    key: PrivateKey
    certificate: x509.Certificate
    more: tuple[x509.Certificate, ...] = ()


def issuer(pki: Pki, which: str) -> KeyPair:
    """An authority with its key, which no attacker has: for what only an authority could do wrong."""
    return next(pair for name, pair in pki._authorities.items() if name == which)


@dataclass(slots=True)
class Attacker:
    """Holds the card of ``kit.card`` and the public certificates of everybody."""

    pki: Pki
    kit: Kit
    ec_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def issuer(self, which: str) -> KeyPair:
        return issuer(self.pki, which)

    def authority(self, which: str = "persons") -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.pki.trust / f"{which}.pem").read_bytes())

    def twin(
        self,
        of: x509.Certificate,
        key: PrivateKey,
        signer: PrivateKey,
        *,
        drop: tuple[type, ...] = (),
        subject: x509.Name | None = None,
        issuer: x509.Name | None = None,
        authority: bool = False,
    ) -> x509.Certificate:
        """Every field of ``of`` (serial number, key identifiers and all) under another key."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or of.subject)
            .issuer_name(issuer or of.issuer)
            .public_key(key.public_key())
            .serial_number(of.serial_number)
            .not_valid_before(of.not_valid_before_utc)
            .not_valid_after(of.not_valid_after_utc)
        )
        for extension in of.extensions:
            if authority and isinstance(extension.value, x509.BasicConstraints):
                builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            elif not isinstance(extension.value, drop):
                builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(signer, hashes.SHA256())

    def victim(self) -> x509.Certificate:
        return self.kit.other.signature.certificate


def _self_signed(a: Attacker) -> Signer:
    """The victim's certificate in every field, signed by its own key."""
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, a.ec_key))


def _self_issued(a: Attacker) -> Signer:
    """The same, and its issuer is itself."""
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, a.ec_key, issuer=a.victim().subject))


def _twin_authority(a: Attacker) -> Signer:
    """An authority of the same name, serial number and key identifiers, which comes along in KeyInfo."""
    own = ec.generate_private_key(ec.SECP256R1())
    authority = a.twin(a.authority(), own, own)
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, own), (authority,))


def _twin_root(a: Attacker) -> Signer:
    """A whole hierarchy of the same names."""
    root_key, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = a.twin(a.authority("root"), root_key, root_key)
    authority = a.twin(a.authority(), own, root_key)
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, own), (authority, root))


def _card_as_authority(a: Attacker) -> Signer:
    """The attacker's own card issues a certificate in the victim's name (a leaf that is no authority)."""
    own = a.kit.card.signature
    leaf = a.twin(a.victim(), a.ec_key, own.key, issuer=own.certificate.subject)
    return Signer(a.ec_key, leaf, (own.certificate, *own.chain))


def _sub_authority(a: Attacker) -> Signer:
    """An authority below the authority of persons, whose path length allows none; the chain comes along."""
    above = a.issuer("persons")
    middle_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SUB")])
    middle = a.twin(above.certificate, middle_key, above.key, subject=name, issuer=above.certificate.subject)
    leaf = a.twin(a.victim(), a.ec_key, middle_key, issuer=name)
    return Signer(a.ec_key, leaf, (middle, above.certificate))


def _straight_from_root(a: Attacker) -> Signer:
    """Signed by the root itself, which issues no persons."""
    root = a.issuer("root")
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, root.key, issuer=root.certificate.subject))


def _signature_of_another(a: Attacker) -> Signer:
    """The victim's own certificate, with the attacker's key."""
    return Signer(a.ec_key, a.victim())


def _same_names_other_branch(a: Attacker) -> Signer:
    """The authority of organisations signs, and is said to be the one of persons."""
    other = a.issuer("organisations")
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, other.key))


def _authority_itself(a: Attacker) -> Signer:
    """An authority's own key signs a statement."""
    above = a.issuer("persons")
    return Signer(above.key, above.certificate)


def _leaf_that_is_an_authority(a: Attacker) -> Signer:
    """A person's certificate of the right authority, marked as an authority's."""
    above = a.issuer("persons")
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, above.key, authority=True))


def _short_key(a: Attacker) -> Signer:
    """Of the right authority, over an RSA key that can be factored."""
    above, key = a.issuer("persons"), rsa.generate_private_key(65537, 1024)
    return Signer(key, a.twin(a.victim(), key, above.key))


def _no_usages(a: Attacker) -> Signer:
    """Of the right authority, without a word on what the key is for."""
    above = a.issuer("persons")
    return Signer(a.ec_key, a.twin(a.victim(), a.ec_key, above.key, drop=(x509.KeyUsage,)))


SIGNERS: dict[str, Callable[[Attacker], Signer]] = {
    made.__name__[1:]: made
    for made in (
        _self_signed,
        _self_issued,
        _twin_authority,
        _twin_root,
        _card_as_authority,
        _sub_authority,
        _straight_from_root,
        _same_names_other_branch,
        _authority_itself,
        _leaf_that_is_an_authority,
        _short_key,
        _no_usages,
    )
}
FOR_LIBRARIES = {
    "straight_from_root": {"signxml"},
    "leaf_that_is_an_authority": {"signxml", "xmlsec"},
    "short_key": {"signxml", "xmlsec"},
    "no_usages": {"xmlsec"},
    "authority_itself": {"xmlsec"},
}
"""Which libraries believe what we do not: what an authority may issue is said by our folder, and neither was given a
policy on sizes, or on authorities that sign statements. Each of these needs the key of an authority to be made."""


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Attacker:
    pki = Pki.create(tmp_path_factory.mktemp("pki"))
    return Attacker(pki, Kit.make(pki, tmp_path_factory.mktemp("foreign")))


def message_of(signer: Signer, kit: Kit) -> bytes:
    """An assertion in the victim's name, right in everything but the certificate."""
    root = kit.build(None, kit.other)
    method = RSA_SHA256 if isinstance(signer.key, rsa.RSAPrivateKey) else ECDSA_SHA256
    sign(root, signer.key, certificate_info(signer.certificate, *signer.more), Form(method=method))
    return put(MESSAGE, vihf.security_header(etree.tostring(root)))


@pytest.mark.parametrize("name", SIGNERS)
def test_certificate_of_nobody_is_refused(name: str, attacker: Attacker) -> None:
    """Attack: certificate-twin, authority-twin, leaf-as-authority, path-length. Step: g"""
    data = message_of(SIGNERS[name](attacker), attacker.kit)
    verifier = Verifier(kit_rule(), TrustStore.load(attacker.pki.trust))
    with pytest.raises(SoapFault) as refused:
        verifier.authenticate(
            envelope=lenient(data), security=None, peer_certificate=attacker.kit.other.authentication.der
        )
    assert (refused.value.subcode, refused.value.step) == (FAILED_AUTHENTICATION, "g"), refused.value.detail


@pytest.mark.parametrize("name", SIGNERS)
def test_libraries_agree_on_chains(name: str, attacker: Attacker) -> None:
    """Without the key of an authority nobody is believed by anybody. Step: g"""
    data = message_of(SIGNERS[name](attacker), attacker.kit)
    believed = {library for library, opinion in oracles.STRICT.items() if opinion(lenient(data), attacker.pki.trust)}
    assert believed == FOR_LIBRARIES.get(name, set())


def test_victims_certificate_over_the_attackers_key(attacker: Attacker) -> None:
    """The certificate is a good one, and so only the arithmetic is left. Step: f"""
    data = message_of(_signature_of_another(attacker), attacker.kit)
    verifier = Verifier(kit_rule(), TrustStore.load(attacker.pki.trust))
    with pytest.raises(SoapFault) as refused:
        verifier.authenticate(
            envelope=lenient(data), security=None, peer_certificate=attacker.kit.other.authentication.der
        )
    assert refused.value.step == "f"


@pytest.mark.parametrize("name", ["same", "reversed"])
def test_right_chain_in_the_message_changes_nothing(name: str, attacker: Attacker) -> None:
    """The chain that comes along is neither needed nor believed, in whatever order. Step: g"""
    pair = attacker.kit.other.signature
    chain = pair.chain if name == "same" else tuple(reversed(pair.chain))
    data = message_of(Signer(pair.key, pair.certificate, chain), attacker.kit)
    verifier = Verifier(kit_rule(), TrustStore.load(attacker.pki.trust))
    caller = verifier.authenticate(
        envelope=lenient(data), security=None, peer_certificate=attacker.kit.other.authentication.der
    )
    assert caller.identifier == attacker.kit.other.identity.common_name


def _replaced(pki: Pki, folder: Path, change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder]) -> Path:
    """A copy of the trust folder whose authority of persons has one extension more or another one."""
    above, root = issuer(pki, "persons"), issuer(pki, "root")
    builder = (
        x509.CertificateBuilder()
        .subject_name(above.certificate.subject)
        .issuer_name(root.certificate.subject)
        .public_key(above.key.public_key())
        .serial_number(7)
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=9))
    )
    for extension in above.certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    folder.mkdir()
    for path in pki.trust.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    made = change(builder).sign(root.key, hashes.SHA256())
    (folder / "persons.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return folder


def test_authority_with_limits_nobody_here_applies_is_not_configured(attacker: Attacker, tmp_path: Path) -> None:
    """Name constraints and other critical words of an authority are not ignored: the folder is refused.

    Attack: name-constraints
    """
    subtree = x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "BE")]))
    names = x509.NameConstraints(permitted_subtrees=[subtree], excluded_subtrees=None)
    folder = _replaced(attacker.pki, tmp_path / "trust", lambda builder: builder.add_extension(names, critical=True))
    with pytest.raises(TrustError, match="nameConstraints"):
        TrustStore.load(folder)
    usual = _replaced(attacker.pki, tmp_path / "usual", lambda builder: builder)
    TrustStore.load(usual)
