"""ITI-42: identifiers, duplicates and patients against what is stored; what the registry sets itself.

Clause: ITI TF-2 3.42.4.1.3; ITI TF-3 4.2.3.2
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from conformance import frames
from tests.direct import Desk, content, the
from tests.world import World
from xds.model import Folder, SubmissionSet
from xds.namespaces import APPROVED, DEPRECATED, HAS_MEMBER, RPLC

UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DUPLICATE = "XDSDuplicateUniqueIdInRegistry"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


@pytest.mark.parametrize("pair", ["two entries", "entry and folder", "entry and set", "folder and set"])
def test_a_unique_id_occurs_once_in_a_message(desk: Desk, pair: str) -> None:
    """Rule: R-080"""
    made = desk.submission(2, folder=True)
    entry, folder, own = made.entries[1], made.folders[0], made.submission_set
    first, second = {
        "two entries": (made.entries[0], entry),
        "entry and folder": (entry, folder),
        "entry and set": (own, entry),
        "folder and set": (own, folder),
    }[pair]
    second.unique_id = first.unique_id
    error, *more = desk.refused(made)
    assert not more and error.code == "XDSRegistryDuplicateUniqueIdInMessage"
    assert first.unique_id in error.context and "[R-080]" in error.context and error.location.endswith("/uniqueId")


def test_the_same_document_may_be_registered_again(desk: Desk) -> None:
    """Same uniqueId, hash and size: a second entry beside the first.

    Rule: R-081
    """
    old = desk.new().entries[0]
    again = desk.new(unique_id=old.unique_id).entries[0]
    assert {e.entry_uuid for e in desk.entries(old.unique_id)} == {old.entry_uuid, again.entry_uuid}


def test_the_hash_is_compared_without_case(desk: Desk) -> None:
    """Rule: R-081"""
    old = desk.new().entries[0]
    again = desk.new(unique_id=old.unique_id, hash=old.hash.upper()).entries[0]
    assert {e.entry_uuid for e in desk.entries(old.unique_id)} == {old.entry_uuid, again.entry_uuid}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hash": "0" * 40}, [("XDSNonIdenticalHash", "R-082", "hash")]),
        ({"size": 7}, [("XDSNonIdenticalSize", "R-083", "size")]),
        (
            {"hash": "0" * 40, "size": 7},
            [("XDSNonIdenticalHash", "R-082", "hash"), ("XDSNonIdenticalSize", "R-083", "size")],
        ),
    ],
    ids=["R-082 hash", "R-083 size", "both"],
)
def test_the_same_unique_id_with_other_content_is_refused(
    desk: Desk, change: dict[str, object], expected: list[tuple[str, str, str]]
) -> None:
    """Of whatever patient the first one is.

    Rule: R-082, R-083
    """
    old = desk.new().entries[0]
    for other in (desk, Desk(desk.world)):
        made = other.submission(unique_id=old.unique_id, **change)
        errors = other.refused(made)
        subject = f"DocumentEntry {made.entries[0].entry_uuid}"
        assert [(e.code, e.location) for e in errors] == [(code, f"{subject}/{field}") for code, _, field in expected]
        assert all(f"[{rule}]" in e.context for e, (_, rule, _) in zip(errors, expected, strict=True))
        assert not any(old.hash in e.context or f" {old.size}" in e.context for e in errors), "tells what is stored"


@pytest.mark.parametrize("owner", ["entry", "folder", "set"])
@pytest.mark.parametrize("kind", ["SubmissionSet", "Folder"])
def test_a_set_or_folder_unique_id_is_never_used_again(desk: Desk, kind: str, owner: str) -> None:
    """Whatever carries it already, and of whichever patient.

    Rule: R-084, R-085
    """
    old = Desk(desk.world).new(folder=True)
    taken = {"entry": old.entries[0], "folder": old.folders[0], "set": old.submission_set}[owner].unique_id
    made = desk.submission(folder=True)
    mine: SubmissionSet | Folder = made.submission_set if kind == "SubmissionSet" else made.folders[0]
    mine.unique_id = taken
    rule = "R-084" if kind == "SubmissionSet" else "R-085"
    the(desk.refused(made), DUPLICATE, rule, f"{kind} {mine.entry_uuid}", "uniqueId")


@pytest.mark.parametrize("owner", ["folder", "set"])
def test_a_document_does_not_take_the_unique_id_of_a_set_or_folder(desk: Desk, owner: str) -> None:
    """Rule: R-086"""
    old = desk.new(folder=True)
    made = desk.submission(unique_id=old.folders[0].unique_id if owner == "folder" else old.submission_set.unique_id)
    the(desk.refused(made), DUPLICATE, "R-086", f"DocumentEntry {made.entries[0].entry_uuid}", "uniqueId")


@pytest.mark.parametrize("kind", ["DocumentEntry", "SubmissionSet", "Folder", "Association"])
@pytest.mark.parametrize("same_patient", [True, False], ids=["same patient", "another patient"])
def test_an_entry_uuid_is_never_used_again(desk: Desk, kind: str, same_patient: bool) -> None:
    """In any case, by any object of any patient; the id of one kind is not free for another.

    Rule: R-087
    """
    old = (desk if same_patient else Desk(desk.world)).new(folder=True)
    taken = {o.kind: o.entry_uuid for o in old.objects()}[kind]
    made = desk.submission()
    fresh = made.entries[0].entry_uuid
    made.entries[0].entry_uuid = taken.upper()
    for link in made.associations:
        link.target = taken if link.target == fresh else link.target
    error = the(desk.refused(made), "XDSRegistryMetadataError", "R-087", f"DocumentEntry {taken}", "entryUUID")
    assert taken in error.context


def test_a_repeated_registration_is_recognised(desk: Desk) -> None:
    """The very same message a second time: the set's uniqueId tells.

    Rule: R-084, R-087
    """
    made = desk.new()
    codes = {e.code for e in desk.refused(made)}
    assert DUPLICATE in codes


def test_symbolic_ids_become_uuids_everywhere(desk: Desk) -> None:
    """Also the ends of associations; what is related stays related."""
    made = frames.valid_submission(
        desk.domain, documents=2, folder=True, patient_id=desk.patient_id, repository_unique_id=desk.repository
    )
    desk.register(made)
    ids = {}
    for entry in made.entries:
        (found,) = desk.entries(entry.unique_id)
        ids[entry.entry_uuid] = found.entry_uuid
    links = desk.associations(*ids.values())
    assert all(UUID.fullmatch(value) for value in ids.values())
    assert all(UUID.fullmatch(v) for a in links for v in (a.entry_uuid, a.source, a.target))
    (own,) = desk.sets()
    assert {a.target for a in links if a.source == own.entry_uuid} == set(ids.values())
    (folder,) = {a.source for a in links} - {own.entry_uuid}
    assert desk.folder(folder).unique_id == made.folders[0].unique_id
    inside = [a for a in links if a.source == folder]
    assert {a.target for a in inside} == set(ids.values())
    of_set = desk.associations(own.entry_uuid)
    assert {a.target for a in of_set} == {*ids.values(), folder, *(a.entry_uuid for a in inside)}


def test_uuids_of_the_sender_are_kept_in_lower_case(desk: Desk) -> None:
    """Entry, set, folder and associations keep the ids they came with."""
    made = desk.submission(folder=True)
    made.entries[0].entry_uuid = made.entries[0].entry_uuid.upper()
    desk.register(made)
    (found,) = desk.entries(made.entries[0].unique_id)
    assert found.entry_uuid == made.entries[0].entry_uuid.lower().replace("urn:uuid:", "urn:uuid:")
    assert {a.entry_uuid for a in desk.associations(found.entry_uuid)} <= {a.entry_uuid for a in made.associations}


def test_status_logical_id_and_version_are_the_registrys(desk: Desk) -> None:
    """A submitted status is ignored; lid is the id, the version 1, associations are Approved.

    Rule: R-035
    """
    made = desk.submission(folder=True)
    made.entries[0].status = DEPRECATED
    made.folders[0].status = made.submission_set.status = made.associations[0].status = DEPRECATED
    desk.register(made)
    (entry,) = desk.entries(made.entries[0].unique_id)
    folder = desk.folder(made.folders[0].entry_uuid)
    for found in (entry, folder):
        assert (found.status, found.logical_id, found.version) == (APPROVED, found.entry_uuid, 1)
    assert [s.status for s in desk.sets()] == [APPROVED]
    assert {a.status for a in desk.associations(entry.entry_uuid)} == {APPROVED}


def test_a_folder_is_dated_by_the_registry(desk: Desk) -> None:
    """The time sent is overwritten, by UTC of now with 14 digits.

    Rule: R-028, R-104
    """
    made = desk.submission(folder=True)
    made.folders[0].last_update_time = "20010101000000"
    desk.register(made)
    stored = desk.folder(made.folders[0].entry_uuid).last_update_time
    age = datetime.now(UTC) - datetime.strptime(stored, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    assert timedelta(0) <= age < timedelta(minutes=1)


# -- patients ----------------------------------------------------------------------------------------------


def test_an_unknown_patient_is_refused(desk: Desk) -> None:
    """The answer names the identifier.

    Rule: R-090
    """
    stranger = Desk(desk.world, desk.world.patient(is_open=False))
    made = stranger.submission()
    subject = "SubmissionSet"
    error = the(stranger.refused(made), "XDSUnknownPatientId", "R-090", subject, "patientId")
    assert stranger.patient_id in error.context


def test_a_record_that_is_not_active_is_refused_in_every_domain(desk: Desk) -> None:
    """Also where no policy says so: a closed record takes nothing and shows nothing.

    Rule: R-090, R-093
    """
    old = desk.new()
    desk.world.close(desk.patient_id)
    made = desk.submission()
    the(desk.refused(made), "XDSUnknownPatientId", "R-090", "SubmissionSet", "patientId")
    assert desk.entries(old.entries[0].unique_id) == [] and desk.sets() == []
    assert desk.world.log_of(desk.patient_id)[-1].clause == "record-open"


@pytest.mark.parametrize("kind", ["entry", "folder"])
def test_one_patient_in_one_submission(desk: Desk, kind: str) -> None:
    """Rule: R-091"""
    made = desk.submission(folder=True)
    item = made.entries[0] if kind == "entry" else made.folders[0]
    item.patient_id = Desk(desk.world).patient_id
    the(desk.refused(made), "XDSPatientIdDoesNotMatch", "R-091", f"{item.kind} {item.entry_uuid}", "patientId")


def test_a_foreign_assigning_authority_is_refused(desk: Desk) -> None:
    """Even for an identifier that somebody has made known.

    Rule: R-092
    """
    foreign = Desk(desk.world, "ESSAI-1^^^&1.2.250.1.999.9&ISO")
    made = foreign.submission()
    errors = foreign.refused(made)
    assert {e.code for e in errors} == {"XDSUnknownPatientId"}
    assert any("[R-092]" in e.context for e in errors)


def test_several_faults_are_told_at_once_and_each_once(desk: Desk) -> None:
    """A missing attribute, a duplicate and a deprecated target in one answer.

    Rule: A-8, A-1
    """
    old = desk.new()
    desk.register(desk.related(RPLC, old.entries[0].entry_uuid))
    made = desk.related(RPLC, old.entries[0].entry_uuid)
    made.entries[0].type_code = None
    made.submission_set.unique_id = old.submission_set.unique_id
    errors = desk.refused(made)
    assert sorted(e.code for e in errors) == [
        DUPLICATE, "XDSRegistryDeprecatedDocumentError", "XDSRegistryMetadataError",
    ]


def test_half_a_submission_is_never_stored(desk: Desk) -> None:
    """Of two documents the second is wrong: neither is there, nor the set, nor the folder.

    Rule: A-1
    """
    made = desk.submission(2, folder=True)
    made.entries[1].hash = "not a hash"
    desk.refused(made)
    assert desk.sets() == [] and desk.entries(made.entries[0].unique_id) == []


def test_a_registration_from_outside_is_refused_unless_allowed(here: World) -> None:
    """Where direct registration is off, only our repositories may register."""
    from xds.wire.client import FaultReceived

    desk = Desk(here)
    before = content(here)
    with pytest.raises(FaultReceived) as caught:
        here.register(desk.submission())
    assert caught.value.subcode is not None and caught.value.subcode[1] == "FailedAuthentication"
    assert content(here) == before
    line = here.last_lines(1)[-1]
    assert line.action == "refused login" and line.trace_id == caught.value.trace_id
    assert line.reason.startswith("ITI-42 from a peer")


def test_the_repository_must_be_one_of_ours(desk: Desk) -> None:
    """Rule: R-036"""
    made = desk.submission(repository_unique_id="1.2.3.4")
    subject = f"DocumentEntry {made.entries[0].entry_uuid}"
    the(desk.refused(made), "XDSRegistryMetadataError", "R-036", subject, "repositoryUniqueId")


def test_a_submission_of_a_folder_alone(desk: Desk) -> None:
    """No document is needed.

    Rule: R-055
    """
    made = desk.submission(folder=True)
    made.entries.clear()
    folder = made.folders[0].entry_uuid
    made.associations[:] = [desk.link(HAS_MEMBER, made.submission_set.entry_uuid, folder)]
    desk.register(made)
    assert desk.folder(folder).unique_id == made.folders[0].unique_id
