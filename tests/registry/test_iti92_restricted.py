"""ITI-92: what may be corrected, and what may not.

Clause: ITI TF-2 3.92.4.1.3
"""

from __future__ import annotations

import pytest

from conformance import updates
from tests.direct import the
from tests.updating import Shelf, codes, titled
from tests.world import World
from xds.namespaces import APND, APPROVED, DEPRECATED, ON_DEMAND, RPLC

VERSION = "XDSMetadataVersionError"


@pytest.fixture
def desk(plain: World) -> Shelf:
    return Shelf(plain)


def entry(desk: Shelf) -> str:
    return desk.new().entries[0].entry_uuid


def test_a_document_is_corrected(desk: Shelf) -> None:
    """With its relationships, like an update. Rule: L-01, L-02"""
    first = entry(desk)
    addendum = desk.register(desk.related(APND, first)).entries[0].entry_uuid
    desk.update(desk.update_of(first), restricted=True)
    old, new = desk.versions(first)
    assert (old.status, new.status, new.version, new.title[0].value) == (DEPRECATED, APPROVED, 2, "Corrigé")
    assert addendum in {a.source for a in desk.associations(new.entry_uuid)}
    assert desk.world.log_of(desk.patient_id)[-1].event in ("ITI-92", "ITI-18")


def test_a_deprecated_document_is_corrected_and_stays_so(desk: Shelf) -> None:
    """Rule: L-05"""
    old = entry(desk)
    desk.register(desk.related(RPLC, old))
    desk.update(desk.update_of(old), restricted=True)
    assert [(e.version, e.status) for e in desk.versions(old)] == [(1, DEPRECATED), (2, DEPRECATED)]


@pytest.mark.parametrize(
    ("changes", "code", "rule", "field"),
    [
        ({"document_availability": "urn:ihe:iti:2010:DocumentAvailability:Offline"}, "UnmodifiableMetadataError",
         "R-151", "documentAvailability"),
        ({"object_type": ON_DEMAND}, "UnmodifiableMetadataError", "R-151", "objectType"),
        ({"repository_unique_id": "1.3.6.1.4.1.21367.999"}, "UnmodifiableMetadataError", "R-151", "repositoryUniqueId"),
        ({"source_patient_id": "other^^^&1.2.3&ISO"}, "UnmodifiableMetadataError", "R-151", "sourcePatientId"),
        ({"status": DEPRECATED}, "UnmodifiableMetadataError", "R-151", "availabilityStatus"),
        ({"hash": "0" * 40}, "UnmodifiableMetadataError", "L-04", "hash"),
        ({"unique_id": "1.2.3.4"}, "XDSMetadataIdentifierError", "R-143", "uniqueId"),
        ({"logical_id": ""}, VERSION, "R-140", "lid"),
        ({"logical_id": "urn:uuid:00000000-0000-4000-8000-00000000dead"}, VERSION, "R-141", "lid"),
        ({"type_code": None}, "XDSRegistryMetadataError", "R-020", "typeCode"),
    ],
)
def test_what_names_or_places_a_document_stays(desk: Shelf, changes: dict, code: str, rule: str, field: str) -> None:
    """Rule: R-141, R-151, R-152, R-144, E-25"""
    first = entry(desk)
    errors = desk.not_updated(desk.update_of(first, **changes), restricted=True)
    assert {(code, f"DocumentEntry Version01/{field}")} <= {(e.code, e.location) for e in errors}, errors
    assert any(f"[{rule}])" in e.context for e in errors)


def test_the_patient_stays(desk: Shelf) -> None:
    """Rule: R-152"""
    made = desk.update_of(entry(desk), patient_id=desk.world.patient())
    the(desk.not_updated(made, restricted=True), "XDSPatientIDReconciliationError", "R-152",
        "DocumentEntry Version01", "patientId")


def test_another_previous_version_is_refused(desk: Shelf) -> None:
    """Rule: R-142"""
    made = desk.update_of(entry(desk))
    made.associations[0].slots["PreviousVersion"] = ["2"]
    the(desk.not_updated(made, restricted=True), VERSION, "R-142", "DocumentEntry Version01", "PreviousVersion")


def test_folders_are_for_others(desk: Shelf) -> None:
    """Rule: R-150"""
    folder = desk.folder(desk.new(folder=True).folders[0].entry_uuid)
    made = updates.update_of(desk.domain, folder, last_update_time="")
    assert codes(desk.not_updated(made, restricted=True)) == {"XDSObjectTypeError"}


def test_no_status_and_no_association(desk: Shelf) -> None:
    """Rule: R-150"""
    first, other = entry(desk), entry(desk)
    for made in (desk.update_of(first), desk.update_of(first)):
        if made.associations[-1].target == "Version01":
            updates.new_status(made, other, APPROVED, DEPRECATED)
        assert codes(desk.not_updated(made, restricted=True)) == {"XDSInvalidRequestException"}
    made = desk.empty()
    updates.new_association(made, APND, first, other)
    assert codes(desk.not_updated(made, restricted=True)) == {"XDSInvalidRequestException"}


def test_the_request_is_annotated(desk: Shelf) -> None:
    """A membership, with propagation. Rule: R-140"""
    first = entry(desk)
    made = desk.update_of(first)
    made.associations.clear()
    assert codes(desk.not_updated(made, restricted=True)) == {"XDSMetadataAnnotationError"}
    assert codes(desk.not_updated(desk.update_of(first, propagation="no"), restricted=True)) == {
        "XDSMetadataAnnotationError"
    }


def test_one_document_once(desk: Shelf) -> None:
    """Rule: R-145"""
    stored = desk.entry(entry(desk))
    made = updates.update_of(desk.domain, stored, title=titled("a"))
    updates.new_version(made, stored, title=titled("b"))
    assert "XDSMetadataUpdateOperationError" in codes(desk.not_updated(made, restricted=True))
