"""ITI-57, ITI-92 and ITI-62, judged by the supplements as the reference tells them; and ITI-61 where it is served."""

from __future__ import annotations

from typing import Any

import pytest

from tests.blackbox import meta, wire
from tests.blackbox.event import Event, good, refused
from tests.blackbox.meta import (
    APND,
    APPROVED,
    DEPRECATED,
    HAS_MEMBER,
    RPLC,
    SUBMIT_ASSOCIATION,
    UPDATE_STATUS,
    Entry,
    Folder,
    Set,
    link,
    slot,
)

VERSION, UPDATE, OPERATION = "XDSMetadataVersionError", "XDSMetadataUpdateError", "XDSMetadataUpdateOperationError"


@pytest.fixture
def patient(event: Event) -> str:
    return event.patient()


def update(
    event: Event, new: Entry | Folder, previous: str | None = "1", *more: str, action: str = wire.UPDATE
) -> wire.Reply:
    """A new version of one object."""
    slots = ([slot("PreviousVersion", previous)] if previous is not None else []) + list(more)
    submission = Set(new.patient, [new] if isinstance(new, Entry) else [], [new] if isinstance(new, Folder) else [])
    submission.previous = {new.id: tuple(slots)}
    return event.registry.call(action, submission.xml())


def change(
    event: Event, patient: str, target: str, old: str | None, new: str | None, source: str = "SubmissionSet01"
) -> wire.Reply:
    """UpdateAvailabilityStatus."""
    slots = [slot(name, value) for name, value in (("OriginalStatus", old), ("NewStatus", new)) if value is not None]
    return event.registry.call(wire.UPDATE, Set(patient, links=[link(UPDATE_STATUS, source, target, *slots)]).xml())


def versions(event: Event, lid: str) -> dict[str, str]:
    """version -> status of a logical document"""
    reply = good(event.ask("GetDocuments", XDSDocumentEntryLogicalID=f"('{lid}')", MetadataLevel="2"))
    return {
        e.find("rim:VersionInfo", wire.NS).get("versionName"): e.get("status").rpartition(":")[2]
        for e in reply.objects("ExtrinsicObject")
    }


@pytest.mark.parametrize("action", [wire.UPDATE, wire.RMU])
def test_a_new_version(event: Event, patient: str, action: str) -> None:
    """Metadata Update, Restricted Update: version 2 Approved, version 1 Deprecated, level 1 shows the newest.

    Rule: R-140
    """
    entry = event.stored(patient)
    good(update(event, entry.as_version(entry.id, title="Corrected"), action=action))
    assert versions(event, entry.id) == {"1": "Deprecated", "2": "Approved"}
    (found,) = event.find(patient).objects("ExtrinsicObject")
    assert found.find("rim:Name/rim:LocalizedString", wire.NS).get("value") == "Corrected"
    assert found.get("lid") == entry.id and found.get("id") != entry.id
    assert event.find(patient, status=f"('{DEPRECATED}')").ids == []
    good(update(event, entry.as_version(entry.id, title="Again"), "2", action=action))
    assert versions(event, entry.id) == {"1": "Deprecated", "2": "Deprecated", "3": "Approved"}


@pytest.mark.parametrize("action", [wire.UPDATE, wire.RMU])
def test_versions_that_do_not_fit(event: Event, patient: str, action: str) -> None:
    """Metadata Update: unknown lid, wrong PreviousVersion: XDSMetadataVersionError. Rule: R-141, R-142"""
    entry = event.stored(patient)
    refused(update(event, entry.as_version(entry.id), "2", action=action), VERSION)
    refused(update(event, entry.as_version(meta.new_uuid()), action=action), VERSION)
    good(update(event, entry.as_version(entry.id), action=action))
    refused(update(event, entry.as_version(entry.id), "1", action=action), VERSION)
    refused(update(event, entry.as_version(entry.id), None, action=action))
    assert versions(event, entry.id) == {"1": "Deprecated", "2": "Approved"}


@pytest.mark.parametrize("action", [wire.UPDATE, wire.RMU])
def test_an_incomplete_version_is_refused(event: Event, patient: str, action: str) -> None:
    """Metadata Update: the complete attribute set: XDSRegistryMetadataError. Rule: R-144"""
    entry = event.stored(patient)
    refused(
        update(event, entry.as_version(entry.id, drop=frozenset({"classCode"})), action=action),
        "XDSRegistryMetadataError",
    )


