"""The stand-in authorities: what they issue, how they keep it, how they take it back."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from guard.credentials import identity
from guard.credentials.identity import CardType, Kind
from guard.credentials.pki import KeyKind, Pki


def usage(certificate: x509.Certificate) -> x509.KeyUsage:
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value


def extended(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_person_card_carries_the_identifiers_of_a_professional(pki: Pki) -> None:
    """One relative name with PS_IdNat, surname and given name; the private extensions; two different keys."""
    card = pki.issue_person("899900000077", "MARTIN", "Léa", specialties=("SM26", "SM02"))
    rdns = card.signature.certificate.subject.rdns
    assert [[a.oid for a in rdn] for rdn in rdns[:2]] == [[NameOID.COUNTRY_NAME], [NameOID.TITLE]]
    assert {a.oid: a.value for a in rdns[2]} == {
        NameOID.COMMON_NAME: "899900000077",
        NameOID.SURNAME: "MARTIN",
        NameOID.GIVEN_NAME: "Léa",
    }
    who = card.identity
    assert (who.common_name, who.name, who.title) == ("899900000077", "MARTIN Léa", "Médecin")
    assert (who.card_type, who.profession, who.specialties) == (0, 10, {"SM26", "SM02"})
    assert who.product_category is not None and who.product_category & identity.TEST_PRODUCT
    assert who.card_number.startswith("8025000001/")
    assert card.kind is Kind.PERSON
    assert isinstance(card.signature.key, rsa.RSAPrivateKey) and card.signature.key.key_size == 2048
    keys = {pair.certificate.public_key().public_numbers() for pair in (card.authentication, card.signature)}
    assert len(keys) == 2


def test_each_key_has_its_own_duty(pki: Pki) -> None:
    """The authentication key opens connections and signs no statement; the signature key the reverse."""
    person = pki.issue_person("899900000078", "MARTIN", "Léo", key=KeyKind.EC)
    structure = pki.issue_structure("10B0127189", "CLINIQUE FICTIVE", "Urgences", key=KeyKind.EC)
    for card in (person, structure):
        tls, signs = card.authentication.certificate, card.signature.certificate
        assert usage(tls).digital_signature and not usage(tls).content_commitment
        assert extended(tls) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        assert usage(signs).content_commitment
        assert ExtendedKeyUsageOID.CLIENT_AUTH not in extended(signs)
    assert structure.identity.unit == "10B0127189"
    assert structure.kind is Kind.ORGANISATION


def test_names_say_test_and_branches_are_apart(pki: Pki) -> None:
    """Persons and organisations have separate authorities under one root, all marked TEST."""
    person = pki.issue_person("899900000079", "A", "B", key=KeyKind.EC)
    structure = pki.issue_structure("10B0127189", "C", "D", key=KeyKind.EC)
    issuers = [card.authentication.certificate.issuer for card in (person, structure)]
    names = [str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value) for name in issuers]
    assert names[0].startswith("TEST") and names[0].endswith("PERSONNES")
    assert names[1].startswith("TEST") and names[1].endswith("ORGANISATIONS")
    assert [certificate.subject for certificate in person.authentication.chain][1:] == [
        structure.authentication.chain[1].subject
    ]


def test_staff_card_without_names_shows_organisation_or_number() -> None:
    """Cards that carry neither surname nor given name are still named in the log. Rule: R617"""
    who = identity.Identity(common_name="3100000017/77", organisation="CLINIQUE FICTIVE")
    assert who.name == "CLINIQUE FICTIVE 3100000017/77"


def test_server_certificate_serves_both_ends(own_pki: Pki) -> None:
    """A node is a server to its callers and a client to other nodes; local names are always in it."""
    files = own_pki.issue_server("repository", ["carnet.example", "192.0.2.7"])
    assert set(extended(files.certificate)) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    names = files.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "carnet.example"}
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1", "192.0.2.7"}
    assert isinstance(files.certificate.public_key(), ec.EllipticCurvePublicKey)
    assert len(x509.load_pem_x509_certificates(files.certificate_file.read_bytes())) == 2, "leaf and its issuer"
    assert own_pki.server("repository").certificate == files.certificate
    with pytest.raises(FileExistsError):
        own_pki.issue_server("repository")


@pytest.mark.parametrize("name", ["../escape", "", ".hidden", "a/b", "x" * 64])
def test_server_name_cannot_leave_its_folder(own_pki: Pki, name: str) -> None:
    """A server name becomes a file name, so it is restricted."""
    with pytest.raises(ValueError, match="server name"):
        own_pki.issue_server(name)


def test_private_keys_are_for_their_owner_only(own_pki: Pki) -> None:
    """Keys have mode 0600, their folder 0700."""
    own_pki.issue_server("registry")
    keys = list(own_pki.folder.rglob("*.key"))
    assert len(keys) == 4
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE((own_pki.folder / "private").stat().st_mode) == 0o700


def test_existing_pki_is_never_overwritten(own_pki: Pki) -> None:
    """A second creation in the same folder is refused, also when only the keys are left."""
    before = (own_pki.trust / "root.pem").read_bytes()
    with pytest.raises(FileExistsError):
        Pki.create(own_pki.folder)
    (own_pki.folder / "index.json").unlink()
    with pytest.raises(FileExistsError):
        Pki.create(own_pki.folder)
    assert (own_pki.trust / "root.pem").read_bytes() == before


def test_opened_again_it_goes_on(own_pki: Pki) -> None:
    """A PKI opened later issues under the same authorities and knows what it issued."""
    first = own_pki.issue_person("899900000080", "A", "B", key=KeyKind.EC, card_type=CardType.CPE)
    again = Pki.open(own_pki.folder)
    second = again.issue_person("899900000081", "C", "D", key=KeyKind.EC)
    assert second.signature.chain == first.signature.chain
    assert [line.holder for line in again.issued()] == ["899900000080"] * 2 + ["899900000081"] * 2
    assert {line.purpose for line in again.issued()} == {"authentication", "signature"}


def test_opening_nothing_is_an_error(tmp_path: Path) -> None:
    """No PKI in the folder."""
    with pytest.raises(FileNotFoundError):
        Pki.open(tmp_path)


@pytest.mark.parametrize("as_text", [False, True])
def test_revocation_reaches_the_list_and_the_index(own_pki: Pki, as_text: bool) -> None:
    """A revoked serial is on its authority's list at once; the first time of revocation stays."""
    card = own_pki.issue_person("899900000082", "A", "B", key=KeyKind.EC)
    serial = card.signature.certificate.serial_number
    line = own_pki.revoke(f"{serial:X}" if as_text else serial)
    assert line.purpose == "signature" and line.revoked
    assert own_pki.revoke(serial) == line
    lists = {
        name: x509.load_pem_x509_crl((own_pki.trust / f"{name}.crl").read_bytes())
        for name in ("persons", "organisations")
    }
    assert [entry.serial_number for entry in lists["persons"]] == [serial]
    assert list(lists["organisations"]) == []
    index = json.loads((own_pki.folder / "index.json").read_text("utf-8"))["issued"]
    assert [entry["revoked"] for entry in index] == ["", line.revoked]
    with pytest.raises(KeyError):
        own_pki.revoke(1)
