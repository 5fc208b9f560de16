"""Signed submission sets at deposit: what is accepted, what is refused, and with which words.

Rule: R-170, R-171, R-172, R-173, R-174, R-175, R-176, R-177, R-178, R-179, R-189
"""

from __future__ import annotations

import base64
import copy
import hashlib
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import storage
from conformance import frames, signing
from conformance.client import Outcome, bytes_part
from guard.credentials import xades
from guard.credentials.cards import Card
from guard.credentials.pki import KeyKind, Pki
from repository import digests, signed_set
from repository.digests import HashedUpload
from repository.store import Staged
from storage.files import FileDocumentStore
from tests.attack.test_signatures import BY_SIGNER, other_value, transform
from tests.signatures import child, reference, spoiled
from tests.world import World
from xds import namespaces as ns
from xds.domain import load
from xds.model import Submission
from xds.model import datatypes as dt
from xds.wire.client import FaultReceived
from xds.wire.faults import FAILED_CHECK

DMP = load("dmp")


class Signing:
    """A set of documents on its way, signed or not, to be spoiled before it goes."""

    def __init__(self, world: World, who: str = "physician", documents: int = 2, *, domain: str = "dmp") -> None:
        self.world, self.who, self.domain = world, who, DMP if domain == "dmp" else load(domain)
        self.submission: Submission = frames.valid_submission(domain, documents=documents, patient_id=world.patient())
        self.submission.submission_set.submission_time = dt.dtm_text(datetime.now(UTC))
        self.documents = {
            entry.entry_uuid: frames.content(n) for n, entry in enumerate(self.submission.entries, 1)
        }

    def sign(self, **changes: object) -> Signing:
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in self.documents.items()}
        card = self.world.cards[self.who]
        self.documents[signing.ENTRY] = signing.sign(self.submission, card, self.domain, digests, **changes)  # type: ignore[arg-type]
        return self

    def replace_signature(self, data: bytes) -> Signing:
        """Other bytes as the signature document, whose entry tells their hash and size."""
        entry = self.submission.entries[-1]
        entry.hash, entry.size = hashlib.sha1(data).hexdigest(), len(data)
        self.documents[signing.ENTRY] = data
        return self

    def send(self, *, first: tuple[str, ...] = (), security: bytes | None = None) -> Outcome:
        order = [*first, *(name for name in self.documents if name not in first)]
        parts = [(name, bytes_part(self.documents[name], f"{name}@test", "text/xml")) for name in order]
        return self.world.client(self.who).provide(self.submission, parts, security=security)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.prepare(tmp_path_factory.mktemp("signed")).serve_here()


def errors(outcome: Outcome) -> list[str]:
    return [f"{e.code}: {e.context}" for e in outcome.errors]


@pytest.mark.parametrize("who", ["physician", "laboratory"])
@pytest.mark.parametrize("first", [(), (signing.ENTRY,)])
def test_a_signed_set_is_accepted(world: World, who: str, first: tuple[str, ...]) -> None:
    """By a person's card and by a structure's, the signature first or last."""
    assert errors(Signing(world, who).sign().send(first=first)) == []


def test_every_document_keeps_what_was_known_of_the_signer(world: World) -> None:
    """Chain and revocation lists stay beside the signature document, and go when it goes."""
    signing_set = Signing(world).sign()
    assert errors(signing_set.send()) == []
    assert world.repository is not None
    database = storage.open_repository(world.settings.repository_database)
    with database.write() as unit:
        (held,) = unit.documents.find(signing_set.submission.entries[-1].unique_id)
        kept = unit.documents.proof(held.key)
        assert kept is not None and abs(kept.accepted_at - time.time()) < 60
        assert kept.signer.chain[0] == world.cards["physician"].signature.der
        assert (len(kept.signer.chain), len(kept.signer.lists)) == (3, 2)
        (other,) = unit.documents.find(signing_set.submission.entries[0].unique_id)
        assert unit.documents.proof(other.key) is None
        unit.documents.remove([held.key])
        assert unit.documents.proof(held.key) is None
    database.close()


