"""A CDA R2 document that lists documents: header, one table for people, one reference a document for programs.

Everything written here comes from metadata that others have submitted, so nothing of it is trusted to have the form
CDA wants: what does not fit is written as text, or as a nullFlavor.

Clause: HL7 CDA R2; CI-SIS Structuration minimale 3.5
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lxml import etree

from repository.on_demand import OnDemandRequest
from xds.model import Code, DocumentEntry, hl7
from xds.model import datatypes as dt
from xds.namespaces import HL7

BASE_CONFIDENTIALITY = "2.16.840.1.113883.5.25"
LOINC, GENDERS = "2.16.840.1.113883.6.1", "2.16.840.1.113883.5.1"
LINKED_DOCUMENTS = Code("55107-7", LOINC, "Addendum")
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TOKEN = re.compile(r"[^\s]+").fullmatch


@dataclass(frozen=True, slots=True)
class Words:
    """What a reader sees, in one language."""

    title: str
    columns: tuple[str, str, str, str, str]
    empty: str
    more: str


_FRENCH = Words(
    "Synthèse des derniers documents du dossier",
    ("Date", "Titre", "Type", "Auteur", "Structure"),
    "Aucun document visible par le destinataire.",
    "Documents que le destinataire pouvait trouver dans le dossier, du plus récent au plus ancien.",
)
_ENGLISH = Words(
    "Summary of the latest documents of the record",
    ("Date", "Title", "Type", "Author", "Organisation"),
    "No document that the recipient may see.",
    "Documents that the recipient could find in the record, newest first.",
)


def words_of(language: str) -> Words:
    """French for ``fr`` and its regions, English for all others."""
    return _FRENCH if language.lower().partition("-")[0] == "fr" else _ENGLISH


def summary(request: OnDemandRequest, listed: Sequence[DocumentEntry], custodian: str) -> bytes:
    """The whole document, UTF-8 with a declaration. ``custodian`` is the OID of the repository."""
    entry, words = request.entry, words_of(request.entry.language_code)
    now = f"{dt.dtm_text(request.moment)}+0000"
    root = etree.fromstring(f'<ClinicalDocument xmlns="{HL7}"/>')
    _add(root, "realmCode", code="FR")
    _add(root, "typeId", root="2.16.840.1.113883.1.3", extension="POCD_HD000040")
    for template in ("2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.1"):
        _add(root, "templateId", root=template)
    _add(root, "id", root=request.unique_id)
    _coded(root, "code", entry.type_code)
    _text(root, "title", (entry.title[0].value if entry.title else words.title)[:128])
    _add(root, "effectiveTime", value=now)
    base = next((c for c in entry.confidentiality_codes if c.scheme == BASE_CONFIDENTIALITY), None)
    _coded(root, "confidentialityCode", base or Code("N", BASE_CONFIDENTIALITY, "Normal"))
    _add(root, "languageCode", code=entry.language_code)
    _add(root, "setId", root=request.unique_id)
    _add(root, "versionNumber", value="1")
    _patient(root, entry)
    _author(root, entry, now, custodian)
    _recipient(root, request)
    _authenticator(root, entry, now)
    _service(root, entry, listed, custodian)
    _encounter(root, entry)
    _body(root, words, listed, custodian)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


# -- header -----------------------------------------------------------------------------------------------------------


def _patient(root: etree._Element, entry: DocumentEntry) -> None:
    """Identifiers of the record and of the source, and the traits the on-demand entry was registered with."""
    role = _add(_add(root, "recordTarget"), "patientRole")
    for text in dict.fromkeys((entry.patient_id, entry.source_patient_id)):
        try:
            cx = dt.Cx.parse(text)
        except ValueError:
            continue
        _identifier(role, cx.id, cx.authority)
    if not len(role):
        _add(role, "id", nullFlavor="UNK")
    traits = _traits(entry.source_patient_info)
    patient = _add(role, "patient")
    name = _add(patient, "name")
    for tag, value in zip(("family", "given"), traits.get(5, "").split("^"), strict=False):
        if value:
            _text(name, tag, hl7.unescape(value))
    if not len(name):
        name.set("nullFlavor", "UNK")
    gender = {"M": "M", "F": "F"}.get(traits.get(8, ""), "UN")
    _add(patient, "administrativeGenderCode", code=gender, codeSystem=GENDERS)
    born = traits.get(7, "")[:8]
    _add(patient, "birthTime", **({"value": born} if dt.is_dtm(born) else {"nullFlavor": "UNK"}))


def _traits(values: Iterable[str]) -> Mapping[int, str]:
    """PID field number to its value, as submitted."""
    found: dict[int, str] = {}
    for value in values:
        try:
            pid = dt.PidValue.parse(value)
        except ValueError:
            continue
        found.setdefault(pid.number, pid.content)
    return found


def _author(root: etree._Element, entry: DocumentEntry, now: str, custodian: str) -> None:
    """Made by a program; kept by the organisation of the on-demand entry."""
    author = _add(root, "author")
    _add(author, "time", value=now)
    assigned = _add(author, "assignedAuthor")
    _add(assigned, "id", root=custodian)
    device = _add(assigned, "assignedAuthoringDevice")
    _text(device, "manufacturerModelName", "Carnet")
    _text(device, "softwareName", "Carnet")
    _organization(_add(assigned, "representedOrganization"), entry, custodian)
    keeper = _add(_add(root, "custodian"), "assignedCustodian")
    _organization(_add(keeper, "representedCustodianOrganization"), entry, custodian)


def _organization(element: etree._Element, entry: DocumentEntry, custodian: str) -> None:
    for author in entry.authors:
        for institution in author.institutions:
            try:
                xon = dt.Xon.parse(institution)
            except ValueError:
                continue
            if xon.id:
                _identifier(element, xon.id, xon.authority.universal_id or custodian)
            else:
                _add(element, "id", root=custodian)
            _text(element, "name", xon.name)
            return
    _add(element, "id", root=custodian)


def _recipient(root: etree._Element, request: OnDemandRequest) -> None:
    """For whom it was made: the list holds what this person might see."""
    if not request.caller.identifier:
        return
    intended = _add(_add(root, "informationRecipient"), "intendedRecipient")
    _identifier(intended, request.caller.identifier, "1.2.250.1.71.4.2.1")
    if request.caller.name:
        person = _add(intended, "informationRecipient")
        _text(person, "name", request.caller.name)


def _authenticator(root: etree._Element, entry: DocumentEntry, now: str) -> None:
    """Who had the on-demand entry registered answers for what is made of it."""
    try:
        xcn = dt.Xcn.parse(entry.legal_authenticator)
    except ValueError:
        return
    authenticator = _add(root, "legalAuthenticator")
    _add(authenticator, "time", value=now)
    _add(authenticator, "signatureCode", code="S")
    _person(_add(authenticator, "assignedEntity"), xcn)


def _person(entity: etree._Element, xcn: dt.Xcn) -> None:
    _identifier(entity, xcn.id or xcn.family, xcn.authority.universal_id)
    if xcn.family or xcn.given:
        name = _add(_add(entity, "assignedPerson"), "name")
        for tag, value in (("family", xcn.family), ("given", xcn.given)):
            if value:
                _text(name, tag, value)


def _service(root: etree._Element, entry: DocumentEntry, listed: Sequence[DocumentEntry], custodian: str) -> None:
    """The time that the listed documents span."""
    event = _add(_add(root, "documentationOf"), "serviceEvent")
    starts = sorted(filter(dt.is_dtm, (e.service_start_time or e.creation_time for e in [entry, *listed])))
    time = _add(event, "effectiveTime")
    _add(time, "low", **({"value": _moment(starts[0])} if starts else {"nullFlavor": "UNK"}))
    performer = _add(_add(event, "performer", typeCode="PRF"), "assignedEntity")
    _add(performer, "id", root=custodian)
    organization = _add(performer, "representedOrganization")
    _organization(organization, entry, custodian)
    _coded(organization, "standardIndustryClassCode", entry.practice_setting_code)


def _encounter(root: etree._Element, entry: DocumentEntry) -> None:
    encounter = _add(_add(root, "componentOf"), "encompassingEncounter")
    _add(encounter, "effectiveTime", nullFlavor="UNK")
    facility = _add(_add(encounter, "location"), "healthCareFacility")
    _coded(facility, "code", entry.healthcare_facility_type_code)


# -- body -------------------------------------------------------------------------------------------------------------


def _body(root: etree._Element, words: Words, listed: Sequence[DocumentEntry], custodian: str) -> None:
    section = _add(_add(_add(_add(root, "component"), "structuredBody"), "component"), "section")
    _coded(section, "code", LINKED_DOCUMENTS)
    _text(section, "title", words.title)
    text = _add(section, "text")
    _text(text, "paragraph", words.more if listed else words.empty)
    if not listed:
        return
    table = _add(text, "table")
    head = _add(_add(table, "thead"), "tr")
    for column in words.columns:
        _text(head, "th", column)
    rows = _add(table, "tbody")
    for number, entry in enumerate(listed, 1):
        row = _add(rows, "tr", ID=f"document-{number}")
        for cell in _cells(entry):
            _text(row, "td", cell)
        _reference(section, number, entry, custodian)


def _cells(entry: DocumentEntry) -> tuple[str, str, str, str, str]:
    people, places = [], []
    for author in entry.authors:
        for person in author.person[:1]:
            try:
                xcn = dt.Xcn.parse(person)
            except ValueError:
                continue
            people.append(" ".join(filter(None, (xcn.given, xcn.family))) or xcn.id)
        places += [institution.partition("^")[0] for institution in author.institutions[:1]]
    time = entry.service_start_time or entry.creation_time
    day = "-".join(filter(None, (time[:4], time[4:6], time[6:8])))
    title = entry.title[0].value if entry.title else ""
    kind = (entry.type_code.display or entry.type_code.code) if entry.type_code else ""
    return day, title, kind, ", ".join(people), ", ".join(places)


def _reference(section: etree._Element, number: int, entry: DocumentEntry, custodian: str) -> None:
    """One document for programs: type, time, and the identifier to retrieve it by."""
    act = _add(_add(section, "entry"), "act", classCode="ACT", moodCode="EVN")
    _coded(act, "code", entry.type_code)
    _add(_add(act, "text"), "reference", value=f"#document-{number}")
    _add(act, "statusCode", code="completed")
    time = entry.service_start_time or entry.creation_time
    _add(act, "effectiveTime", **({"value": _moment(time)} if dt.is_dtm(time) else {"nullFlavor": "UNK"}))
    document = _add(_add(act, "reference", typeCode="REFR"), "externalDocument", classCode="DOCCLIN", moodCode="EVN")
    root, _, extension = entry.unique_id.partition("^")
    if dt.is_oid(root):
        _identifier(document, extension, root)
    else:
        _identifier(document, entry.unique_id, entry.repository_unique_id or custodian)
    _coded(document, "code", entry.type_code)


# -- building ---------------------------------------------------------------------------------------------------------


def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{HL7}}}{tag}", {k: _clean(v) for k, v in attributes.items()})


def _text(parent: etree._Element, tag: str, text: str) -> None:
    _add(parent, tag).text = _clean(text)


def _clean(text: str) -> str:
    return _ILLEGAL.sub("", text)


def _coded(parent: etree._Element, tag: str, code: Code | None) -> None:
    """A code with its system; one that CDA cannot carry is kept as text."""
    if code is None:
        _add(parent, tag, nullFlavor="UNK")
    elif _TOKEN(code.code) and dt.is_oid(code.scheme):
        shown = {"displayName": code.display} if code.display.strip() else {}
        _add(parent, tag, code=code.code, codeSystem=code.scheme, **shown)
    else:
        _text(_add(parent, tag, nullFlavor="OTH"), "originalText", code.display or code.code)


def _identifier(parent: etree._Element, extension: str, authority: str) -> None:
    """II: an authority that is no OID leaves the identifier without one."""
    where = {"root": authority} if dt.is_oid(authority) else {"nullFlavor": "UNK"}
    _add(parent, "id", **where, **({"extension": extension} if extension else {}))


def _moment(time: str) -> str:
    """DTM to TS, precision kept: a day has no time zone, a time is UTC."""
    return time if len(time) <= 8 else f"{time}+0000"