@pytest.mark.parametrize("value", ["maybe", "YES"])
def test_propagation_is_yes_or_no(event: Event, patient: str, value: str) -> None:
    """Metadata Update: any other AssociationPropagation is a Failure."""
    entry = event.stored(patient)
    refused(update(event, entry.as_version(entry.id), "1", slot("AssociationPropagation", value)))


@pytest.mark.parametrize(("propagation", "held"), [(None, True), ("yes", True), ("no", False)])
def test_propagation_of_folder_membership(event: Event, patient: str, propagation: str | None, held: bool) -> None:
    """Metadata Update: folders hold the new version unless propagation is no."""
    entry, folder = Entry(patient, id=meta.new_uuid()), Folder(patient, id=meta.new_uuid())
    good(event.register(Set(patient, [entry], [folder]).into(folder.id, entry.id)))
    new = entry.as_version(entry.id)
    new.id = meta.new_uuid()
    good(update(event, new, "1", *([slot("AssociationPropagation", propagation)] if propagation else [])))
    found = event.ask("GetFoldersForDocument", XDSDocumentEntryEntryUUID=f"'{new.id}'").ids
    assert found == ([folder.id] if held else [])


def test_an_initial_version_is_no_update(event: Event, patient: str) -> None:
    """Metadata Update: lid missing or equal to id: XDSMetadataUpdateError. Rule: R-140"""
    refused(update(event, Entry(patient)), UPDATE)
    folder = Folder(patient, id=meta.new_uuid())
    good(event.register(Set(patient, folders=[folder])))
    refused(update(event, folder.but(id="f2")), UPDATE)


def test_a_folder_gets_a_new_version(event: Event, patient: str) -> None:
    """Metadata Update: folders too, with the same codes for what is wrong."""
    folder = Folder(patient, id=meta.new_uuid())
    good(event.register(Set(patient, folders=[folder])))
    refused(update(event, folder.but(id="f2", lid=folder.id), "7"), VERSION)
    refused(update(event, folder.but(id="f2", lid=folder.id, drop=frozenset({"codeList"}))))
    good(update(event, folder.but(id="f2", lid=folder.id, title="Renamed")))
    reply = event.ask("FindFolders", XDSFolderPatientId=f"'{patient}'", XDSFolderStatus=f"('{APPROVED}')")
    (found,) = reply.objects("RegistryPackage")
    assert found.find("rim:Name/rim:LocalizedString", wire.NS).get("value") == "Renamed"


def test_one_object_is_updated_once_in_a_request(event: Event, patient: str) -> None:
    """Metadata Update: two updates of one lid are a Failure. Rule: R-145"""
    entry = event.stored(patient)
    one, two = entry.as_version(entry.id), entry.as_version(entry.id)
    submission = Set(patient, [one, two])
    submission.previous = {e.id: (slot("PreviousVersion", "1"),) for e in (one, two)}
    refused(event.registry.call(wire.UPDATE, submission.xml()))
    assert versions(event, entry.id) == {"1": "Approved"}


def test_identifiers_do_not_change(event: Event, patient: str) -> None:
    """Metadata Update: uniqueId and objectType are kept. Rule: R-143, R-152"""
    entry = event.stored(patient)
    refused(update(event, entry.as_version(entry.id, unique=meta.oid())), "XDSMetadataIdentifierError", UPDATE)
    refused(update(event, entry.as_version(entry.id, kind=meta.ONDEMAND)))
    refused(update(event, entry.as_version(entry.id, unique=meta.oid()), action=wire.RMU), "XDSMetadataIdentifierError")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"slots": {"repositoryUniqueId": "1.2.3.4"}}, "UnmodifiableMetadataError"),
        ({"slots": {"sourcePatientId": "ELSE^^^&1.2.3&ISO"}}, "UnmodifiableMetadataError"),
        (
            {"slots": {"documentAvailability": "urn:ihe:iti:2010:DocumentAvailability:Offline"}},
            "UnmodifiableMetadataError",
        ),
        ({"kind": meta.ONDEMAND}, "UnmodifiableMetadataError"),
        ({"status": DEPRECATED}, "UnmodifiableMetadataError"),
        ({"patient": "OTHER"}, "XDSPatientIDReconciliationError"),
    ],
)
def test_what_a_restricted_update_may_not_touch(event: Event, patient: str, changes: dict[str, Any], code: str) -> None:
    """Restricted Update supplement: UnmodifiableMetadataError, XDSPatientIDReconciliationError. Rule: R-151, R-152"""
    entry = event.stored(patient)
    if changes.get("patient"):
        changes = {"patient": event.patient()}
    refused(update(event, entry.as_version(entry.id, **changes), action=wire.RMU), code)
    assert versions(event, entry.id) == {"1": "Approved"}


