"""ebRIM elements to objects of the metadata model.

Never raises for bad content: what is wrong is reported, what can be kept is kept, so that later checks report
more in the same answer.

Clause: ITI TF-3 4.2.2, 4.2.3
"""

from __future__ import annotations

import re

from lxml import etree

from xds import namespaces as ns
from xds.ebxml.tree import Parts, Report, read_coded, read_parts, read_slots, reference, rim
from xds.errors import Actor, ErrorCode, Severity
from xds.model import Association, Author, Code, DocumentEntry, Folder, SubmissionSet
from xds.rules import problem

_ENTRY_SLOTS = {
    "creationTime": "creation_time", "languageCode": "language_code", "serviceStartTime": "service_start_time",
    "serviceStopTime": "service_stop_time", "sourcePatientId": "source_patient_id",
    "legalAuthenticator": "legal_authenticator", "hash": "hash", "repositoryUniqueId": "repository_unique_id",
    "documentAvailability": "document_availability",
}
_ENTRY_LISTS = {
    "sourcePatientInfo": "source_patient_info", "URI": "uri",
    "urn:ihe:iti:xds:2013:referenceIdList": "reference_ids",
}
_ENTRY_KNOWN = frozenset((*_ENTRY_SLOTS, *_ENTRY_LISTS, "size"))
_ENTRY_CODES = {
    ns.DE_CLASS_CODE: ("classCode", "class_code"), ns.DE_TYPE_CODE: ("typeCode", "type_code"),
    ns.DE_FORMAT_CODE: ("formatCode", "format_code"),
    ns.DE_PRACTICE_SETTING_CODE: ("practiceSettingCode", "practice_setting_code"),
    ns.DE_FACILITY_TYPE_CODE: ("healthcareFacilityTypeCode", "healthcare_facility_type_code"),
}
_ASSOCIATION_SLOTS = frozenset(
    {"SubmissionSetStatus", "PreviousVersion", "AssociationPropagation", "OriginalStatus", "NewStatus"}
)
_IN_BRIEF = frozenset({ns.DE_FORMAT_CODE, ns.DE_CLASS_CODE})
_SET_BY_REPOSITORY = frozenset({"hash", "size", "repositoryUniqueId"})
_MARKERS = {ns.SUBMISSION_SET_NODE: "SubmissionSet", ns.FOLDER_NODE: "Folder"}
_URN = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,31}:\S+", re.IGNORECASE).fullmatch
_OLD_PREFIX = "urn:oasis:names:tc:ebxml-regrep:AssociationType:"
_OLD_TYPES = {
    _OLD_PREFIX + t.rpartition(":")[2]: t for t in (ns.RPLC, ns.XFRM, ns.APND, ns.XFRM_RPLC, ns.SIGNS)
}
_CLASSIFICATION, _SLOT, _VERSION_INFO = rim("Classification"), rim("Slot"), rim("VersionInfo")
_DIGITS = re.compile(r"[0-9]{1,18}").fullmatch


def read_entry(element: etree._Element, report: Report) -> DocumentEntry:
    """``rim:ExtrinsicObject``. Clause: ITI TF-3 4.2.3.2"""
    parts = read_parts(element, f"DocumentEntry {reference(element.get('id'))}", report)
    object_type = reference(element.get("objectType"))
    if object_type not in (ns.STABLE, ns.ON_DEMAND):
        report.add("R-007", parts.subject, "objectType", found=object_type,
                   expected=f"{ns.STABLE} (stable) or {ns.ON_DEMAND} (on-demand)")
    entry = DocumentEntry(
        entry_uuid=parts.id, object_type=object_type, status=reference(element.get("status")),
        logical_id=reference(element.get("lid")), version=_version(parts),
        mime_type=(element.get("mimeType") or "").strip(), home_community_id=reference(element.get("home")),
        unique_id=parts.identifiers.get(ns.DE_UNIQUE_ID, ""), patient_id=parts.identifiers.get(ns.DE_PATIENT_ID, ""),
        title=parts.name, comments=parts.description, authors=_authors(parts, ns.DE_AUTHOR, report),
        confidentiality_codes=_codes(parts, ns.DE_CONFIDENTIALITY_CODE, "confidentialityCode", report),
        event_codes=_codes(parts, ns.DE_EVENT_CODE, "eventCodeList", report), size=_size(parts, report),
        limited_metadata=_limited(parts, ns.DE_LIMITED, report),
        extra_slots=_extra(parts, _ENTRY_KNOWN, report),
    )
    for slot, attribute in _ENTRY_SLOTS.items():
        setattr(entry, attribute, _single(parts, slot, report))
    for slot, attribute in _ENTRY_LISTS.items():
        setattr(entry, attribute, _several(parts, slot))
    for scheme, (name, attribute) in _ENTRY_CODES.items():
        setattr(entry, attribute, _one_code(parts, scheme, name, report))
    return entry


