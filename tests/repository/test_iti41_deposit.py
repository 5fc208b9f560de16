"""ITI-41, each over the local and the remote link to the registry.

Clause: ITI TF-2 3.41
"""

from __future__ import annotations

import hashlib

import pytest

from conformance import frames
from tests.world import World, codes, contents, unique_ids
from xds.model import Submission
from xds.namespaces import APPROVED, DEPRECATED, RPLC


def submission(world: World, patient_id: str, **changes: object) -> Submission:
    return frames.valid_submission("dmp", patient_id=patient_id, **changes)


def test_a_deposit_is_found_and_read_back_identical(world: World) -> None:
    """What was acknowledged is findable and comes back byte for byte.

    Rule: A-3, A-4, R-046, R-047
    """
    patient_id = world.patient()
    sent = submission(world, patient_id)
    sent.entries[0].hash, sent.entries[0].size = "", None
    sent.entries[0].repository_unique_id = "1.2.3.4"
    outcome = world.deposit(sent)
    assert outcome.is_success and not outcome.errors
    (entry,) = world.find(patient_id).objects
    data = frames.content(1)
    assert entry.hash == hashlib.sha1(data).hexdigest() and entry.size == len(data)
    assert entry.repository_unique_id == world.settings.repository.unique_id
    outcome, items = world.read(patient_id, [sent.entries[0].unique_id])
    assert outcome.is_success and [item.received for item in items] == [data]


def test_several_documents_and_a_folder_in_one_submission(world: World) -> None:
    """All of a submission becomes visible at once.

    Rule: A-2
    """
    patient_id = world.patient()
    sent = submission(world, patient_id, documents=3, folder=True)
    assert world.deposit(sent).is_success
    assert sorted(unique_ids(world.find(patient_id))) == sorted(e.unique_id for e in sent.entries)


def test_a_submission_without_documents_is_relayed(world: World) -> None:
    """A folder alone is a legal submission.

    Rule: R-055
    """
    sent = submission(world, world.patient(), documents=0)
    folder = frames.valid_folder("dmp", patient_id=sent.submission_set.patient_id)
    sent.folders.append(folder)
    sent.associations.append(frames.has_member(sent.submission_set.entry_uuid, folder.entry_uuid))
    assert world.deposit(sent, {}).is_success


def test_bytes_are_never_changed(world: World) -> None:
    """Line ends, byte-order mark, look-alikes of boundaries and zero bytes come back as they went.

    Rule: R-052
    """
    patient_id = world.patient()
    data = b"\xef\xbb\xbf\r\n--boundary\r\n\r\nline\rline\n\x00\xff" + bytes(range(256)) + b"\r\n"
    sent = submission(world, patient_id)
    sent.entries[0].hash, sent.entries[0].size = "", None
    assert world.deposit(sent, {"Document01": data}).is_success
    _, items = world.read(patient_id, [sent.entries[0].unique_id])
    assert items[0].received == data


