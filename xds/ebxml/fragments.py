"""Metadata objects as fragments of ebXML text.

Written as strings, without a tree: a query answer of a hundred entries is the service's most frequent and
heaviest output. Object fragments use the prefix ``rim:`` and are not well-formed alone; the element that
holds them declares it. Children stand in the order the schema enforces: slots, name, description, version,
classifications, external identifiers.

Characters that XML cannot carry are dropped.

Clause: ITI TF-3 4.2; ITI TF-2 Appendix V
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from uuid import NAMESPACE_OID, uuid5

from xds import namespaces as ns
from xds.limits import DEFAULT
from xds.model import Association, Author, Code, DocumentEntry, Folder, LocalizedString, SubmissionSet

_UNSAFE = re.compile("[&<>\"\\x00-\\x1f\ud800-\udfff\ufffe\uffff]").search
_TRANSLATION: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)),
    ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;",
    ord("\t"): "&#9;", ord("\n"): "&#10;", ord("\r"): "&#13;",
}
_UUID_URN = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch

_CLASSIFICATION_END = f'objectType="{ns.OBJECT_TYPE_CLASSIFICATION}"'
_IDENTIFIER_END = f'objectType="{ns.OBJECT_TYPE_EXTERNAL_IDENTIFIER}"'
_REFERENCE_IDS = "urn:ihe:iti:xds:2013:referenceIdList"


def escape(text: str) -> str:
    """Text for an element or for an attribute in double quotes; line ends and tabs survive in both."""
    return text if _UNSAFE(text) is None else text.translate(_TRANSLATION)


def document_entry(e: DocumentEntry) -> bytes:
    """``rim:ExtrinsicObject``. Clause: ITI TF-3 4.2.3.2"""
    ids = _part_ids(e.entry_uuid)
    id_ = escape(e.entry_uuid)
    size = "" if e.size is None else str(e.size)
    return "".join((
        "<rim:ExtrinsicObject", _identity(id_, e.home_community_id, e.logical_id, e.status),
        f' objectType="{escape(e.object_type)}"', _attribute("mimeType", e.mime_type), ">",
        _one("creationTime", e.creation_time), _one("languageCode", e.language_code),
        _one("serviceStartTime", e.service_start_time), _one("serviceStopTime", e.service_stop_time),
        _one("sourcePatientId", e.source_patient_id), _slot("sourcePatientInfo", e.source_patient_info),
        _one("legalAuthenticator", e.legal_authenticator), _one("hash", e.hash), _one("size", size),
        _one("repositoryUniqueId", e.repository_unique_id), _slot("URI", e.uri),
        _one("documentAvailability", e.document_availability), _slot(_REFERENCE_IDS, e.reference_ids),
        _slots(e.extra_slots), _text("Name", e.title), _text("Description", e.comments), _version(e.version),
        *[_author(ns.DE_AUTHOR, author, id_, next(ids)) for author in e.authors],
        _code(ns.DE_CLASS_CODE, e.class_code, id_, ids), _code(ns.DE_TYPE_CODE, e.type_code, id_, ids),
        _code(ns.DE_FORMAT_CODE, e.format_code, id_, ids),
        _code(ns.DE_PRACTICE_SETTING_CODE, e.practice_setting_code, id_, ids),
        _code(ns.DE_FACILITY_TYPE_CODE, e.healthcare_facility_type_code, id_, ids),
        *[_code(ns.DE_CONFIDENTIALITY_CODE, code, id_, ids) for code in e.confidentiality_codes],
        *[_code(ns.DE_EVENT_CODE, code, id_, ids) for code in e.event_codes],
        _marker(ns.DE_LIMITED, id_, next(ids)) if e.limited_metadata else "",
        _identifier(ns.DE_PATIENT_ID, "XDSDocumentEntry.patientId", e.patient_id, id_, ids),
        _identifier(ns.DE_UNIQUE_ID, "XDSDocumentEntry.uniqueId", e.unique_id, id_, ids),
        "</rim:ExtrinsicObject>",
    )).encode()


def submission_set(s: SubmissionSet) -> bytes:
    """``rim:RegistryPackage`` with its marker inside; a stored one carries lid and version, which update
    clients look for. Clause: ITI TF-3 4.2.3.3"""
    ids = _part_ids(s.entry_uuid)
    id_ = escape(s.entry_uuid)
    return "".join((
        "<rim:RegistryPackage", _identity(id_, s.home_community_id, s.entry_uuid if s.status else "", s.status),
        f' objectType="{ns.OBJECT_TYPE_REGISTRY_PACKAGE}">',
        _one("submissionTime", s.submission_time), _slot("intendedRecipient", s.intended_recipients),
        _slots(s.extra_slots), _text("Name", s.title), _text("Description", s.comments),
        _version(1 if s.status else 0), _marker(ns.SUBMISSION_SET_NODE, id_, next(ids)),
        *[_author(ns.SS_AUTHOR, author, id_, next(ids)) for author in s.authors],
        _code(ns.SS_CONTENT_TYPE_CODE, s.content_type_code, id_, ids),
        _marker(ns.SS_LIMITED, id_, next(ids)) if s.limited_metadata else "",
        _identifier(ns.SS_PATIENT_ID, "XDSSubmissionSet.patientId", s.patient_id, id_, ids),
        _identifier(ns.SS_SOURCE_ID, "XDSSubmissionSet.sourceId", s.source_id, id_, ids),
        _identifier(ns.SS_UNIQUE_ID, "XDSSubmissionSet.uniqueId", s.unique_id, id_, ids),
        "</rim:RegistryPackage>",
    )).encode()


def folder(f: Folder) -> bytes:
    """``rim:RegistryPackage`` with its marker inside. Clause: ITI TF-3 4.2.3.4"""
    ids = _part_ids(f.entry_uuid)
    id_ = escape(f.entry_uuid)
    return "".join((
        "<rim:RegistryPackage", _identity(id_, f.home_community_id, f.logical_id, f.status),
        f' objectType="{ns.OBJECT_TYPE_REGISTRY_PACKAGE}">',
        _one("lastUpdateTime", f.last_update_time), _slots(f.extra_slots),
        _text("Name", f.title), _text("Description", f.comments), _version(f.version),
        _marker(ns.FOLDER_NODE, id_, next(ids)),
        *[_code(ns.FOLDER_CODE_LIST, code, id_, ids) for code in f.codes],
        _marker(ns.FOLDER_LIMITED, id_, next(ids)) if f.limited_metadata else "",
        _identifier(ns.FOLDER_PATIENT_ID, "XDSFolder.patientId", f.patient_id, id_, ids),
        _identifier(ns.FOLDER_UNIQUE_ID, "XDSFolder.uniqueId", f.unique_id, id_, ids),
        "</rim:RegistryPackage>",
    )).encode()


def association(a: Association) -> bytes:
    """``rim:Association``. Clause: ITI TF-3 4.2.2"""
    id_ = escape(a.entry_uuid)
    return "".join((
        "<rim:Association", _identity(id_, a.home_community_id, a.entry_uuid if a.status else "", a.status),
        f' associationType="{escape(a.type)}" sourceObject="{escape(a.source)}" targetObject="{escape(a.target)}"',
        f' objectType="{ns.OBJECT_TYPE_ASSOCIATION}">', _slots(a.slots), _version(1 if a.status else 0),
        _code(ns.ASSOCIATION_DOCUMENTATION, a.documentation, id_, _part_ids(a.entry_uuid)),
        "</rim:Association>",
    )).encode()


def object_ref(entry_uuid: str, home_community_id: str = "") -> bytes:
    """``rim:ObjectRef``. Clause: ITI TF-2 3.18.4.1.2.6"""
    return f'<rim:ObjectRef id="{escape(entry_uuid)}"{_attribute("home", home_community_id)}/>'.encode()


def registry_object(obj: DocumentEntry | SubmissionSet | Folder | Association) -> bytes:
    """Any object, by its kind."""
    if isinstance(obj, DocumentEntry):
        return document_entry(obj)
    if isinstance(obj, SubmissionSet):
        return submission_set(obj)
    return folder(obj) if isinstance(obj, Folder) else association(obj)


def _identity(id_: str, home: str, lid: str, status: str) -> str:
    return f' id="{id_}"{_attribute("home", home)}{_attribute("lid", lid)}{_attribute("status", status)}'


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(value)}"' if value else ""


def _one(name: str, value: str) -> str:
    if not value:
        return ""
    return f'<rim:Slot name="{name}"><rim:ValueList><rim:Value>{escape(value)}</rim:Value></rim:ValueList></rim:Slot>'


def _slot(name: str, values: Sequence[str]) -> str:
    if not values:
        return ""
    inner = "</rim:Value><rim:Value>".join([escape(v) for v in values])
    return f'<rim:Slot name="{name}"><rim:ValueList><rim:Value>{inner}</rim:Value></rim:ValueList></rim:Slot>'


def _slots(slots: dict[str, list[str]]) -> str:
    """Slots whose names are the sender's; one without values keeps its empty list."""
    if not slots:
        return ""
    return "".join([
        _slot(escape(name), values) or f'<rim:Slot name="{escape(name)}"><rim:ValueList/></rim:Slot>'
        for name, values in slots.items()
    ])


