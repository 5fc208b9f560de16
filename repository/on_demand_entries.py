"""Submissions of on-demand documents: the entry itself (ITI-61), and its snapshots (ITI-42).

A snapshot holds what one caller may see. It names him as its author and, where the affinity domain can say so, it is
masked from other professionals; what hides one of the documents it tells of from the patient or his representatives
hides the snapshot too. So nobody learns from a snapshot what he may not know (R-185).

Clause: ITI TF-2 3.42.4.1.3, 3.43.4.1.3, 3.61.4.1.2; ITI TF-3 4.2.2.2.6
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import uuid4

from guard.credentials.caller import Caller
from repository.on_demand import OnDemandProvider
from xds.domain import DEFAULT, AffinityDomain
from xds.model import Association, Author, Code, DocumentEntry, Submission, SubmissionSet
from xds.model.hl7 import escape
from xds.namespaces import HAS_MEMBER, IS_SNAPSHOT_OF, ON_DEMAND, PROVIDER_SLOT, RPLC, STABLE

PERSONS, STRUCTURES = "1.2.250.1.71.4.2.1", "1.2.250.1.71.4.2.2"
"""Authorities of PS_IdNat and Struct_IdNat."""


def new_oid() -> str:
    """A uniqueId nobody else has. Clause: ITU-T X.667 (2.25)"""
    return f"2.25.{uuid4().int}"


def author(identifier: str, name: str, structure_id: str, structure_name: str) -> Author:
    """Who acts, as an author; the rest of the caller's claims are not repeated. Clause: ITI TF-3 4.2.3.1.7"""
    kind = "EI" if "/" in identifier else "IDNPS"
    person = f"{escape(identifier)}^{escape(name)}^^^^^^^&{PERSONS}&ISO^D^^^{kind}" if identifier else ""
    label = escape(structure_name or structure_id)
    place = f"{label}^^^^^&{STRUCTURES}&ISO^IDNST^^^{escape(structure_id)}" if structure_id else ""
    return Author(person=[person] if person else [], institutions=[place] if place else [])


def author_of(caller: Caller) -> Author | None:
    """The caller as an author; None when nobody is known."""
    found = author(caller.identifier, caller.name, caller.structure_id, caller.structure_name)
    return found if found.person or found.institutions else None


def registration(
    entry: DocumentEntry, provider: OnDemandProvider, domain: AffinityDomain, repository_unique_id: str, now: str
) -> Submission:
    """ITI-61 of an entry that ``provider`` has described. ``now`` is UTC, 14 digits."""
    entry = replace(
        entry,
        entry_uuid="OnDemand",
        object_type=ON_DEMAND,
        unique_id=new_oid(),
        repository_unique_id=repository_unique_id,
        extra_slots=entry.extra_slots | {PROVIDER_SLOT: [provider.name]},
    )
    return _submission(entry, entry.authors, domain, repository_unique_id, now)


def snapshot(
    on_demand: DocumentEntry,
    former: Sequence[str],
    caller: Caller,
    told: frozenset[str],
    domain: AffinityDomain,
    *,
    unique_id: str,
    now: str,
) -> Submission:
    """ITI-42 of one snapshot, without hash and size; it replaces ``former`` (entryUUIDs; R-182).

    ``told`` are the confidentiality codes of what the document tells of.
    """
    who = author_of(caller)
    entry = replace(
        on_demand,
        entry_uuid="Snapshot",
        object_type=STABLE,
        status="",
        logical_id="",
        version=0,
        unique_id=unique_id,
        creation_time=now,
        authors=[*([who] if who else []), *on_demand.authors],
        confidentiality_codes=_hidden(on_demand.confidentiality_codes, told, domain),
    )
    made = _submission(entry, [who] if who else on_demand.authors, domain, on_demand.repository_unique_id, now)
    made.associations.append(_link("SnapshotOf", IS_SNAPSHOT_OF, entry.entry_uuid, on_demand.entry_uuid))
    made.associations += [
        _link(f"Replacement{n}", RPLC, entry.entry_uuid, one) for n, one in enumerate(former, 1)
    ]
    return made


def may_be_kept(domain: AffinityDomain) -> bool:
    """False where rights differ from caller to caller and no code hides a document from the others."""
    return not domain.policy or bool(domain.hidden_from_professionals)


def _hidden(codes: Iterable[Code], told: frozenset[str], domain: AffinityDomain) -> list[Code]:
    listed = {code.key: code for code in codes}
    flags = domain.hidden_from_professionals
    flags |= told & (domain.hidden_from_patient | domain.hidden_from_representatives)
    return [*listed.values(), *(domain.code("confidentiality_codes", key) for key in sorted(flags - listed.keys()))]


def _submission(
    entry: DocumentEntry, authors: Sequence[Author], domain: AffinityDomain, source_id: str, now: str
) -> Submission:
    submission_set = SubmissionSet(
        entry_uuid="SubmissionSet",
        unique_id=new_oid(),
        patient_id=entry.patient_id,
        source_id=source_id,
        submission_time=now,
        content_type_code=_content_type(entry, domain),
        authors=list(authors),
    )
    member = _link("Member", HAS_MEMBER, submission_set.entry_uuid, entry.entry_uuid)
    member.slots["SubmissionSetStatus"] = ["Original"]
    return Submission(submission_set, [entry], [], [member])


def _content_type(entry: DocumentEntry, domain: AffinityDomain) -> Code | None:
    """By the domain's table of facilities and settings, else the first code it lists, else the type of the document."""
    table = domain.content_type_of_setting
    settings = (entry.healthcare_facility_type_code, entry.practice_setting_code)
    key = next((table[s.key] for s in settings if s is not None and s.key in table), table.get(DEFAULT, ""))
    key = key or next(iter(domain.codes.get("content_type_code", ())), "")
    return domain.code("content_type_code", key) if key else entry.type_code


def _link(name: str, kind: str, source: str, target: str) -> Association:
    return Association(entry_uuid=name, type=kind, source=source, target=target)
