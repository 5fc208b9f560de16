"""ITI-57 in the French domain: masks, announcements, archive, deletion, and who may not even know.

Clause: DMP TD3.3a to d, R526; ITI TF-2 3.57.4.1.3
"""

from __future__ import annotations

from typing import Any

import pytest

from carnet import wiring
from conformance import frames, updates
from registry import iti62_remove_metadata
from tests.direct import FIND_SUBMISSION_SETS
from tests.updating import codes, titled
from tests.world import COLLEAGUE, GET_DOCUMENTS, OPERATOR, PHYSICIAN, World
from tests.world import codes as codes_of
from xds.check.query_params import quote, quote_list
from xds.model import Code, DocumentEntry, Submission, SubmissionSet
from xds.namespaces import APND, APPROVED, ARCHIVED, DELETED, DEPRECATED

NORMAL = Code("N", "2.16.840.1.113883.5.25", "Normal")
FLAGS = "1.2.250.1.213.1.1.4.13"
MASK, HIDDEN = Code("MASQUE_PS", FLAGS, "Masqué"), Code("INVISIBLE_PATIENT", FLAGS, "Non visible par le patient")
REFUSED, UNKNOWN = "XDSRegistryError", "XDSMetadataVersionError"


class Bedside:
    """One patient's record with documents by a known author, in the French domain."""

    def __init__(self, world: World):
        self.world, self.patient_id = world, world.patient()

    def deposit(self, author: str = PHYSICIAN, **changes: Any) -> DocumentEntry:
        """As it is stored."""
        person = f"{author}^AUTEUR^Fictif^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
        made = frames.valid_submission(
            "dmp", patient_id=self.patient_id, **({"authors": [frames.an_author(person=[person])]} | changes)
        )
        assert self.world.deposit(made).is_success
        who = "physician" if author == PHYSICIAN else "colleague"
        return self.seen(who, made.entries[0].unique_id)[-1]

    def seen(self, who: str, unique_id: str) -> list[DocumentEntry]:
        """Every version that this caller finds, oldest first."""
        found = self.world.client(who).query(
            GET_DOCUMENTS,
            [("$XDSDocumentEntryUniqueId", [quote_list([unique_id])]), ("$MetadataLevel", ["2"])],
            patient_id=self.patient_id,
        )
        assert found.outcome.is_success, found.outcome
        return sorted((o for o in found.objects if isinstance(o, DocumentEntry)), key=lambda e: e.version)

    def coded(self, stored: DocumentEntry, *flags: Code, **changes: Any) -> Submission:
        """An update of the confidentiality codes."""
        return updates.update_of("dmp", stored, confidentiality_codes=[NORMAL, *flags], **changes)

    def status(self, stored: DocumentEntry, original: str, new: str) -> Submission:
        made = updates.empty_update("dmp", self.patient_id)
        updates.new_status(made, stored.entry_uuid, original, new)
        return made

    def send(self, made: Submission, who: str = "physician") -> set[str]:
        """Error codes, none for success."""
        return codes_of(self.world.client(who).update(made))

    def latest_act(self) -> tuple[str, str, str]:
        line = [one for one in self.world.log_of(self.patient_id) if one.event == "ITI-57"][-1]
        return line.action, line.outcome, line.clause


@pytest.fixture
def bed(here: World) -> Bedside:
    return Bedside(here)


def test_a_mask_bites_at_once_in_query_and_retrieve(bed: Bedside) -> None:
    """Any professional with the right masks; the author still sees, the colleague finds no version any more.

    Rule: L-08, R-123
    """
    stored = bed.deposit()
    assert bed.seen("colleague", stored.unique_id) and bed.world.read(
        bed.patient_id, [stored.unique_id], "colleague")[0].is_success
    assert bed.send(bed.coded(stored, MASK), "colleague") == set()
    assert bed.latest_act() == ("mask", "success", "")
    assert [e.version for e in bed.seen("colleague", stored.unique_id) if e.status == APPROVED] == []
    assert bed.world.find(bed.patient_id, "colleague").objects == []
    assert [e.version for e in bed.seen("physician", stored.unique_id)] == [1, 2]
    assert bed.world.read(bed.patient_id, [stored.unique_id])[0].is_success