def _text(element: str, texts: Sequence[LocalizedString]) -> str:
    if not texts:
        return ""
    inner = "".join([
        f'<rim:LocalizedString xml:lang="{escape(t.lang)}" charset="{escape(t.charset)}" value="{escape(t.value)}"/>'
        for t in texts
    ])
    return f"<rim:{element}>{inner}</rim:{element}>"


def _version(version: int) -> str:
    return f'<rim:VersionInfo versionName="{version}"/>' if version else ""


def _author(scheme: str, author: Author, owner: str, id_: str) -> str:
    return "".join((
        f'<rim:Classification id="{id_}" classifiedObject="{owner}" classificationScheme="{scheme}"',
        f' nodeRepresentation="" {_CLASSIFICATION_END}>',
        _slot("authorPerson", author.person), _slot("authorInstitution", author.institutions),
        _slot("authorRole", author.roles), _slot("authorSpecialty", author.specialties),
        _slot("authorTelecommunication", author.telecommunications), "</rim:Classification>",
    ))


@lru_cache(maxsize=8192)
def _code_rest(scheme: str, code: Code) -> str:
    """Everything of a code's Classification but the two ids: a value set is small, answers repeat it."""
    name = f'<rim:Name><rim:LocalizedString value="{escape(code.display)}"/></rim:Name>' if code.display else ""
    return (
        f'" classificationScheme="{scheme}" nodeRepresentation="{escape(code.code)}" {_CLASSIFICATION_END}>'
        f'{_one("codingScheme", code.scheme)}{name}</rim:Classification>'
    )