def stored(world: World, submission: Submission) -> int:
    """Documents of a submission that the repository holds."""
    database = storage.open_repository(world.settings.repository_database)
    with database.read() as unit:
        count = sum(len(unit.documents.find(entry.unique_id)) for entry in submission.entries)
    database.close()
    return count


def refused(deposit: Signing, rule: str, code: str, *words: str) -> str:
    """The set is refused for this rule alone, and nothing of it stays; the words of the refusal."""
    outcome = deposit.send()
    assert not outcome.is_success
    rules = {(e.code, re.findall(r"\[([^\]]*)\]", e.context)[-1]) for e in outcome.errors}
    assert rules == {(code, rule)}, errors(outcome)
    said = " ".join(e.context for e in outcome.errors)
    assert all(word in said for word in words), said
    assert stored(deposit.world, deposit.submission) == 0
    return said


def test_a_document_swapped_after_signing_is_refused(world: World) -> None:
    """The refusal names the document and both digests. Rule: R-179"""
    deposit = Signing(world).sign()
    entry = deposit.submission.entries[0]
    signed = hashlib.sha256(deposit.documents[entry.entry_uuid]).hexdigest()
    data = frames.content(77)
    entry.hash, entry.size = hashlib.sha1(data).hexdigest(), len(data)
    deposit.documents[entry.entry_uuid] = data
    refused(deposit, "R-179", "InvalidDocumentContent", "Document01", signed, hashlib.sha256(data).hexdigest())


def test_a_large_document_swapped_is_refused(world: World) -> None:
    """Hashed by a thread as it arrives. Rule: R-179"""
    deposit = Signing(world, documents=1)
    entry = deposit.submission.entries[0]
    data = os.urandom(5 << 20)
    entry.hash, entry.size, deposit.documents[entry.entry_uuid] = hashlib.sha1(data).hexdigest(), len(data), data
    deposit.sign()
    good = dict(deposit.documents)
    other = data[:-1] + bytes((data[-1] ^ 1,))
    entry.hash, deposit.documents[entry.entry_uuid] = hashlib.sha1(other).hexdigest(), other
    refused(deposit, "R-179", "InvalidDocumentContent", hashlib.sha256(other).hexdigest())
    deposit.documents, entry.hash = good, hashlib.sha1(data).hexdigest()
    assert errors(deposit.send()) == []


def test_a_document_added_after_signing_is_refused(world: World) -> None:
    """Rule: R-178"""
    deposit = Signing(world, documents=1).sign()
    extra = frames.valid_entry("dmp", 9, patient_id=deposit.submission.submission_set.patient_id)
    deposit.submission.entries.append(extra)
    deposit.submission.associations.append(frames.has_member("SubmissionSet01", extra.entry_uuid, "Original"))
    link = frames.relationship(ns.SIGNS, signing.ENTRY, extra.entry_uuid, entry_uuid="x9")
    deposit.submission.associations.append(link)
    deposit.documents[extra.entry_uuid] = frames.content(9)
    refused(deposit, "R-178", "InvalidDocumentContent", f"urn:oid:{extra.unique_id}")


def test_a_document_removed_after_signing_is_refused(world: World) -> None:
    """Rule: R-178"""
    deposit = Signing(world).sign()
    gone = deposit.submission.entries.pop(1)
    del deposit.documents[gone.entry_uuid]
    deposit.submission.associations = [a for a in deposit.submission.associations if a.target != gone.entry_uuid]
    refused(deposit, "R-178", "InvalidDocumentContent", f"urn:oid:{gone.unique_id}")


def test_the_signature_of_another_set_is_refused(world: World) -> None:
    """Same documents, another set: the signature does not travel. Rule: R-178"""
    deposit = Signing(world).sign()
    deposit.submission.submission_set.unique_id = frames.new_oid()
    refused(deposit, "R-178", "InvalidDocumentContent", deposit.submission.submission_set.unique_id)


def test_another_professionals_signature_is_refused(world: World) -> None:
    """A colleague cannot deposit what I have signed as if it were his, nor I what he has. Rule: R-177"""
    deposit = Signing(world, "colleague").sign()
    deposit.who = "physician"
    refused(deposit, "R-177", "LocalPolicyRestrictionError", "899700000034", "899700000018")


