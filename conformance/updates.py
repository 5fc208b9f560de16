"""Builders of valid metadata updates, made to be spoiled like those of ``frames``.

Each takes stored objects as a query has given them. Ids of the request are symbolic; unique ids are new at each call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from conformance import frames
from xds import namespaces as ns
from xds.domain import AffinityDomain
from xds.model import Association, DocumentEntry, Folder, Submission

Item = DocumentEntry | Folder


def empty_update(domain: AffinityDomain | str, patient_id: str, **changes: Any) -> Submission:
    """A SubmissionSet to hang operations on."""
    return Submission(frames.valid_submission_set(domain, patient_id=patient_id, **changes))


def new_version(update: Submission, stored: Item, *, propagation: str = "", **changes: Any) -> Item:
    """Add the next version of ``stored`` to an update; returns it. ``propagation`` is yes, no or "" for no slot."""
    number = len(update.entries) + len(update.folders) + 1
    values: dict[str, Any] = {"entry_uuid": f"Version{number:02d}", "status": "", "version": 0} | changes
    item = replace(stored, **values)
    slots = {"PreviousVersion": [str(stored.version)]}
    if isinstance(item, DocumentEntry):
        slots["SubmissionSetStatus"] = ["Original"]
        update.entries.append(item)
    else:
        update.folders.append(item)
    if propagation:
        slots["AssociationPropagation"] = [propagation]
    update.associations.append(
        Association(
            entry_uuid=f"Member{number:02d}", type=ns.HAS_MEMBER, source=update.submission_set.entry_uuid,
            target=item.entry_uuid, slots=slots,
        )
    )
    return item


def new_status(update: Submission, target: str, original: str, new: str) -> Association:
    """Add a change of availability status to an update; returns its association."""
    trigger = Association(
        entry_uuid=f"Status{len(update.associations):02d}", type=ns.UPDATE_AVAILABILITY_STATUS,
        source=update.submission_set.entry_uuid, target=target,
        slots={"OriginalStatus": [original], "NewStatus": [new]},
    )
    update.associations.append(trigger)
    return trigger


def new_association(update: Submission, kind: str, source: str, target: str) -> Association:
    """Add an association between stored objects to an update; returns it."""
    number = len(update.associations)
    added = Association(entry_uuid=f"Added{number:02d}", type=kind, source=source, target=target)
    trigger = Association(
        entry_uuid=f"Submit{number:02d}", type=ns.SUBMIT_ASSOCIATION, source=update.submission_set.entry_uuid,
        target=added.entry_uuid,
    )
    update.associations += [added, trigger]
    return added


def update_of(domain: AffinityDomain | str, stored: Item, *, propagation: str = "", **changes: Any) -> Submission:
    """An update with one new version."""
    update = empty_update(domain, changes.get("patient_id", stored.patient_id))
    new_version(update, stored, propagation=propagation, **changes)
    return update