def package_kind(element: etree._Element, beside: list[str], report: Report) -> str:
    """SubmissionSet or Folder, by the marker inside the package or beside it; "" when unclear (R-006).

    ``beside`` lists the classificationNodes of Classifications in the object list that name this package.
    """
    inside = [
        reference(c.get("classificationNode")) for c in element.iterchildren(_CLASSIFICATION)
    ]
    kinds = {_MARKERS[node] for node in (*inside, *beside) if node in _MARKERS}
    if len(kinds) == 1:
        return kinds.pop()
    report.add("R-006", f"RegistryPackage {reference(element.get('id'))}", "classificationNode",
               found=" and ".join(sorted(kinds)),
               expected="a marker Classification: SubmissionSet or Folder, one of them")
    return ""


def read_submission_set(element: etree._Element, report: Report) -> SubmissionSet:
    """``rim:RegistryPackage`` marked as SubmissionSet. Clause: ITI TF-3 4.2.3.3"""
    parts = read_parts(element, f"SubmissionSet {reference(element.get('id'))}", report)
    return SubmissionSet(
        entry_uuid=parts.id, status=reference(element.get("status")), home_community_id=reference(element.get("home")),
        unique_id=parts.identifiers.get(ns.SS_UNIQUE_ID, ""), patient_id=parts.identifiers.get(ns.SS_PATIENT_ID, ""),
        source_id=parts.identifiers.get(ns.SS_SOURCE_ID, ""), submission_time=_single(parts, "submissionTime", report),
        content_type_code=_one_code(parts, ns.SS_CONTENT_TYPE_CODE, "contentTypeCode", report), title=parts.name,
        comments=parts.description, authors=_authors(parts, ns.SS_AUTHOR, report),
        intended_recipients=_several(parts, "intendedRecipient"),
        limited_metadata=_limited(parts, ns.SS_LIMITED, report),
        extra_slots=_extra(parts, frozenset({"submissionTime", "intendedRecipient"}), report),
    )


def read_folder(element: etree._Element, report: Report) -> Folder:
    """``rim:RegistryPackage`` marked as Folder. Clause: ITI TF-3 4.2.3.4"""
    parts = read_parts(element, f"Folder {reference(element.get('id'))}", report)
    return Folder(
        entry_uuid=parts.id, status=reference(element.get("status")), logical_id=reference(element.get("lid")),
        version=_version(parts), home_community_id=reference(element.get("home")),
        unique_id=parts.identifiers.get(ns.FOLDER_UNIQUE_ID, ""),
        patient_id=parts.identifiers.get(ns.FOLDER_PATIENT_ID, ""),
        codes=_codes(parts, ns.FOLDER_CODE_LIST, "codeList", report), title=parts.name, comments=parts.description,
        last_update_time=_single(parts, "lastUpdateTime", report),
        limited_metadata=_limited(parts, ns.FOLDER_LIMITED, report),
        extra_slots=_extra(parts, frozenset({"lastUpdateTime"}), report),
    )


def read_association(element: etree._Element, report: Report) -> Association:
    """``rim:Association``.

    Tolerated: the relationship names of the first XDS profile under the ebXML prefix, because old
    sources still send them; they become today's names.

    Clause: ITI TF-3 4.2.2
    """
    parts = read_parts(element, f"Association {reference(element.get('id'))}", report)
    type_ = (element.get("associationType") or "").strip()
    slots = {name: parts.slots[name] for name in parts.slots if name in _ASSOCIATION_SLOTS}
    return Association(
        entry_uuid=parts.id, type=_OLD_TYPES.get(type_, type_), source=reference(element.get("sourceObject")),
        target=reference(element.get("targetObject")), status=reference(element.get("status")),
        home_community_id=reference(element.get("home")),
        documentation=_one_code(parts, ns.ASSOCIATION_DOCUMENTATION, "documentation", report),
        slots=slots | _extra(parts, _ASSOCIATION_SLOTS, report),
    )


def refuse_update_semantics(element: etree._Element, report: Report, subject: str) -> None:
    """What only a metadata update may carry (R-017).

    Tolerated: ``lid`` equal to ``id`` and version 1 (or the schema's default 1.1), because that is what the
    registry itself gives to an initial version.
    """
    id_, lid = reference(element.get("id")), reference(element.get("lid"))
    if lid and lid != id_:
        report.add("R-017", subject, "lid", found=lid, expected="no lid other than the id in a registration")
    for info in element.iterchildren(_VERSION_INFO):
        version = (info.get("versionName") or "1.1").strip()
        if version not in ("1", "1.1"):
            report.add("R-017", subject, "VersionInfo", found=version, expected="no version in a registration")
    for slot in element.iterchildren(_SLOT):
        if slot.get("name") == "PreviousVersion":
            report.add("R-017", subject, "PreviousVersion", found="slot PreviousVersion",
                       expected="no metadata update in a registration")