def test_a_structure_signs_for_nobody_else(world: World) -> None:
    """Its signature over a set that a person deposits with his own card. Rule: R-177"""
    deposit = Signing(world, "laboratory").sign()
    deposit.who = "physician"
    refused(deposit, "R-177", "LocalPolicyRestrictionError", "10B0000001")


def test_the_signer_is_an_author(world: World) -> None:
    """Of the set and of the signature document. Rule: R-177"""
    deposit = Signing(world).sign()
    deposit.submission.submission_set.authors = [frames.an_author()]
    refused(deposit, "R-177", "XDSRepositoryMetadataError", "SubmissionSet01", "899700000018")
    deposit = Signing(world).sign()
    deposit.submission.entries[-1].authors = [frames.an_author()]
    refused(deposit, "R-177", "XDSRepositoryMetadataError", signing.ENTRY)


@pytest.mark.parametrize(("away", "where"), [(timedelta(minutes=10), "future"), (timedelta(days=-2), "within a day")])
def test_the_signing_time_is_plausible(world: World, away: timedelta, where: str) -> None:
    """Not in the future, not long before the submission. Rule: R-189"""
    deposit = Signing(world)
    moment = datetime.now(UTC) + away
    if away > timedelta(0):
        refused(deposit.sign(now=moment), "R-189", "InvalidDocumentContent", where)
    else:
        said = refused(deposit.sign(now=moment), "R-176", "LocalPolicyRestrictionError")
        assert "not valid" not in said


def test_a_signature_far_from_the_submission_is_refused(world: World) -> None:
    """Rule: R-189"""
    deposit = Signing(world)
    deposit.submission.submission_set.submission_time = "20250105100000"
    refused(deposit.sign(), "R-189", "InvalidDocumentContent", "20250105100000")


def test_the_authentication_key_signs_no_set(world: World) -> None:
    """The right person, the wrong key: it has no nonRepudiation. Rule: R-176"""
    deposit = Signing(world)
    card = world.cards["physician"]
    turned = Card(card.authentication, card.authentication)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in deposit.documents.items()}
    deposit.documents[signing.ENTRY] = signing.sign(deposit.submission, turned, DMP, digests)
    said = refused(deposit, "R-176", "LocalPolicyRestrictionError")
    assert "usage" not in said and "CN=" not in said
    line = next(line for line in reversed(repository_lines(world)) if line.action == "signature verified")
    assert line.outcome == "refused" and "key usages do not allow" in line.reason


def repository_lines(world: World) -> list[Any]:
    database = storage.open_repository(world.settings.repository_database)
    with database.read() as unit:
        lines = list(unit.audit.read_latest(50))
    database.close()
    return lines


def test_a_stranger_s_card_is_refused(world: World, tmp_path: Path) -> None:
    """A card of another authority with the same names. Rule: R-176"""
    stranger = Pki.create(tmp_path / "pki").issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
    deposit = Signing(world)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in deposit.documents.items()}
    deposit.documents[signing.ENTRY] = signing.sign(deposit.submission, stranger, DMP, digests)
    refused(deposit, "R-176", "LocalPolicyRestrictionError")


@pytest.mark.parametrize("backdated", [False, True])
def test_a_revoked_card_signs_nothing_more(tmp_path: Path, backdated: bool) -> None:
    """Nor for yesterday: a signing time is the signer's own word. The holder deposits with his new card.

    Rule: R-176
    """
    world = World.prepare(tmp_path / "w")
    pki, lost = Pki.open(world.folder / "pki"), world.cards["physician"]
    world.cards["physician"] = pki.issue_person(
        "899700000018", "ESSAI", "Anne", specialties=("SM26",), key=KeyKind.EC
    )
    pki.revoke(lost.signature.certificate.serial_number)
    world.serve_here()
    deposit = Signing(world)
    digests_of = {name: hashlib.sha256(data).hexdigest() for name, data in deposit.documents.items()}
    moment = datetime.now(UTC) - timedelta(minutes=4 if backdated else 0)
    deposit.documents[signing.ENTRY] = signing.sign(deposit.submission, lost, DMP, digests_of, now=moment)
    refused(deposit, "R-176", "LocalPolicyRestrictionError")
    (line,) = [line for line in repository_lines(world) if line.action == "signature verified"]
    assert "revoked at" in line.reason and ("signed before" in line.reason) == backdated


