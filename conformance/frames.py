"""Builders of a valid submission, made to be spoiled: each test breaks one thing and expects one refusal.

Every builder takes changes as keywords; what is not changed is valid in the given affinity domain. Unique ids are
new at each call, contents are the same bytes at each call, so hash and size fit ``content(number)``.
"""

from __future__ import annotations

import hashlib
import uuid
from functools import lru_cache
from typing import Any

from xds import namespaces as ns
from xds.domain import DEFAULT, AffinityDomain, load
from xds.model import Association, Author, Code, DocumentEntry, Folder, LocalizedString, Submission, SubmissionSet

SOURCE_ID = "1.3.6.1.4.1.21367.2026.1.1"
PREFERRED = {
    "type_code": ("11502-2^^2.16.840.1.113883.6.1",),
    "format_code": ("urn:ihe:lab:xd-lab:2008^^1.3.6.1.4.1.19376.1.2.3",),
    "confidentiality_codes": ("N^^2.16.840.1.113883.5.25",),
    "healthcare_facility_type_code": ("SA25^^1.2.250.1.71.4.2.4", "22232009^^2.16.840.1.113883.6.96"),
    "practice_setting_code": ("AMBULATOIRE^^1.2.250.1.213.1.1.4.9", "394802001^^2.16.840.1.113883.6.96"),
    "content_type_code": ("26^^1.2.250.1.213.2.2", "34133-9^^2.16.840.1.113883.6.1"),
    "folder_codes": ("34133-9^^2.16.840.1.113883.6.1",),
}
_PATIENTS = {
    "1.2.250.1.213.1.4.10": "279059999900134",
    "": "ESSAI-1001",
}


@lru_cache
def _loaded(name: str) -> AffinityDomain:
    return load(name)


def _domain(domain: AffinityDomain | str) -> AffinityDomain:
    return _loaded(domain) if isinstance(domain, str) else domain


def new_oid() -> str:
    """A new OID under 2.25, at most 44 characters."""
    return f"2.25.{uuid.uuid4().int}"


def new_uuid() -> str:
    """A new ``urn:uuid:``, lower case."""
    return uuid.uuid4().urn