def test_a_restricted_update_knows_documents_only(event: Event, patient: str) -> None:
    """Restricted Update supplement: no folders, no other operations, propagation on. Rule: R-150"""
    folder, entry = Folder(patient, id=meta.new_uuid()), event.stored(patient)
    good(event.register(Set(patient, folders=[folder])))
    refused(update(event, folder.but(id="f2", lid=folder.id), action=wire.RMU), "XDSObjectTypeError")
    status = link(
        UPDATE_STATUS, "SubmissionSet01", entry.id, slot("OriginalStatus", APPROVED), slot("NewStatus", DEPRECATED)
    )
    refused(event.registry.call(wire.RMU, Set(patient, links=[status]).xml()))
    refused(
        update(event, entry.as_version(entry.id), "1", slot("AssociationPropagation", "no"), action=wire.RMU),
        "XDSMetadataAnnotationError",
    )
    assert event.status_of(entry.id) == "Approved"


# -- status ----------------------------------------


def test_status_there_and_back(event: Event, patient: str) -> None:
    """Metadata Update: UpdateAvailabilityStatus changes the status and makes no version."""
    entry = event.stored(patient)
    good(change(event, patient, entry.id, APPROVED, DEPRECATED))
    assert versions(event, entry.id) == {"1": "Deprecated"} and event.find(patient).ids == []
    good(change(event, patient, entry.id, DEPRECATED, APPROVED))
    assert event.find(patient).ids == [entry.id]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, DEPRECATED),
        (APPROVED, None),
        (APPROVED, APPROVED),
        (DEPRECATED, APPROVED),
        (APPROVED, "urn:x:Gone"),
        ("urn:x:Gone", DEPRECATED),
    ],
)
def test_a_status_change_that_does_not_fit(event: Event, patient: str, old: str | None, new: str | None) -> None:
    """Metadata Update: XDSMetadataUpdateOperationError. Rule: R-146"""
    entry = event.stored(patient)
    refused(change(event, patient, entry.id, old, new), OPERATION)
    assert event.status_of(entry.id) == "Approved"


def test_sets_and_old_versions_keep_their_status(event: Event, patient: str) -> None:
    """Metadata Update: the target is the latest version and no SubmissionSet. Rule: R-146"""
    entry = Entry(patient, id=meta.new_uuid())
    submission = Set(patient, [entry], id=meta.new_uuid())
    good(event.register(submission))
    refused(change(event, patient, submission.id, APPROVED, DEPRECATED))
    good(update(event, entry.as_version(entry.id)))
    refused(change(event, patient, entry.id, DEPRECATED, APPROVED))


def test_a_folder_membership_is_taken_back(event: Event, patient: str) -> None:
    """Metadata Update: an association can be Deprecated; level 1 hides it."""
    entry, folder = Entry(patient, id=meta.new_uuid()), Folder(patient, id=meta.new_uuid())
    name = meta.new_uuid()
    good(
        event.register(
            Set(
                patient,
                [entry],
                [folder],
                links=[link(HAS_MEMBER, folder.id, entry.id, id=name), link(HAS_MEMBER, "SubmissionSet01", name)],
            )
        )
    )
    good(change(event, patient, name, APPROVED, DEPRECATED))
    assert good(event.ask("GetFoldersForDocument", XDSDocumentEntryEntryUUID=f"'{entry.id}'")).ids == []


# -- associations ----------------------------------------


def tie(event: Event, patient: str, kind: str, source: str, target: str) -> wire.Reply:
    name = "tie"
    links = [link(kind, source, target, id=name), link(SUBMIT_ASSOCIATION, "SubmissionSet01", name)]
    return event.registry.call(wire.UPDATE, Set(patient, links=links).xml())