def test_every_attack_on_the_form_is_refused_at_the_door(world: World) -> None:
    """What the unit tests refuse, the service refuses too, and keeps nothing. Rule: R-174"""
    for name in ("properties wrapped in an object", "SHA-1 of the manifest", "XSLT", "two SignedProperties"):
        deposit = Signing(world).sign()
        spoil, field = BY_SIGNER[name] if name != "XSLT" else (xslt(deposit), "Reference/Transforms")
        deposit.replace_signature(spoiled(deposit.documents[signing.ENTRY], spoil, world.cards["physician"].signature))
        refused(deposit, "R-174", "InvalidDocumentContent", field)


def xslt(deposit: Signing) -> Any:
    uri = f"urn:oid:{deposit.submission.entries[0].unique_id}"
    return transform("http://www.w3.org/TR/1999/REC-xslt-19991116", uri=uri)


def test_a_value_that_does_not_fit_is_refused(world: World) -> None:
    """Rule: R-175"""
    deposit = Signing(world).sign()
    deposit.replace_signature(spoiled(deposit.documents[signing.ENTRY], other_value))
    refused(deposit, "R-175", "InvalidDocumentContent", "SignatureValue")


def test_two_signature_documents_are_refused(world: World) -> None:
    """Rule: R-173"""
    deposit = Signing(world).sign()
    extra = copy.deepcopy(deposit.submission.entries[-1])
    extra.entry_uuid, extra.unique_id = "Signature02", frames.new_oid()
    deposit.submission.entries.append(extra)
    deposit.submission.associations.append(frames.has_member("SubmissionSet01", "Signature02", "Original"))
    deposit.documents["Signature02"] = deposit.documents[signing.ENTRY]
    refused(deposit, "R-173", "InvalidDocumentContent", "Signature02")


def test_a_huge_signature_document_is_refused_unread(world: World) -> None:
    """Rule: R-173"""
    deposit = Signing(world).sign()
    refused(deposit.replace_signature(b" " * ((1 << 20) + 1)), "R-173", "InvalidDocumentContent", "1048576")


@pytest.mark.parametrize(("field", "value", "shown"), [
    ("mime_type", "application/pdf", "mimeType"), ("language_code", "fr-FR", "languageCode"),
    ("event_codes", [], "eventCodeList"), ("title", [], "title"),
    ("confidentiality_codes", [DMP.code("confidentiality_codes", "N^^2.16.840.1.113883.5.25")], "confidentialityCode"),
    ("type_code", DMP.code("type_code", "11502-2^^2.16.840.1.113883.6.1"), "typeCode"),
])
def test_the_registry_checks_the_metadata_of_a_signature_document(
    world: World, field: str, value: object, shown: str
) -> None:
    """Alone, without the bytes. Rule: R-170"""
    deposit = Signing(world).sign()
    setattr(deposit.submission.entries[-1], field, value)
    outcome = deposit.send()
    assert not outcome.is_success
    assert any(f"Signature01, {shown}" in e.context and "[R-170]" in e.context for e in outcome.errors), errors(outcome)
    assert stored(world, deposit.submission) == 0


def test_half_of_the_associations_are_refused(world: World) -> None:
    """Rule: R-171"""
    deposit = Signing(world).sign()
    deposit.submission.associations.pop()
    refused(deposit, "R-171", "XDSRegistryMetadataError", "1 of 2")


def test_no_association_and_one_to_the_set_are_accepted(world: World) -> None:
    """The first is the framework's choice, the second is what French software sends. Rule: R-171"""
    deposit = Signing(world).sign()
    kept = [a for a in deposit.submission.associations if a.type != ns.SIGNS]
    deposit.submission.associations = kept
    assert errors(deposit.send()) == []
    deposit = Signing(world).sign()
    one = frames.relationship(ns.SIGNS, signing.ENTRY, "SubmissionSet01", slots={"SubmissionSetStatus": ["Original"]})
    deposit.submission.associations = [a for a in deposit.submission.associations if a.type != ns.SIGNS] + [one]
    assert errors(deposit.send()) == []