def test_an_older_version_does_not_open_what_the_newest_masks(bed: Bedside) -> None:
    """The bytes are the same: the newest version decides, and the older ones are hidden with it.

    Rule: L-08, R-123
    """
    stored = bed.deposit()
    assert bed.send(bed.coded(stored, MASK)) == set()
    outcome, found = bed.world.read(bed.patient_id, [stored.unique_id], "colleague")
    assert found == [] and codes_of(outcome) == {"XDSDocumentUniqueIdError"}
    assert bed.seen("colleague", stored.unique_id) == []


def test_when_the_newest_version_is_removed_the_one_before_decides(bed: Bedside) -> None:
    """It was not masked. Rule: L-08"""
    stored = bed.deposit()
    assert bed.send(bed.coded(stored, MASK)) == set()
    masked = bed.seen("physician", stored.unique_id)[-1]
    assert bed.world.registry is not None
    with bed.world._registry_database() as database, database.read() as unit:
        links = [a for _, a in unit.registry.references_to([masked.entry_uuid])]
    gone = [masked.entry_uuid, *(a.entry_uuid for a in links), *(a.source for a in links)]
    actor = wiring.registry_actor(bed.world.settings)
    iti62_remove_metadata.remove(actor, OPERATOR, list(dict.fromkeys(gone)), trace_id="0" * 32)
    assert [e.version for e in bed.seen("colleague", stored.unique_id)] == [1]


def test_only_the_author_unmasks(bed: Bedside) -> None:
    """To others the document is not there. Rule: L-08"""
    stored = bed.deposit(confidentiality_codes=[NORMAL, MASK])
    assert bed.send(bed.coded(stored), "colleague") == {UNKNOWN}
    assert bed.latest_act()[1] == "refused"
    assert bed.send(bed.coded(stored)) == set() and bed.latest_act()[0] == "unmask"
    assert [e.version for e in bed.seen("colleague", stored.unique_id) if e.status == APPROVED] == [2]
    assert bed.world.read(bed.patient_id, [stored.unique_id], "colleague")[0].is_success


def test_what_is_unmasked_is_whole_again(bed: Bedside) -> None:
    """Deposited masked, it was hidden with the set that brought it; unmasked, the set and the first version are found
    by everybody, too: the newest version speaks for all. Rule: L-08"""
    stored = bed.deposit(confidentiality_codes=[NORMAL, MASK])

    def sets(who: str) -> set[str]:
        found = bed.world.client(who).query(
            FIND_SUBMISSION_SETS, [("$XDSSubmissionSetPatientId", [quote(bed.patient_id)]),
                                   ("$XDSSubmissionSetStatus", [quote_list([APPROVED])])], patient_id=bed.patient_id,
        )
        return {one.unique_id for one in found.objects if isinstance(one, SubmissionSet)}

    (brought,) = sets("physician")
    assert sets("colleague") == set() and bed.seen("colleague", stored.unique_id) == []
    assert bed.send(bed.coded(stored)) == set()
    assert brought in sets("colleague")
    assert [e.version for e in bed.seen("colleague", stored.unique_id)] == [1, 2]