def test_an_association_by_hand(event: Event, patient: str) -> None:
    """Metadata Update: SubmitAssociation between stored objects, once, of one patient. Rule: R-147"""
    one, two, folder = event.stored(patient), event.stored(patient), Folder(patient, id=meta.new_uuid())
    good(event.register(Set(patient, folders=[folder])))
    good(tie(event, patient, HAS_MEMBER, folder.id, one.id))
    assert event.ask("GetFoldersForDocument", XDSDocumentEntryEntryUUID=f"'{one.id}'").ids == [folder.id]
    good(tie(event, patient, APND, two.id, one.id))
    refused(tie(event, patient, APND, two.id, one.id))
    stranger = event.stored(event.patient())
    refused(tie(event, patient, HAS_MEMBER, folder.id, stranger.id), "XDSPatientIDReconciliationError")
    refused(tie(event, patient, APND, two.id, stranger.id), "XDSPatientIDReconciliationError")
    refused(tie(event, patient, APND, two.id, meta.new_uuid()))


def test_an_unknown_operation_is_refused(event: Event, patient: str) -> None:
    """Metadata Update: wrong association type: XDSRegistryMetadataError. Rule: R-148"""
    entry = event.stored(patient)
    odd = link("urn:ihe:iti:2010:AssociationType:Nonsense", "SubmissionSet01", entry.id)
    refused(event.registry.call(wire.UPDATE, Set(patient, links=[odd]).xml()), "XDSRegistryMetadataError")


def test_a_document_moves_to_another_patient(event: Event, patient: str) -> None:
    """Metadata Update: an unconnected document may change its patient; its versions are then of two. Rule: R-093"""
    entry, other = event.stored(patient), event.patient()
    good(update(event, entry.as_version(entry.id, patient=other)))
    assert len(event.find(other).ids) == 1 and event.find(patient).ids == []
    reply = event.ask("GetDocuments", XDSDocumentEntryLogicalID=f"('{entry.id}')", MetadataLevel="2")
    refused(reply, "XDSResultNotSinglePatient")


def test_a_failing_update_changes_nothing(event: Event, patient: str) -> None:
    """Metadata Update: all or nothing. Rule: R-161"""
    one, two = event.stored(patient), event.stored(patient)
    first, second = one.as_version(one.id), two.as_version(two.id)
    submission = Set(patient, [first, second])
    submission.previous = {first.id: (slot("PreviousVersion", "1"),), second.id: (slot("PreviousVersion", "5"),)}
    refused(event.registry.call(wire.UPDATE, submission.xml()), VERSION)
    assert versions(event, one.id) == {"1": "Approved"}


# -- ITI-62 ----------------------------------------


def whole(event: Event, patient: str) -> tuple[Entry, Set, list[str]]:
    """A document, its set, and the associations between them."""
    entry = Entry(patient, id=meta.new_uuid())
    submission = Set(patient, [entry], id=meta.new_uuid())
    good(event.register(submission))
    reply = event.ask("GetAssociations", uuid=f"('{submission.id}')")
    return entry, submission, [str(a.get("id")) for a in reply.objects("Association")]


def test_a_whole_submission_is_removed_in_any_order(event: Event, patient: str) -> None:
    """Remove Metadata: the set, its document and their association. Rule: R-155"""
    entry, submission, ties = whole(event, patient)
    good(event.registry.call(wire.REMOVE, meta.remove(*ties, submission.id, entry.id)))
    assert good(event.ask("GetDocuments", XDSDocumentEntryEntryUUID=f"('{entry.id}')")).ids == []
    entry, submission, ties = whole(event, patient)
    good(event.registry.call(wire.REMOVE, meta.remove(entry.id, submission.id, *ties)))


def test_what_cannot_be_removed(event: Event, patient: str) -> None:
    """Remove Metadata: UnresolvedReferenceException, ReferencesExistException, XDSUnreferencedObjectException.

    Rule: R-154, R-155, R-156
    """
    entry, submission, ties = whole(event, patient)
    refused(event.registry.call(wire.REMOVE, meta.remove(meta.new_uuid())), "UnresolvedReferenceException")
    refused(
        event.registry.call(wire.REMOVE, meta.remove(entry.id, submission.id, *ties, meta.new_uuid())),
        "UnresolvedReferenceException",
    )
    refused(event.registry.call(wire.REMOVE, meta.remove(submission.id)), "ReferencesExistException")
    refused(event.registry.call(wire.REMOVE, meta.remove(entry.id)), "ReferencesExistException")
    refused(event.registry.call(wire.REMOVE, meta.remove(submission.id, *ties)), "XDSUnreferencedObjectException")
    refused(event.registry.call(wire.REMOVE, meta.remove(entry.id, *ties)), "XDSUnreferencedObjectException")
    assert event.find(patient).ids == [entry.id]