def test_only_a_signature_document_signs_its_set(world: World) -> None:
    """Rule: R-066"""
    deposit = Signing(world)
    deposit.submission.associations.append(frames.relationship(ns.SIGNS, "Document01", "SubmissionSet01"))
    refused(deposit, "R-066", "XDSRegistryMetadataError")


def test_canonical_forms_are_verified_as_french_software_signs_them(world: World) -> None:
    """The published messages digest the canonical form of a CDA document, comments included. Rule: R-179"""
    for changed in (False, True):
        deposit = Signing(world, documents=1)
        entry = deposit.submission.entries[0]
        data = b'<?xml version="1.0"?>\n<a  b="2" a="1"><!-- a note --><c/></a>\n'
        entry.hash, entry.size, deposit.documents["Document01"] = hashlib.sha1(data).hexdigest(), len(data), data
        deposit.sign()
        canonical = b'<a a="1" b="2"><!-- a note --><c></c></a>' if not changed else b'<a a="1" b="2"><c></c></a>'

        def spoil(root: Any, entry: Any = entry, canonical: bytes = canonical) -> None:
            uri = f"urn:oid:{entry.unique_id}"
            transform(xades.C14N_1_0 + "#WithComments", uri=uri)(root)
            digest = base64.b64encode(hashlib.sha256(canonical).digest()).decode()
            child(reference(root, uri), "DigestValue").text = digest

        deposit.replace_signature(spoiled(deposit.documents[signing.ENTRY], spoil, world.cards["physician"].signature))
        if changed:
            refused(deposit, "R-179", "InvalidDocumentContent")
        else:
            assert errors(deposit.send()) == []


def test_a_domain_may_require_signatures(tmp_path: Path) -> None:
    """Unsigned: refused, and told what is missing. Signed: accepted. Rule: R-172"""
    world = World.prepare(tmp_path / "w", '[domain]\nsignatures = "required"\n').serve_here()
    refused(Signing(world), "R-172", "LocalPolicyRestrictionError", "http://www.w3.org/2000/09/xmldsig#")
    assert errors(Signing(world).sign().send()) == []


def test_a_domain_may_leave_signatures_unread(tmp_path: Path) -> None:
    """Rule: R-172"""
    world = World.prepare(tmp_path / "w", '[domain]\nsignatures = "off"\n').serve_here()
    assert errors(Signing(world).sign().replace_signature(b"<anything/>").send()) == []


def test_only_a_signature_has_documents_hashed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unsigned deposit never meets SHA-256; a signed one is hashed on its way in, and nothing but the signature
    document is read back whole; of the others the first piece, where CDA authors are compared."""
    begun, again, begun_again = [], [], []
    monkeypatch.setattr(digests, "HashedUpload", lambda upload: begun.append(upload) or HashedUpload(upload))
    reread = FileDocumentStore.reread

    def read(store: FileDocumentStore, staged: Staged, *piece: int) -> Iterator[bytes]:
        (begun_again if piece else again).append(staged.key)
        return reread(store, staged, *piece)

    monkeypatch.setattr(FileDocumentStore, "reread", read)
    assert errors(Signing(world).send()) == []
    assert (begun, again) == ([], []) and len(set(begun_again)) == len(begun_again) == 2
    assert errors(Signing(world).sign().send()) == []
    assert (len(begun), len(again)) == (3, 1) and len(set(begun_again)) == len(begun_again) == 4


def test_no_signature_of_a_set_is_looked_at_for_a_stranger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it, and asking about its certificate, is work for who has proved who he is. Step: f"""
    looked: list[str] = []
    real = signed_set.read
    monkeypatch.setattr(signed_set, "read", lambda data: looked.append("at it") or real(data))  # type: ignore[func-returns-value]
    deposit = Signing(world).sign()
    security = world.client().security(deposit.submission.submission_set.patient_id)
    with pytest.raises(FaultReceived) as caught:
        deposit.send(security=security.replace(b"SignatureValue>", b"SignatureValue>AAAA", 1))
    assert (caught.value.subcode, looked) == (FAILED_CHECK, [])
    assert deposit.send().is_success and looked
