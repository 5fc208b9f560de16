"""Small valid objects for the store tests; every test changes only what it is about."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID

from guard.audit.store import AccessLine
from guard.policy.facts import RecordStatus
from record.store import Record
from registry.store import RegistryDatabase
from xds.model import Association, Author, Code, DocumentEntry, Folder, LocalizedString, Submission, SubmissionSet
from xds.namespaces import APPROVED, HAS_MEMBER

SCHEME = "2.16.840.1.113883.6.1"
NORMAL = Code("N", "2.16.840.1.113883.5.25", "Normal")
MASKED = Code("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "Masqué")
REPORT = Code("11488-4", SCHEME, "CR")
DUPONT = "801234567897^Dupont^Jean^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
PATIENT = "123456789012345^^^&1.2.250.1.213.1.4.10&ISO^NH"

_numbers = count(1)


def uuid(number: int | None = None) -> str:
    return UUID(int=number or next(_numbers) + 1_000_000).urn


def entry(**changes: Any) -> DocumentEntry:
    number = next(_numbers)
    made = DocumentEntry(
        entry_uuid=uuid(), status=APPROVED, version=1, mime_type="text/xml", unique_id=f"1.2.250.1.999.1.{number}",
        patient_id=PATIENT, source_patient_id=PATIENT, title=[LocalizedString("Compte rendu", "fr-FR")],
        authors=[Author(person=[DUPONT], institutions=["Hôpital^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1750712184"])],
        class_code=Code("10", "1.2.250.1.213.1.1.4.1", "Compte rendus"), type_code=REPORT,
        format_code=Code("urn:ihe:iti:xds-sd:text:2008", "1.3.6.1.4.1.19376.1.2.3", "Texte"),
        practice_setting_code=Code("AMBULATOIRE", "1.2.250.1.213.1.1.4.9", "Ambulatoire"),
        healthcare_facility_type_code=Code("SA07", "1.2.250.1.71.4.2.4", "Cabinet"),
        confidentiality_codes=[NORMAL], creation_time="20240315101112", service_start_time="20240315",
        language_code="fr-FR", hash="a" * 40, size=1234, repository_unique_id="1.2.250.1.999.2",
    )
    made = replace(made, **changes)
    if "logical_id" not in changes:
        made.logical_id = made.entry_uuid
    return made


def folder(**changes: Any) -> Folder:
    made = Folder(
        entry_uuid=uuid(), status=APPROVED, version=1, unique_id=f"1.2.250.1.999.3.{next(_numbers)}",
        patient_id=PATIENT, codes=[Code("F", SCHEME, "Dossier")], title=[LocalizedString("Dossier")],
        last_update_time="20240101000000",
    )
    made.logical_id = made.entry_uuid
    return replace(made, **changes)


def submission_set(**changes: Any) -> SubmissionSet:
    return replace(SubmissionSet(
        entry_uuid=uuid(), status=APPROVED, unique_id=f"1.2.250.1.999.4.{next(_numbers)}", patient_id=PATIENT,
        source_id="1.2.250.1.999.5", submission_time="20240315101500", content_type_code=Code("07", SCHEME, "Envoi"),
        authors=[Author(person=[DUPONT])],
    ), **changes)


def link(source: Any, target: Any, kind: str = HAS_MEMBER, **changes: Any) -> Association:
    """Between two objects or identifiers."""
    ends = [getattr(end, "entry_uuid", end) for end in (source, target)]
    made = Association(entry_uuid=uuid(), type=kind, source=ends[0], target=ends[1], status=APPROVED)
    return replace(made, **changes)


def member(owner: Any, target: Any, status: str = "Original") -> Association:
    return link(owner, target, slots={"SubmissionSetStatus": [status]})


def submission(*entries: DocumentEntry, **parts: Any) -> Submission:
    """A set with these entries as its own, and further folders and associations."""
    owner = parts.get("owner") or submission_set()
    folders = parts.get("folders", [])
    links = [member(owner, one) for one in (*entries, *folders)]
    return Submission(owner, list(entries), folders, [*links, *parts.get("associations", [])])


def opened(registry: RegistryDatabase, patient_id: str = PATIENT) -> int:
    """The patient_key of a new record."""
    with registry.write() as unit:
        return unit.record.add(Record(
            patient_key=0, patient_id=patient_id, status=RecordStatus.ACTIVE, opened_at="2024-01-01T00:00:00Z",
        )).patient_key


def stored(registry: RegistryDatabase, patient_key: int, *submissions: Submission) -> None:
    for one in submissions:
        with registry.write() as unit:
            unit.record.lock(patient_key)
            unit.registry.insert(patient_key, one)


def line(**changes: Any) -> AccessLine:
    return replace(AccessLine(
        at="2024-03-15T10:15:00.123Z", trace_id=f"{next(_numbers):032x}", event="ITI-42", action="deposit",
        outcome="success",
    ), **changes)