def test_a_replaced_document_is_referenced(event: Event, patient: str) -> None:
    """Remove Metadata: an association that stays keeps its ends. Rule: R-155"""
    old, submission, ties = whole(event, patient)
    new = Entry(patient, id=meta.new_uuid())
    good(event.register(Set(patient, [new], links=[link(RPLC, new.id, old.id)])))
    refused(event.registry.call(wire.REMOVE, meta.remove(old.id, submission.id, *ties)), "ReferencesExistException")


def test_a_relationship_alone_is_removed(event: Event, patient: str) -> None:
    """Remove Metadata: an addendum's association may go by itself."""
    old, new, name = event.stored(patient), Entry(patient), meta.new_uuid()
    good(event.register(Set(patient, [new], links=[link(APND, new.id, old.id, id=name)])))
    good(event.registry.call(wire.REMOVE, meta.remove(name)))


def test_a_removal_by_query_or_of_nothing(event: Event) -> None:
    """Remove Metadata: ObjectRefs only. Rule: R-157"""
    query = '<rim:AdhocQuery id="urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"/>'
    for inner in (query, "<rim:ObjectRefList/>"):
        reply = event.registry.call(wire.REMOVE, meta.remove(inner=inner))
        refused(reply, "XDSInvalidRequestException", "XDSRegistryMetadataError")


# -- ITI-61 ----------------------------------------


def on_demand(event: Event, submission: Set) -> wire.Reply:
    reply = event.registry.call(wire.ON_DEMAND, submission.xml())
    if reply.find(".//soap:Fault") is not None and reply.fault[1].endswith("ActionNotSupported"):
        pytest.skip("ITI-61 is not served")
    return reply


def test_an_on_demand_entry_is_found_by_its_type(event: Event, patient: str) -> None:
    """ITI TF-2 3.61.4.1.3: no creationTime, hash, size; hidden unless the type is asked for. Rule: R-130"""
    entry = Entry(patient, id=meta.new_uuid(), kind=meta.ONDEMAND)
    reply = good(on_demand(event, Set(patient, [entry])))
    assert reply.find("soap:Header/wsa:Action").text == "urn:ihe:iti:2010:RegisterOnDemandDocumentResponse"
    assert event.find(patient).ids == []
    (found,) = event.find(patient, XDSDocumentEntryType=f"('{meta.ONDEMAND}')").objects("ExtrinsicObject")
    assert found.get("objectType") == meta.ONDEMAND
    good(on_demand(event, Set(patient, [entry.but(id="again")])))


@pytest.mark.parametrize("name", ["creationTime", "hash", "size", "stable", "no repository"])
def test_an_on_demand_entry_that_is_refused(event: Event, patient: str, name: str) -> None:
    """ITI TF-2 3.61.4.1.3: prohibited and required attributes. Rule: R-130, R-131, R-132"""
    entry = Entry(patient, kind=meta.ONDEMAND)
    values = {"creationTime": "20260101", "hash": "0" * 40, "size": "5"}
    if name in values:
        entry.slots = {name: values[name]}
    elif name == "stable":
        entry = Entry(patient)
    else:
        entry.drop = frozenset({"repositoryUniqueId"})
    refused(on_demand(event, Set(patient, [entry])), "XDSRegistryMetadataError")


def test_an_on_demand_entry_shares_no_id_with_a_stable_one(event: Event, patient: str) -> None:
    """ITI TF-2 3.61.4.1.3: the uniqueId of a stable entry is taken. Rule: R-088"""
    stable = event.stored(patient)
    reply = on_demand(event, Set(patient, [Entry(patient, kind=meta.ONDEMAND, unique=stable.unique)]))
    refused(reply, "XDSDuplicateUniqueIdInRegistry", "XDSRegistryMetadataError")