def test_a_hidden_document_is_answered_as_one_that_is_not_there(bed: Bedside) -> None:
    """Update, status and association: word for word, ids apart. Rule: L-08"""
    stored = bed.deposit(confidentiality_codes=[NORMAL, MASK])
    visible = bed.deposit()
    nowhere = frames.new_uuid()

    def said(made: Submission) -> list[tuple[str, str]]:
        outcome = bed.world.client("colleague").update(made)
        return [
            (e.code, e.context.rpartition(" trace ")[0].replace(stored.entry_uuid, "ID").replace(nowhere, "ID"))
            for e in outcome.errors
        ]

    def twin(build: Any) -> None:
        there, absent = said(build(stored.entry_uuid)), said(build(nowhere))
        assert there == absent and there

    twin(lambda uuid: bed.coded(stored, logical_id=uuid))

    def status(uuid: str) -> Submission:
        made = updates.empty_update("dmp", bed.patient_id)
        updates.new_status(made, uuid, APPROVED, ARCHIVED)
        return made

    def link(uuid: str) -> Submission:
        made = updates.empty_update("dmp", bed.patient_id)
        updates.new_association(made, APND, visible.entry_uuid, uuid)
        return made

    twin(status)
    assert (said(link(stored.entry_uuid))[0], len(said(link(nowhere)))) == (said(link(nowhere))[0], 2)


def test_an_announcement_makes_visible_and_nothing_hides_again(bed: Bedside) -> None:
    """Hiding what the patient has seen is no listed right. Rule: L-08"""
    stored = bed.deposit(confidentiality_codes=[NORMAL, HIDDEN])
    assert bed.send(bed.coded(stored), "colleague") == set() and bed.latest_act()[0] == "reveal"
    shown = bed.seen("physician", stored.unique_id)[-1]
    assert bed.send(bed.coded(shown, HIDDEN)) == {REFUSED}
    assert bed.latest_act() == ("update", "refused", "functional-right")


def test_nothing_but_the_flags_changes(bed: Bedside) -> None:
    """Other metadata is for a replacement by the author; a mask does not smuggle them in. Rule: L-08"""
    stored = bed.deposit()
    assert bed.send(updates.update_of("dmp", stored, title=titled("autre"))) == {REFUSED}
    assert bed.send(bed.coded(stored, MASK, title=titled("autre"))) == {REFUSED}
    assert bed.send(updates.update_of("dmp", stored)) == {REFUSED}, "a version that says the same"
    assert [e.version for e in bed.seen("physician", stored.unique_id)] == [1]


def test_a_restricted_update_refused_by_policy_has_its_own_code(bed: Bedside) -> None:
    """And a Deprecated document is masked by it. Rule: R-153, L-05"""
    stored = bed.deposit()
    client = bed.world.client()
    outcome = client.update(updates.update_of("dmp", stored, title=titled("autre")), restricted=True)
    assert codes_of(outcome) == {"LocalPolicyRestrictionError"}
    again = frames.valid_replacement(stored.entry_uuid, "dmp", patient_id=bed.patient_id)
    assert bed.world.deposit(again).is_success
    assert client.update(bed.coded(stored, MASK, status=""), restricted=True).is_success
    assert bed.seen("colleague", stored.unique_id) == []
    assert [e.status for e in bed.seen("physician", stored.unique_id)] == [DEPRECATED, DEPRECATED]


def test_flags_that_contradict_each_other_are_refused(bed: Bedside) -> None:
    """As in a deposit. Rule: R-024"""
    assert bed.send(bed.coded(bed.deposit(), MASK, HIDDEN)) >= {"XDSRegistryMetadataError"}


def test_the_author_archives_and_brings_back(bed: Bedside) -> None:
    """The status is found by who asks for it. Rule: R-146"""
    stored = bed.deposit()
    assert bed.send(bed.status(stored, APPROVED, ARCHIVED), "colleague") == {REFUSED}
    assert bed.latest_act() == ("archive", "refused", "owner")
    assert bed.send(bed.status(stored, APPROVED, ARCHIVED)) == set()
    assert bed.latest_act()[0] == "archive" and bed.world.find(bed.patient_id).objects == []
    archived = bed.world.find(bed.patient_id, statuses=(ARCHIVED,)).objects
    assert [o.status for o in archived] == [ARCHIVED]  # type: ignore[union-attr]
    assert bed.world.read(bed.patient_id, [stored.unique_id], "colleague")[0].is_success
    assert bed.send(bed.status(stored, ARCHIVED, APPROVED)) == set()
    assert bed.world.find(bed.patient_id).objects