@pytest.mark.parametrize(
    ("rule", "spoil", "expected"),
    [
        ("R-044", lambda s: setattr(s.entries[0], "hash", "0" * 40), "XDSRepositoryMetadataError"),
        ("R-045", lambda s: setattr(s.entries[0], "size", 1), "XDSRepositoryMetadataError"),
        (
            "R-043",
            lambda s: setattr(s.entries[1], "unique_id", s.entries[0].unique_id),
            "XDSRepositoryDuplicateUniqueIdInMessage",
        ),
        (
            "R-091",
            lambda s: setattr(s.entries[0], "patient_id", frames.a_patient_id("dmp", "100000000000000")),
            "XDSPatientIdDoesNotMatch",
        ),
        (
            "R-024",
            lambda s: setattr(s.entries[0], "type_code", frames.Code("none", "1.2.3", "none")),
            "XDSRegistryMetadataError",
        ),
        ("R-020", lambda s: setattr(s.entries[0], "class_code", None), "XDSRegistryMetadataError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_spoiled_submission_is_refused_and_leaves_nothing(world: World, rule: str, spoil, expected: str) -> None:
    """One error refuses the whole submission; the registry's errors are relayed.

    Rule: A-1, A-5, A-7
    """
    patient_id = world.patient()
    sent = submission(world, patient_id, documents=2)
    spoil(sent)
    outcome = world.deposit(sent)
    assert not outcome.is_success and expected in codes(outcome)
    error = next(e for e in outcome.errors if e.code == expected)
    assert rule in error.context and "trace " in error.context and error.location
    assert unique_ids(world.find(patient_id)) == []
    outcome, items = world.read(patient_id, [e.unique_id for e in sent.entries])
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}


def test_every_problem_is_reported_at_once(world: World) -> None:
    """Two spoiled attributes, two errors.

    Rule: A-8
    """
    sent = submission(world, world.patient())
    sent.entries[0].class_code = None
    sent.entries[0].language_code = "not a language!"
    outcome = world.deposit(sent)
    assert {"classCode", "languageCode"} <= {
        f for e in outcome.errors for f in ("classCode", "languageCode") if f in e.context
    }


def test_documents_and_entries_must_match(world: World) -> None:
    """An entry without bytes, and bytes without an entry.

    Rule: R-040, R-041
    """
    sent = submission(world, world.patient(), documents=2)
    data = contents(sent)
    assert codes(world.deposit(sent, {"Document01": data["Document01"]})) == {"XDSMissingDocument"}
    assert codes(world.deposit(sent, {**data, "Document09": b"x"})) == {"XDSMissingDocumentMetadata"}


def test_an_unknown_patient_and_a_closed_record_look_alike(world: World) -> None:
    """Neither tells the other apart.

    Rule: R-090
    """
    closed, unknown = world.patient(), world.patient(is_open=False)
    world.close(closed)
    answers = []
    for patient_id in (closed, unknown):
        outcome = world.deposit(submission(world, patient_id))
        assert codes(outcome) == {"XDSUnknownPatientId"}
        answers.append(outcome.errors[0].context.replace(patient_id, "P").rpartition("trace")[0])
    assert answers[0] == answers[1]


def test_same_unique_id_same_bytes_is_accepted_and_other_bytes_refused(world: World) -> None:
    """A document may be registered twice, never with other content.

    Rule: R-048, R-081, R-082, R-083, R-049
    """
    patient_id = world.patient()
    first = submission(world, patient_id)
    unique_id = first.entries[0].unique_id
    assert world.deposit(first).is_success
    again = submission(world, patient_id)
    again.entries[0].unique_id = unique_id
    assert world.deposit(again).is_success
    assert unique_ids(world.find(patient_id)) == [unique_id, unique_id]
    other = submission(world, patient_id)
    other.entries[0].unique_id = unique_id
    other.entries[0].hash, other.entries[0].size = "", None
    assert codes(world.deposit(other, {"Document01": b"other bytes"})) == {"XDSNonIdenticalHash", "XDSNonIdenticalSize"}
    _, items = world.read(patient_id, [unique_id])
    assert items[0].received == frames.content(1)


def test_a_repeated_submission_is_recognised(world: World) -> None:
    """The same SubmissionSet uniqueId means: it was done already.

    Rule: R-084
    """
    sent = submission(world, world.patient())
    assert world.deposit(sent).is_success
    outcome = world.deposit(sent)
    assert codes(outcome) == {"XDSDuplicateUniqueIdInRegistry"}


def test_replacement_deprecates_and_a_second_one_is_refused(world: World) -> None:
    """A replaced document is Deprecated and cannot be replaced again.

    Rule: R-100, R-108
    """
    patient_id = world.patient()
    first = submission(world, patient_id)
    assert world.deposit(first).is_success
    (old,) = world.find(patient_id).objects
    new = frames.valid_replacement(old.entry_uuid, "dmp", patient_id=patient_id)
    assert world.deposit(new).is_success
    states = {o.unique_id: o.status for o in world.find(patient_id, statuses=(APPROVED, DEPRECATED)).objects}
    assert states == {first.entries[0].unique_id: DEPRECATED, new.entries[0].unique_id: APPROVED}
    third = frames.valid_replacement(old.entry_uuid, "dmp", patient_id=patient_id)
    assert codes(world.deposit(third)) == {"XDSRegistryDeprecatedDocumentError"}


def test_the_replacement_of_another_patients_document_is_refused(world: World) -> None:
    """Both ends of a relationship belong to one patient.

    Rule: R-072
    """
    one, other = world.patient(), world.patient()
    assert world.deposit(submission(world, one)).is_success
    (old,) = world.find(one).objects
    stolen = frames.valid_submission("dmp", patient_id=other)
    stolen.associations.append(frames.relationship(RPLC, "Document01", old.entry_uuid))
    assert codes(world.deposit(stolen)) == {"XDSPatientIdDoesNotMatch"}
    assert world.find(one).objects[0].status == APPROVED


def test_a_structure_deposits_and_cannot_read(world: World) -> None:
    """A laboratory feeds under its own certificate; it may find a technical id and nothing else."""
    patient_id = world.patient()
    sent = submission(world, patient_id)
    assert world.deposit(sent, who="laboratory").is_success
    refused = world.find(patient_id, "laboratory")
    assert codes(refused.outcome) == {"XDSRegistryError"} and "access right" in refused.outcome.errors[0].context
    references = world.get(patient_id, [sent.entries[0].unique_id], "laboratory", "ObjectRef")
    assert len(references.references) == 1
    outcome, items = world.read(patient_id, [sent.entries[0].unique_id], "laboratory")
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}


def test_every_deposit_is_in_the_patients_log(world: World) -> None:
    """Accepted and refused, with who and what."""
    patient_id = world.patient()
    good, bad = submission(world, patient_id), submission(world, patient_id)
    bad.entries[0].class_code = None
    world.deposit(good)
    world.deposit(bad)
    lines = [line for line in world.log_of(patient_id) if line.action == "deposit"]
    assert [(line.outcome, line.documents) for line in lines] == [
        ("success", (good.entries[0].unique_id,)),
        ("refused", (bad.entries[0].unique_id,)),
    ]
    assert all(line.caller_id == "899700000018" and line.trace_id for line in lines)


def test_a_request_the_schema_refuses_is_in_the_log_too(here: World) -> None:
    """No refusal of a known caller goes without its line."""
    patient_id = here.patient()
    sent = submission(here, patient_id)
    sent.entries[0].title = [frames.LocalizedString("x" * 1025, "fr-FR")]
    outcome = here.deposit(sent)
    assert codes(outcome) == {"XDSRepositoryMetadataError"} and "R-001" in outcome.errors[0].context
    line = here.last_lines(1)[-1]
    assert (line.outcome, line.event) == ("refused", "ITI-41")
    assert (line.caller_id, line.patient_id) == ("899700000018", patient_id)