def _version(parts: Parts) -> int:
    return int(parts.version) if _DIGITS(parts.version) else 0


def _size(parts: Parts, report: Report) -> int | None:
    """Bytes; a value that is no number is reported here because the model cannot carry it (R-032).

    Tolerated: size 0 beside an empty hash, on its way to the repository: a source that fills its template with
    nothing claims nothing (C-13).
    """
    text = _single(parts, "size", report)
    hashes = parts.slots.get("hash", ["absent"])
    if report.actor is Actor.REPOSITORY and text == "0" and not any(v.strip() for v in hashes):
        return None
    if not text or _DIGITS(text):
        return int(text) if text else None
    report.add("R-032", parts.subject, "size", found=text, expected="digits only, a number of bytes")
    return None


def _single(parts: Parts, name: str, report: Report) -> str:
    """Value of a slot that holds exactly one, trimmed (R-012).

    Tolerated: an empty hash, size or repositoryUniqueId on its way to the repository, which sets them.
    """
    values = [v.strip() for v in parts.slots.get(name, ())]
    if len(values) == 1 and values[0]:
        return values[0]
    if name not in parts.slots:
        return ""
    given = [v for v in values if v]
    replaced = report.actor is Actor.REPOSITORY and name in _SET_BY_REPOSITORY and not given
    if (len(values) != 1 or not given) and not replaced:
        report.add("R-012", parts.subject, name, found=", ".join(values), expected="exactly one value")
    return given[0] if given else ""


def _several(parts: Parts, name: str) -> list[str]:
    """Values of a slot that may hold several; empty ones say nothing and are dropped."""
    return [v for v in parts.slots.get(name, ()) if v.strip()]


def _extra(parts: Parts, known: frozenset[str], report: Report) -> dict[str, list[str]]:
    """Slots of others, kept as received when their name is a URN (R-013)."""
    extra = {}
    for name, values in parts.slots.items():
        if name in known:
            continue
        if not _URN(name):
            report.findings.append(problem(
                "R-013", ErrorCode.XDSExtraMetadataNotSaved, parts.subject, name, found=f"slot {name}",
                expected="an extra slot has a URN as its name; this one is not kept", severity=Severity.WARNING,
            ))
        elif name.lower().startswith("urn:ihe:"):
            report.add("R-013", parts.subject, name, found=f"slot {name}",
                       expected="a slot IHE defines; names under urn:ihe: are reserved")
        else:
            extra[name] = values
    return extra


def _limited(parts: Parts, node: str, report: Report) -> bool:
    """The limited metadata flag, which XDS does not accept (R-014)."""
    if node not in parts.nodes and node not in parts.schemes:
        return False
    report.add("R-014", parts.subject, "limitedMetadata", found="the limited metadata flag",
               expected="complete metadata")
    return True


def _one_code(parts: Parts, scheme: str, name: str, report: Report) -> Code | None:
    codes = _codes(parts, scheme, name, report)
    if len(codes) > 1:
        report.add("R-015", parts.subject, name, found=", ".join(c.key for c in codes), expected="one code")
    return codes[0] if codes else None


def _codes(parts: Parts, scheme: str, name: str, report: Report) -> list[Code]:
    if report.brief and scheme not in _IN_BRIEF:
        return []
    return [_code(element, parts.subject, name, report) for element in parts.schemes.get(scheme, ())]


def _code(element: etree._Element, subject: str, name: str, report: Report) -> Code:
    """One coded value; each part that is missing is reported (R-023)."""
    code = (element.get("nodeRepresentation") or "").strip()
    display, slots = read_coded(element, subject, name, report)
    schemes = [v.strip() for v in slots.get("codingScheme", ())]
    if not code:
        report.add("R-023", subject, f"{name}/@nodeRepresentation", expected="a code")
    if len(schemes) != 1 or not schemes[0]:
        report.add("R-023", subject, f"{name}/codingScheme", found=", ".join(schemes), expected="exactly one value")
    if not display.strip():
        report.add("R-023", subject, f"{name}/Name", expected="a display name")
    return Code(code, schemes[0] if schemes else "", display)


def _authors(parts: Parts, scheme: str, report: Report) -> list[Author]:
    if report.brief:
        return []
    return [_author(element, parts.subject, report) for element in parts.schemes.get(scheme, ())]


def _author(element: etree._Element, subject: str, report: Report) -> Author:
    code = (element.get("nodeRepresentation") or "").strip()
    if code:
        report.add("R-025", subject, "author/@nodeRepresentation", found=code, expected="an empty value")
    slots = read_slots(element, subject, "author", report)
    person, institutions, roles, specialties, telecommunications = (
        [v for v in slots.get(name, ()) if v.strip()]
        for name in ("authorPerson", "authorInstitution", "authorRole", "authorSpecialty", "authorTelecommunication")
    )
    return Author(person=person, institutions=institutions, roles=roles, specialties=specialties,
                  telecommunications=telecommunications)
