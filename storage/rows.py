"""Metadata objects as rows, and back.

The columns are the truth: the same fields are left out of ``content`` and are set from the row when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Table

from storage import tables
from storage.words import bare, compared, long, short, urn
from xds.model import Association, DocumentEntry, Folder, Submission, SubmissionSet, hl7
from xds.model.datatypes import dtm_start
from xds.model.json import decode, encode

_ENTRY_FIELDS = ("entry_uuid", "status", "object_type", "unique_id", "logical_id", "version", "patient_id", "hash",
                 "size")
_SET_FIELDS = ("entry_uuid", "status", "unique_id", "patient_id")
_FOLDER_FIELDS = ("entry_uuid", "status", "last_update_time", "unique_id", "logical_id", "version", "patient_id")
_ASSOCIATION_FIELDS = ("entry_uuid", "status", "type", "source", "target")
ENTRY_COLUMNS = (*_ENTRY_FIELDS, "content")
SET_COLUMNS = (*_SET_FIELDS, "content")
FOLDER_COLUMNS = (*_FOLDER_FIELDS, "content")
ASSOCIATION_COLUMNS = (*_ASSOCIATION_FIELDS, "content")


def padded(time: str) -> str:
    """14 digits, "" when not given."""
    return dtm_start(time) if time else ""


def entry_row(patient_key: int, entry: DocumentEntry) -> dict[str, Any]:
    return {
        "patient_key": patient_key,
        "entry_uuid": bare(entry.entry_uuid),
        "status": short(entry.status),
        "creation_time": padded(entry.creation_time),
        "object_type": short(entry.object_type),
        "type_code": _key(entry.type_code),
        "class_code": _key(entry.class_code),
        "format_code": _key(entry.format_code),
        "practice_setting_code": _key(entry.practice_setting_code),
        "healthcare_facility_type_code": _key(entry.healthcare_facility_type_code),
        "document_availability": compared(entry.document_availability),
        "service_start_time": padded(entry.service_start_time),
        "service_stop_time": padded(entry.service_stop_time),
        "unique_id": entry.unique_id,
        "logical_id": bare(entry.logical_id) if entry.logical_id else "",
        "version": entry.version,
        "patient_id": entry.patient_id,
        "hash": entry.hash,
        "size": entry.size,
        "content": encode(entry, without=_ENTRY_FIELDS),
    }


def entry_from(row: tuple[Any, ...]) -> DocumentEntry:
    """From ``ENTRY_COLUMNS``."""
    entry: DocumentEntry = decode("DocumentEntry", row[9])
    entry_uuid, status, object_type, entry.unique_id, logical_id = row[:5]
    entry.entry_uuid = urn(entry_uuid)
    entry.logical_id = urn(logical_id) if logical_id else ""
    entry.status = long(status)
    entry.object_type = long(object_type)
    entry.version, entry.patient_id, entry.hash, entry.size = row[5:9]
    return entry


def entry_values(entry: DocumentEntry) -> set[tuple[str, str]]:
    """(kind, value) of everything an entry has several of and a query or a filter asks for."""
    values = {(tables.EVENT, compared(code.key)) for code in entry.event_codes}
    values.update((tables.CONFIDENTIALITY, compared(code.key)) for code in entry.confidentiality_codes)
    values.update((tables.REFERENCE, compared(value)) for value in entry.reference_ids)
    for author in entry.authors:
        for person in author.person:
            values.add((tables.AUTHOR, person))
            values.add((tables.AUTHOR_ID, _component(person, 1)))
        values.update((tables.STRUCTURE_ID, _component(institution, 10)) for institution in author.institutions)
    return {pair for pair in values if pair[1]}


def set_values(submission_set: SubmissionSet) -> set[tuple[str, str]]:
    return {(tables.AUTHOR, person) for author in submission_set.authors for person in author.person if person}


def folder_values(folder: Folder) -> set[tuple[str, str]]:
    return {(tables.FOLDER_CODE, compared(code.key)) for code in folder.codes}


def set_row(patient_key: int, submission_set: SubmissionSet) -> dict[str, Any]:
    return {
        "patient_key": patient_key,
        "entry_uuid": bare(submission_set.entry_uuid),
        "status": short(submission_set.status),
        "submission_time": padded(submission_set.submission_time),
        "source_id": compared(submission_set.source_id),
        "content_type_code": _key(submission_set.content_type_code),
        "unique_id": submission_set.unique_id,
        "patient_id": submission_set.patient_id,
        "content": encode(submission_set, without=_SET_FIELDS),
    }


def set_from(row: tuple[Any, ...]) -> SubmissionSet:
    """From ``SET_COLUMNS``."""
    found: SubmissionSet = decode("SubmissionSet", row[4])
    entry_uuid, status, found.unique_id, found.patient_id = row[:4]
    found.entry_uuid = urn(entry_uuid)
    found.status = long(status)
    return found


def folder_row(patient_key: int, folder: Folder) -> dict[str, Any]:
    return {
        "patient_key": patient_key,
        "entry_uuid": bare(folder.entry_uuid),
        "status": short(folder.status),
        "last_update_time": folder.last_update_time,
        "unique_id": folder.unique_id,
        "logical_id": bare(folder.logical_id) if folder.logical_id else "",
        "version": folder.version,
        "patient_id": folder.patient_id,
        "content": encode(folder, without=_FOLDER_FIELDS),
    }


def folder_from(row: tuple[Any, ...]) -> Folder:
    """From ``FOLDER_COLUMNS``."""
    found: Folder = decode("Folder", row[7])
    entry_uuid, status, found.last_update_time, found.unique_id, logical_id = row[:5]
    found.entry_uuid = urn(entry_uuid)
    found.logical_id = urn(logical_id) if logical_id else ""
    found.status = long(status)
    found.version, found.patient_id = row[5:7]
    return found


def association_row(patient_key: int, association: Association) -> dict[str, Any]:
    """``content`` is "" for the many that say nothing but source, type and target."""
    has_more = association.slots or association.documentation or association.home_community_id
    return {
        "patient_key": patient_key,
        "entry_uuid": bare(association.entry_uuid),
        "status": short(association.status),
        "type": short(association.type),
        "source": bare(association.source),
        "target": bare(association.target),
        "content": encode(association, without=_ASSOCIATION_FIELDS) if has_more else "",
    }


def association_from(row: tuple[Any, ...]) -> Association:
    """From ``ASSOCIATION_COLUMNS``."""
    entry_uuid, status, kind, source, target, content = row
    found: Association = decode("Association", content or "{}")
    found.entry_uuid, found.source, found.target = urn(entry_uuid), urn(source), urn(target)
    found.status, found.type = long(status), long(kind)
    return found


def submission_rows(patient_key: int, submission: Submission) -> dict[Table, list[dict[str, Any]]]:
    """Every row that a submission becomes, by table."""
    sets = [set_row(patient_key, submission.submission_set)]
    entries = [entry_row(patient_key, entry) for entry in submission.entries]
    folders = [folder_row(patient_key, one) for one in submission.folders]
    associations = [association_row(patient_key, one) for one in submission.associations]
    located: list[dict[str, Any]] = []
    for kind, rows in (("SubmissionSet", sets), ("DocumentEntry", entries), ("Folder", folders),
                       ("Association", associations)):
        for row in rows:
            located.extend(_locator_rows(patient_key, kind, row))
    values = [
        {"patient_key": patient_key, "kind": kind, "value": value, "entry_uuid": row["entry_uuid"]}
        for row, pairs in (
            (sets[0], set_values(submission.submission_set)),
            *zip(entries, map(entry_values, submission.entries), strict=True),
            *zip(folders, map(folder_values, submission.folders), strict=True),
        )
        for kind, value in sorted(pairs)
    ]
    return {
        tables.submission_set: sets, tables.document_entry: entries, tables.folder: folders,
        tables.association: associations, tables.locator: located, tables.entry_value: values,
    }


def _locator_rows(patient_key: int, kind: str, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every identifier under which an object is looked for without a patient."""
    entry_uuid = row["entry_uuid"]

    def line(identifier: str, role: str, owner: str) -> dict[str, Any]:
        return {"identifier": identifier, "role": role, "entry_uuid": owner, "kind": short(kind),
                "patient_key": patient_key}

    yield line(entry_uuid, tables.ENTRY_UUID, "")
    if unique_id := row.get("unique_id"):
        yield line(compared(unique_id), tables.UNIQUE_ID, entry_uuid)
    logical_id = row.get("logical_id", "")
    if logical_id and logical_id != entry_uuid:
        yield line(logical_id, tables.LOGICAL_ID, entry_uuid)


def _key(code: Any) -> str:
    return compared(code.key) if code else ""


def _component(text: str, number: int) -> str:
    """One component of an HL7 v2 value, "" when it is not there: XCN.1 and XON.10 are the identifiers."""
    parts = text.split("^")
    return compared(hl7.unescape(parts[number - 1])) if len(parts) >= number else ""