def _code(scheme: str, code: Code | None, owner: str, ids: Iterator[str]) -> str:
    if code is None:
        return ""
    return f'<rim:Classification id="{next(ids)}" classifiedObject="{owner}{_code_rest(scheme, code)}'


def _marker(node: str, owner: str, id_: str) -> str:
    return (
        f'<rim:Classification id="{id_}" classifiedObject="{owner}" classificationNode="{node}"'
        f" {_CLASSIFICATION_END}/>"
    )


def _identifier(scheme: str, label: str, value: str, owner: str, ids: Iterator[str]) -> str:
    if not value:
        return ""
    return (
        f'<rim:ExternalIdentifier id="{next(ids)}" registryObject="{owner}" identificationScheme="{scheme}"'
        f' value="{escape(value)}" {_IDENTIFIER_END}><rim:Name><rim:LocalizedString value="{label}"/></rim:Name>'
        "</rim:ExternalIdentifier>"
    )


def _part_ids(entry_uuid: str) -> Iterator[str]:
    """Ids for the Classifications and ExternalIdentifiers of one object.

    The schema wants them, nobody reads them, so they are not stored: they are derived from the object's own
    id and are the same in every answer. A UUID is counted upwards in its first 32 bits; a symbolic id
    is hashed.
    """
    if _UUID_URN(entry_uuid):
        first, rest = int(entry_uuid[9:17], 16), entry_uuid[17:]
        for n in range(1, DEFAULT.elements):
            yield f"urn:uuid:{(first + n) & 0xFFFFFFFF:08x}{rest}"
    for n in range(1, DEFAULT.elements):
        yield uuid5(NAMESPACE_OID, f"{n} {entry_uuid!a}").urn