def test_deletion_is_logical_and_final(bed: Bedside) -> None:
    """By the author or his structure; nobody brings it back. Rule: R-146"""
    stored = bed.deposit()
    assert bed.send(bed.status(stored, APPROVED, DELETED), "colleague") == {REFUSED}
    assert bed.send(bed.status(stored, APPROVED, DELETED)) == set() and bed.latest_act()[0] == "delete"
    assert bed.world.find(bed.patient_id).objects == []
    assert bed.send(bed.status(stored, DELETED, APPROVED)) == {REFUSED}


def test_a_deleted_document_is_not_replaced(bed: Bedside) -> None:
    """Nor an archived one: only Approved documents are. Rule: R-108"""
    stored = bed.deposit()
    bed.send(bed.status(stored, APPROVED, DELETED))
    again = frames.valid_replacement(stored.entry_uuid, "dmp", patient_id=bed.patient_id)
    assert codes_of(bed.world.deposit(again)) == {"XDSRegistryDeprecatedDocumentError"}


def test_deprecation_by_hand_is_nobodys(bed: Bedside) -> None:
    """A document is Deprecated by its replacement. Rule: R-146"""
    assert bed.send(bed.status(bed.deposit(), APPROVED, DEPRECATED)) == {REFUSED}


def test_staff_change_nothing(bed: Bedside) -> None:
    """They may find a document's technical id, and no more. Rule: L-08"""
    stored = bed.deposit()
    assert bed.send(bed.coded(stored, MASK), "staff") == {REFUSED}
    assert bed.send(bed.status(stored, APPROVED, ARCHIVED), "staff") == {REFUSED}


def test_a_structure_deletes_what_it_has_deposited(bed: Bedside) -> None:
    """By its number in the author's institution. Rule: R-146"""
    institution = "LABORATOIRE FICTIF^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^10B0000001"
    ours = bed.deposit(authors=[frames.an_author(institutions=[institution])])
    others = bed.deposit()
    assert bed.send(bed.status(others, APPROVED, DELETED), "laboratory") == {REFUSED}
    assert bed.send(bed.status(ours, APPROVED, DELETED), "laboratory") == set()


def test_a_document_of_another_patient_is_not_moved(bed: Bedside) -> None:
    """Not even one's own. Rule: L-03"""
    other = Bedside(bed.world)
    stored = bed.deposit()
    made = updates.update_of("dmp", stored, patient_id=other.patient_id)
    assert codes(list(bed.world.client().update(made).errors)) <= {REFUSED, UNKNOWN}
    assert [e.version for e in bed.seen("physician", stored.unique_id)] == [1]


def test_nobody_removes_by_an_assertion(bed: Bedside) -> None:
    """Not the author, not a structure. Rule: R-161, R-160"""
    stored = bed.deposit(COLLEAGUE)
    for who in ("physician", "colleague", "laboratory", "staff"):
        client = bed.world.client(who)
        outcome = client.remove_metadata([stored.entry_uuid], security=client.security(bed.patient_id))
        assert codes_of(outcome) == {REFUSED}
        outcome = client.remove_documents(
            [(bed.world.settings.repository.unique_id, stored.unique_id)], security=client.security(bed.patient_id)
        )
        assert codes_of(outcome) == {"XDSRemoveDocumentsError"}
    assert bed.world.read(bed.patient_id, [stored.unique_id], "colleague")[0].is_success
    line = [one for one in bed.world.log_of(bed.patient_id) if one.event == "ITI-62"][-1]
    assert (line.action, line.outcome, line.clause) == ("remove", "refused", "functional-right")