def content(number: int = 1) -> bytes:
    """The bytes of the document that ``valid_entry(number)`` describes."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<essai xmlns="urn:example:fictif" n="{number}"/>\n'.encode()


def a_code(domain: AffinityDomain | str, attribute: str) -> Code:
    """A code this domain allows for the attribute: a usual one where listed, else the first."""
    domain = _domain(domain)
    preferred = PREFERRED.get(attribute, ())
    listed = domain.codes.get(attribute)
    if listed is None:
        key = preferred[0] if preferred else "essai^^2.25.1"
    else:
        key = next((key for key in preferred if key in listed), next(iter(listed)))
    return domain.code(attribute, key)


def a_patient_id(domain: AffinityDomain | str, number: str = "") -> str:
    """CX of a fictive patient of the domain; ``number`` takes the place of the usual one."""
    domain = _domain(domain)
    known = [oid for oid in (*_PATIENTS, *sorted(domain.assigning_authorities)) if oid in domain.assigning_authorities]
    authority = known[0] if known else "1.3.6.1.4.1.21367.13.20.1000"
    type_code = domain.type_of_authority.get(authority) or next(iter(sorted(domain.patient_id_type_codes)), "")
    value = number or _PATIENTS.get(authority, _PATIENTS[""])
    return f"{value}^^^&{authority}&ISO" + (f"^{type_code}" if type_code else "")


def an_author(**changes: Any) -> Author:
    """A fictive physician of a fictive laboratory."""
    values: dict[str, Any] = {
        "person": ["899900000017^BIOLOGISTE-FICTIF^Alix^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"],
        "institutions": ["LABORATOIRE FICTIF^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1990000017"],
        "specialties": ["G15_10/SM03^Médecin - Biologie médicale (SM)^1.2.250.1.213.1.1.4.5"],
    }
    return Author(**values | changes)


def valid_entry(domain: AffinityDomain | str = "connectathon", number: int = 1, **changes: Any) -> DocumentEntry:
    """A DocumentEntry as a source sends it. ITI-42 needs ``repository_unique_id`` besides."""
    domain = _domain(domain)
    data = content(number)
    type_code = a_code(domain, "type_code")
    class_key = domain.class_of_type.get(type_code.key) or domain.class_of_type.get(DEFAULT)
    patient_id = a_patient_id(domain)
    values: dict[str, Any] = {
        "entry_uuid": f"Document{number:02d}",
        "mime_type": "text/xml",
        "unique_id": new_oid(),
        "patient_id": patient_id,
        "source_patient_id": patient_id,
        "source_patient_info": ["PID-5|ESSAI-DUPONT^CAMILLE^^^^^L", "PID-7|19790514", "PID-8|F"],
        "title": [LocalizedString("Document d'essai", "fr-FR")],
        "authors": [an_author()],
        "class_code": domain.code("class_code", class_key) if class_key else a_code(domain, "class_code"),
        "type_code": type_code,
        "format_code": a_code(domain, "format_code"),
        "practice_setting_code": a_code(domain, "practice_setting_code"),
        "healthcare_facility_type_code": a_code(domain, "healthcare_facility_type_code"),
        "confidentiality_codes": [a_code(domain, "confidentiality_codes")],
        "creation_time": "20260105093000",
        "service_start_time": "20260105080000",
        "service_stop_time": "20260105090000",
        "language_code": "fr-FR",
        "legal_authenticator": an_author().person[0],
        "hash": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "size": len(data),
    }
    return DocumentEntry(**values | changes)


def valid_submission_set(domain: AffinityDomain | str = "connectathon", **changes: Any) -> SubmissionSet:
    """A SubmissionSet with one author."""
    values: dict[str, Any] = {
        "entry_uuid": "SubmissionSet01",
        "unique_id": new_oid(),
        "patient_id": a_patient_id(domain),
        "source_id": SOURCE_ID,
        "submission_time": "20260105100000",
        "content_type_code": a_code(domain, "content_type_code"),
        "authors": [an_author()],
    }
    return SubmissionSet(**values | changes)


def valid_folder(domain: AffinityDomain | str = "connectathon", **changes: Any) -> Folder:
    """A Folder with one code and a title."""
    values: dict[str, Any] = {
        "entry_uuid": "Folder01",
        "unique_id": new_oid(),
        "patient_id": a_patient_id(domain),
        "codes": [a_code(domain, "folder_codes")],
        "title": [LocalizedString("Dossier d'essai", "fr-FR")],
    }
    return Folder(**values | changes)


def has_member(source: str, target: str, status: str = "", **changes: Any) -> Association:
    """HasMember; ``status`` fills SubmissionSetStatus: ``Original``, ``Reference``, or "" for no slot."""
    slots = {"SubmissionSetStatus": [status]} if status else {}
    values = {"entry_uuid": f"HasMember-{source}-{target}", "type": ns.HAS_MEMBER, "slots": slots}
    return Association(**values | {"source": source, "target": target} | changes)


def relationship(kind: str, source: str, target: str, **changes: Any) -> Association:
    """RPLC, APND, XFRM, XFRM_RPLC or signs: ``kind`` is the URN of ``xds.namespaces``."""
    values: dict[str, Any] = {"entry_uuid": f"{kind.rpartition(':')[2]}-{source}", "type": kind}
    return Association(**values | {"source": source, "target": target} | changes)


def valid_submission(
    domain: AffinityDomain | str = "connectathon",
    *,
    documents: int = 1,
    folder: bool = False,
    patient_id: str = "",
    **entry_changes: Any,
) -> Submission:
    """A set with ``documents`` new entries, all put in one new Folder if asked. ``entry_changes`` go to every entry."""
    domain = _domain(domain)
    patient = {"patient_id": patient_id or a_patient_id(domain)}
    entries = [valid_entry(domain, number, **patient | entry_changes) for number in range(1, documents + 1)]
    submission_set = valid_submission_set(domain, **patient)
    members = [has_member(submission_set.entry_uuid, entry.entry_uuid, "Original") for entry in entries]
    if not folder:
        return Submission(submission_set, entries, [], members)
    new_folder = valid_folder(domain, **patient)
    inside = [has_member(new_folder.entry_uuid, entry.entry_uuid) for entry in entries]
    members.append(has_member(submission_set.entry_uuid, new_folder.entry_uuid))
    members += inside
    members += [has_member(submission_set.entry_uuid, link.entry_uuid) for link in inside]
    return Submission(submission_set, entries, [new_folder], members)


def valid_replacement(
    target: str, domain: AffinityDomain | str = "connectathon", *, kind: str = ns.RPLC, **entry_changes: Any
) -> Submission:
    """A submission whose one document replaces, or stands in relation ``kind`` to, the entry with that entryUUID."""
    submission = valid_submission(domain, **entry_changes)
    submission.associations.append(relationship(kind, submission.entries[0].entry_uuid, target))
    return submission
