"""What differs between two versions of one object: what may not, and which rights the rest needs.

Pure: no store, no XML. Clause: ITI TF-2 3.57.4.1.3, 3.92.4.1.3; DMP TD3.3
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from guard.policy.facts import Action
from xds import namespaces as ns
from xds.domain import AffinityDomain
from xds.errors import ErrorCode, Finding
from xds.model import Code, DocumentEntry, Folder
from xds.model.datatypes import normalise_cx
from xds.rules import problem

Item = DocumentEntry | Folder

_ASSIGNED = frozenset({"entry_uuid", "status", "logical_id", "version", "last_update_time", "home_community_id"})
"""The registry's own, or said of the object elsewhere."""
_RESTRICTED = (
    ("documentAvailability", "document_availability"), ("repositoryUniqueId", "repository_unique_id"),
    ("sourcePatientId", "source_patient_id"),
)
_ONLINE = "urn:ihe:iti:2010:DocumentAvailability:Online"


def compare(before: Item, after: Item, subject: str, *, restricted: bool) -> Iterator[Finding]:
    """Every difference that no update may make; ``restricted`` adds those ITI-92 does not make."""
    unmodifiable = ErrorCode.UnmodifiableMetadataError
    clause = "ITI TF-2 3.92.4.1.3" if restricted else ""
    if before.unique_id != after.unique_id:
        yield problem("R-143", ErrorCode.XDSMetadataIdentifierError, subject, "uniqueId", found=after.unique_id,
                      expected=f"{before.unique_id}, as in every version", clause=clause)
    if not isinstance(before, DocumentEntry) or not isinstance(after, DocumentEntry):
        return
    fixed = unmodifiable if restricted else ErrorCode.XDSMetadataUpdateError
    if before.object_type != after.object_type:
        yield problem("R-151" if restricted else "R-143", fixed, subject, "objectType", found=after.object_type,
                      expected=f"{before.object_type}, as in every version", clause=clause)
    for name, old, new in (("hash", before.hash.lower(), after.hash.lower()), ("size", before.size, after.size)):
        if old != new and not _is_awaited(before):
            yield problem("L-04", fixed, subject, name, found=str(new), clause=clause,
                          expected=f"{old}: the bytes of a document do not change")
    if not restricted:
        return
    for name, attribute in _RESTRICTED:
        held, sent = _plain(attribute, getattr(before, attribute)), _plain(attribute, getattr(after, attribute))
        if held != sent:
            yield problem("R-151", unmodifiable, subject, name, found=str(sent),
                          expected=f"{held}, which this transaction does not change")
    if after.status and after.status != before.status:
        yield problem("R-151", unmodifiable, subject, "availabilityStatus", found=after.status,
                      expected=f"{before.status}, or nothing")


def actions_of(before: Item, after: Item, domain: AffinityDomain) -> list[Action]:
    """The rights this change needs, each once; never none: a new version that says the same is an amendment too."""
    actions = []
    if isinstance(before, DocumentEntry) and isinstance(after, DocumentEntry):
        old = {code.key for code in before.confidentiality_codes}
        new = {code.key for code in after.confidentiality_codes}
        mask = domain.hidden_from_professionals
        unannounced = domain.hidden_from_patient
        from_parents = domain.hidden_from_representatives - unannounced
        if (new - old) & mask:
            actions.append(Action.MASK)
        if (old - new) & mask:
            actions.append(Action.UNMASK)
        if (old - new) & unannounced:
            actions.append(Action.REVEAL)
        if (old - new) & from_parents:
            actions.append(Action.SHOW)
        if (new - old) & from_parents:
            actions.append(Action.HIDE)
        other = (new - old) & unannounced or (new ^ old) - mask - unannounced - from_parents
        if other or _amended(before, after, "confidentiality_codes"):
            actions.append(Action.AMEND)
    elif _amended(before, after):
        actions.append(Action.AMEND)
    return actions or [Action.AMEND]


def _amended(before: Item, after: Item, *apart: str) -> bool:
    ignored = _ASSIGNED.union(apart)
    return any(
        _plain(f.name, getattr(before, f.name)) != _plain(f.name, getattr(after, f.name))
        for f in fields(before) if f.name not in ignored
    )


def _plain(name: str, value: Any) -> Any:
    """The form in which two versions are compared: display names, the order of parts and spelling say nothing."""
    if isinstance(value, Code):
        return value.key
    if isinstance(value, list):
        return sorted(str(_plain(name, one)) for one in value)
    if name == "hash":
        return value.lower()
    if name == "document_availability":
        return value or _ONLINE
    if name == "patient_id":
        try:
            return normalise_cx(value)
        except ValueError:
            return value
    return value


def _is_awaited(entry: DocumentEntry) -> bool:
    """A document to be assembled at its first retrieval: size 0 and the hash of nothing."""
    return entry.size == 0 and entry.hash.lower() == ns.EMPTY_SHA1
