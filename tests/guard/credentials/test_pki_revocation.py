"""What the authorities take back: full and delta lists, reasons, renewal, requests; the openssl command as witness."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from guard.credentials import certificate_requests, identity
from guard.credentials.cards import pem
from guard.credentials.certificate_requests import RequestRefused
from guard.credentials.certificates import CertificateRefused, TrustStore, Use
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.profiles import PERSON_SIGNATURE_POLICY, Authority, Products
from guard.credentials.revocation import Reason

BASE = "http://127.0.0.1:8880/pki"


@pytest.fixture
def placed(tmp_path: Path) -> Pki:
    """A PKI that was given an address."""
    return Pki.create(tmp_path / "pki", base_url=f"{BASE}/")


def openssl(*words: str | Path, expect: int = 0) -> str:
    said = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert said.returncode == expect, said.stdout + said.stderr
    return said.stdout + said.stderr


def verified(pki: Pki, certificate: x509.Certificate, lists: list[Path], *words: str, expect: int = 0) -> str:
    """``openssl verify`` with these lists, every certificate of the chain checked against one."""
    folder = pki.folder.parent
    (folder / "leaf.pem").write_bytes(pem(certificate))
    (folder / "lists.pem").write_bytes(b"".join(file.read_bytes() for file in lists))
    return openssl(
        "verify", "-x509_strict", "-crl_check_all", *words, "-CRLfile", folder / "lists.pem", "-CAfile", pki.ca_file,
        folder / "leaf.pem", expect=expect,
    )  # fmt: skip


def lists_of(pki: Pki) -> list[Path]:
    return [pki.trust / "root.crl", pki.trust / "persons.crl"]


@pytest.mark.parametrize("key", list(KeyKind))
def test_openssl_accepts_and_then_refuses_a_certificate(tmp_path: Path, key: KeyKind) -> None:
    """Strict X.509 checks of a stranger, on RSA and elliptic-curve authorities; revoked at once."""
    pki = Pki.create(tmp_path / "pki", key=key, base_url=BASE)
    card = pki.issue_person("899700000018", "ESSAI", "Anne", key=key)
    for pair in (card.authentication, card.signature):
        assert verified(pki, pair.certificate, lists_of(pki)).endswith("OK\n")
    pki.revoke(card.signature.certificate.serial_number, reason=Reason.KEY_COMPROMISE)
    assert "certificate revoked" in verified(pki, card.signature.certificate, lists_of(pki), expect=2)
    assert verified(pki, card.authentication.certificate, lists_of(pki)).endswith("OK\n")
    text = openssl("crl", "-in", pki.trust / "persons.crl", "-noout", "-text", "-CAfile", pki.ca_file)
    assert "verify OK" in text and "Key Compromise" in text and "X509v3 Freshest CRL" in text


def test_a_kept_list_and_the_delta_know_the_revocation(placed: Pki) -> None:
    """Whoever kept the full list of yesterday learns the rest from the delta; openssl puts the two together."""
    card = placed.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
    kept = placed.folder.parent / "kept.crl"
    kept.write_bytes((placed.trust / "persons.crl").read_bytes())
    placed.revoke(card.signature.certificate.serial_number, reason=Reason.SUPERSEDED)
    root, delta = placed.trust / "root.crl", placed.trust / "persons.delta.crl"
    assert verified(placed, card.signature.certificate, [root, kept]).endswith("OK\n"), "the old list alone is silent"
    words = ("-extended_crl", "-use_deltas")
    said = verified(placed, card.signature.certificate, [root, kept, delta], *words, expect=2)
    assert "certificate revoked" in said


def test_delta_lists_are_numbered_and_begin_anew(placed: Pki) -> None:
    """Same number as the full list of the same moment, base of the last full one, critical; empty after a new base."""
    def read(name: str) -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl((placed.trust / name).read_bytes())

    def number(crl: x509.CertificateRevocationList) -> int:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    def base(crl: x509.CertificateRevocationList) -> int:
        extension = crl.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
        assert extension.critical
        return extension.value.crl_number

    first = number(read("persons.crl"))
    card = placed.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
    placed.revoke(card.signature.certificate.serial_number)
    full, delta = read("persons.crl"), read("persons.delta.crl")
    assert number(full) == number(delta) > first == base(delta)
    serial = card.signature.certificate.serial_number
    assert [entry.serial_number for entry in delta] == [entry.serial_number for entry in full] == [serial]
    assert len(next(iter(full)).extensions) == 0, "an unspecified reason is left out"
    assert not any(isinstance(e.value, x509.FreshestCRL) for e in delta.extensions)
    time.sleep(1.1)  # what is revoked in the very second of a new base is in its delta, too
    placed.write_crls(days=7)
    full, delta = read("persons.crl"), read("persons.delta.crl")
    assert base(delta) == number(delta) == number(full) and len(list(full)) == 1 and not list(delta)
    other = placed.issue_structure("10B0000001", "LABORATOIRE FICTIF", "Automate", key=KeyKind.EC)
    placed.revoke(other.authentication.certificate.serial_number)
    assert len(list(read("organisations.delta.crl"))) == 1 and len(list(read("organisations.crl"))) == 1


def test_a_service_reads_a_revocation_from_the_delta_alone(placed: Pki) -> None:
    """Our own verifier, with yesterday's full list and today's delta in its folder."""
    card = placed.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
    old = (placed.trust / "persons.crl").read_bytes()
    placed.revoke(card.signature.certificate.serial_number)
    (placed.trust / "persons.crl").write_bytes(old)
    with pytest.raises(CertificateRefused, match="revoked"):
        TrustStore.load(placed.trust).check(card.signature.der, Use.VIHF_SIGNATURE)


def test_certificates_say_where_lists_and_responder_are(placed: Pki, own_pki_without: Pki) -> None:
    """Distribution point, freshest list, OCSP and issuer: of persons, of organisations, and of the authorities."""
    person = placed.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC).signature.certificate
    server = placed.issue_server("registry").certificate
    persons = placed.authority(Authority.PERSONS)
    for certificate, issuer in ((person, "persons"), (server, "organisations"), (persons, "root")):
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        fresh = certificate.extensions.get_extension_for_class(x509.FreshestCRL).value
        assert [p.full_name[0].value for p in points] == [f"{BASE}/crl/{issuer}.crl"]
        assert [p.full_name[0].value for p in fresh] == [f"{BASE}/crl/{issuer}.delta.crl"]
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        assert {(one.access_method, one.access_location.value) for one in access} == {
            (AuthorityInformationAccessOID.OCSP, f"{BASE}/ocsp"),
            (AuthorityInformationAccessOID.CA_ISSUERS, f"{BASE}/ca/{issuer}.crt"),
        }
    assert BASE in openssl("x509", "-in", placed.folder / "servers" / "registry.pem", "-noout", "-ocsp_uri")
    plain = own_pki_without.issue_server("registry").certificate
    kinds = {type(extension.value) for extension in plain.extensions}
    assert not kinds & {x509.CRLDistributionPoints, x509.FreshestCRL, x509.AuthorityInformationAccess}


@pytest.fixture
def own_pki_without(tmp_path: Path) -> Pki:
    return Pki.create(tmp_path / "without")


@pytest.mark.parametrize("address", ["https://x", "ftp://x", "http://", "http://a b", "http://x?y", "http://u@x"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    """Nothing is made."""
    with pytest.raises(ValueError, match="address of a PKI"):
        Pki.create(tmp_path / "pki", base_url=address)
    assert not (tmp_path / "pki").exists()


# -- test and production -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("products", list(Products))
def test_a_pki_makes_test_products_or_production_ones(tmp_path: Path, products: Products) -> None:
    """The bit of the product category and the names say so in every certificate, also after it is opened again.

    Clause: extension 1.2.250.1.71.1.2.5 (0, 2, 3 and 0x80, 0x82, 0x83)
    """
    Pki.create(tmp_path / "pki", products=products)
    pki = Pki.open(tmp_path / "pki")
    bit = 0x80 if products is Products.TEST else 0
    cards = [
        (pki.issue_person("899700000018", "A", "B", key=KeyKind.EC), 0),
        (pki.issue_person("3100000017/77", "A", "B", key=KeyKind.EC, card_type=identity.CardType.CPE), 2),
        (pki.issue_structure("10B0000001", "C", "D", key=KeyKind.EC), 3),
    ]
    for card, kind in cards:
        for pair in (card.authentication, card.signature):
            who = identity.read(pair.certificate)
            assert who.product_category == kind | bit
            assert str(pair.certificate.issuer.rfc4514_string()).count("TEST") == (products is Products.TEST)
    assert identity.read(pki.issue_server("x").certificate).product_category == 3 | bit
    name = pki.authority(Authority.ROOT).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert str(name).startswith("TEST ") == (products is Products.TEST)


def test_profiles_as_openssl_reads_them(own_pki: Pki) -> None:
    """Usages, policies and DER order of the multi-valued name, in the words of a stranger."""
    card = own_pki.issue_person("899700000018", "LIBRE", "Max", specialties=("SM26",), key=KeyKind.EC)
    (own_pki.folder / "leaf.pem").write_bytes(pem(card.signature.certificate))
    text = openssl("x509", "-in", own_pki.folder / "leaf.pem", "-noout", "-text")
    assert "Non Repudiation" in text and "Digital Signature" not in text and PERSON_SIGNATURE_POLICY in text
    members = set_members(card.signature.certificate.subject.public_bytes())
    assert len(members) == 3 and members == sorted(members), "DER order of the set"


def set_members(name: bytes) -> list[bytes]:
    """The attributes of the last relative name, whole and in their order."""
    def value(data: bytes) -> tuple[bytes, bytes, bytes]:
        assert data[1] < 0x80
        end = 2 + data[1]
        return data[:end], data[2:end], data[end:]

    _, rest, _ = value(name)
    last = b""
    while rest:
        last, _, rest = value(rest)
    _, inner, _ = value(last)
    found = []
    while inner:
        whole, _, inner = value(inner)
        found.append(whole)
    return found


# -- requests ----------------------------------------------------------------------------------------------------------


def test_the_authority_says_who_the_holder_is(own_pki: Pki) -> None:
    """Keys come from the request; names, usages and extensions it asks for do not."""
    keys = KeyKind.EC.generate(), KeyKind.RSA.generate()
    asked = b"".join(
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "899799999999")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        for key in keys
    )
    made = own_pki.certify(own_pki.person("899700000018", "ESSAI", "Anne"), asked)
    for certificate, key in ((made.authentication, keys[0]), (made.signature, keys[1])):
        assert identity.read(certificate).common_name == "899700000018"
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert certificate.public_key().public_numbers() == key.public_key().public_numbers()
    assert x509.load_pem_x509_certificates(made.pem())[2:] == list(made.chain)


def good() -> bytes:
    return certificate_requests.make(KeyKind.EC.generate(), KeyKind.EC.generate())


def forged() -> bytes:
    """The second request carries a key its maker does not hold: signature and key of different requests."""
    request = x509.load_pem_x509_csr(certificate_requests.make(KeyKind.EC.generate(), KeyKind.EC.generate()))
    der = bytearray(request.public_bytes(Encoding.DER))
    point = request.public_key().public_bytes  # type: ignore[union-attr]
    from cryptography.hazmat.primitives.serialization import PublicFormat

    old = point(Encoding.X962, PublicFormat.UncompressedPoint)
    new = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    at = der.index(old)
    der[at : at + len(old)] = new
    first = good().split(b"-----END CERTIFICATE REQUEST-----\n")[0] + b"-----END CERTIFICATE REQUEST-----\n"
    return first + x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)


def twice() -> bytes:
    key = KeyKind.EC.generate()
    return certificate_requests.make(key, key)


@pytest.mark.parametrize(
    ("request_file", "told"),
    [
        (forged, "not signed by its own key"),
        (twice, "different keys"),
        (lambda: b"", "found 0"),
        (lambda: good() + good(), "found 4"),
        (lambda: good().split(b"-----END")[0], "found 0"),
        (lambda: good().replace(b"MII", b"XXX", 1).replace(b"MIH", b"XXX", 1), "cannot be read"),
        (
            lambda: certificate_requests.make(
                rsa.generate_private_key(public_exponent=65537, key_size=1024), KeyKind.EC.generate()
            ),
            "neither RSA",
        ),
        (lambda: certificate_requests.make(KeyKind.EC.generate(), ec.generate_private_key(ec.SECP256K1())), "neither"),
    ],
)
def test_a_bad_request_is_refused(own_pki: Pki, request_file: Callable[[], bytes], told: str) -> None:
    """With the reason; nothing is issued."""
    with pytest.raises(RequestRefused, match=told):
        own_pki.certify(own_pki.person("899700000018", "ESSAI", "Anne"), request_file())
    assert own_pki.issued() == []


# -- renewal, replacement, index ---------------------------------------------------------------------------------------


def test_a_renewed_card_keeps_its_number_and_the_old_certificates(own_pki: Pki) -> None:
    """Same holder, same number, other keys and serials; what was there goes on."""
    old = own_pki.issue_person("899700000018", "ESSAI", "Anne", specialties=("SM26",), key=KeyKind.EC)
    new = own_pki.issue(own_pki.renewal(old.identity.card_number), key=KeyKind.EC)
    assert new.identity == old.identity
    assert new.signature.certificate.serial_number != old.signature.certificate.serial_number
    assert new.signature.certificate.public_key() != old.signature.certificate.public_key()
    assert [line.revoked for line in own_pki.issued()] == [""] * 4
    assert {line.card for line in own_pki.issued()} == {old.identity.card_number}


@pytest.mark.parametrize("is_person", [True, False])
def test_a_replacement_has_another_number(own_pki: Pki, is_person: bool) -> None:
    """The holder's names and extensions stay; in a person's certificate the number is seen, a structure has none."""
    if is_person:
        old = own_pki.issue_person("899700000018", "ESSAI", "Anne", specialties=("SM26",), key=KeyKind.EC)
    else:
        old = own_pki.issue_structure("10B0000001", "LABORATOIRE", "Automate", key=KeyKind.EC)
    number = own_pki.issued()[0].card
    holder = own_pki.replacement(number)
    new = own_pki.issue(holder, key=KeyKind.EC)
    assert holder.card != number and new.authentication.certificate.subject == old.authentication.certificate.subject
    assert new.identity.card_number == (holder.card if is_person else "")
    assert new.identity.specialties == old.identity.specialties
    assert new.identity.product_category == old.identity.product_category


def test_an_index_of_before_is_read(own_pki: Pki) -> None:
    """One written before lists had numbers and certificates were kept: a test PKI, and it goes on."""
    card = own_pki.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
    serial = f"{card.signature.certificate.serial_number:x}"
    (own_pki.folder / "index.json").write_text(
        f'{{"issued": [{{"serial": "{serial}", "authority": "persons", "purpose": "signature", '
        '"holder": "899700000018", "name": "ESSAI Anne", "not_after": "2029-01-01T00:00:00Z", "revoked": ""}]}'
    )
    again = Pki.open(own_pki.folder)
    assert again.products is Products.TEST and again.base_url == ""
    assert again.revoke(serial, reason=Reason.CESSATION).reason == "cessationOfOperation"
    again.issue_server("later")
    with pytest.raises(KeyError):
        again.renewal("")


def test_processes_do_not_lose_each_others_lines(own_pki: Pki) -> None:
    """Four processes issue at the same time: the index has them all."""
    program = (
        "import sys; from guard.credentials.pki import Pki, KeyKind\n"
        "for n in range(5): Pki.open(sys.argv[1]).issue_structure('10B0000001', sys.argv[2], str(n), key=KeyKind.EC)"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(own_pki.folder), str(n)]) for n in range(4)]
    assert [one.wait(timeout=120) for one in running] == [0] * 4
    assert len(own_pki.issued()) == 40
