"""From CDA headers to the submission that publishes the documents.

The mapping is table driven: which type has which class, which template which format, is data of the affinity
domain. Everything that is missing is reported at once, with its XPath.

Clause: CI-SIS Structuration minimale 3.5; ITI TF-3 4.2.3.2
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from conformance.cda_header import Actor, CdaError, CdaHeader, Identifier, Name, Problem, ServiceEvent, read_cda
from conformance.overrides import OverrideError, Overrides, overrides_from, read_overrides
from xds import ins
from xds import namespaces as ns
from xds.domain import DEFAULT, AffinityDomain
from xds.model import Association, Author, Code, DocumentEntry, LocalizedString, Submission, SubmissionSet
from xds.model.hl7 import escape

__all__ = [
    "CdaError", "CdaHeader", "OverrideError", "Overrides", "Problem", "overrides_from", "read_cda", "read_overrides",
    "to_submission",
]  # fmt: skip

PROFESSIONALS = "1.2.250.1.71.4.2.1"
"""Authority of PS_IdNat."""
STRUCTURES = "1.2.250.1.71.4.2.2"
"""Authority of Struct_IdNat."""
MINIMUM = "CI-SIS Structuration minimale 3.5"
TITLE_LENGTH = 128
_TS = re.compile(r"(\d{4,14})(?:\.\d+)?(?:([+-])(\d{2})(\d{2})?)?")


def to_submission(
    headers: CdaHeader | Sequence[CdaHeader],
    *,
    domain: AffinityDomain,
    source_id: str,
    overrides: Overrides | None = None,
    targets: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Submission:
    """One submission set with one entry per document, ready for ITI-41.

    ``source_id`` is the OID of the sending system. ``targets`` maps the uniqueId of a replaced document
    (``CdaHeader.replaces``) to its entryUUID: a document whose predecessor is in it gets a RPLC association.
    Symbolic ids are ``SubmissionSet01``, ``Document01``…; the set's uniqueId follows from source, document ids
    and hashes, so that sending the same again is recognised as the same. Raises CdaError listing all problems.
    """
    documents = [headers] if isinstance(headers, CdaHeader) else list(headers)
    if not documents:
        raise CdaError("submission", [Problem("document", "", "none given")])
    wanted = overrides or Overrides()
    mappings = [_Mapping(header, domain, wanted) for header in documents]
    entries = [mapping.entry(f"Document{n:02d}") for n, mapping in enumerate(mappings, 1)]
    problems = [problem for mapping in mappings for problem in mapping.problems]
    if len({entry.patient_id for entry in entries}) > 1:
        problems.append(Problem("patientId", "", "the documents belong to different patients"))
    if problems:
        raise CdaError(", ".join(header.source for header in documents), problems)
    submission_set = SubmissionSet(
        entry_uuid="SubmissionSet01",
        unique_id=submission_unique_id(source_id, documents),
        patient_id=entries[0].patient_id,
        source_id=source_id,
        submission_time=(now or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%d%H%M%S"),
        content_type_code=wanted.content_type_code or _content_type(entries[0], domain),
        title=_localized(wanted.submission_title, entries[0].language_code),
        authors=entries[0].authors[:1],
        intended_recipients=list(wanted.intended_recipients),
    )
    associations = [_member(entry, n) for n, entry in enumerate(entries, 1)]
    associations += _replacements(documents, entries, targets or {})
    return Submission(submission_set, entries, [], associations)


def submission_unique_id(source_id: str, documents: Iterable[CdaHeader]) -> str:
    """An OID under 2.25, at most 64 characters, the same for the same source, document ids and bytes."""
    content = "|".join([source_id, *(f"{header.unique_id}={header.hash}" for header in documents)])
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, content).int}"


def to_utc(value: str) -> str:
    """HL7 ``TS`` to DTM: UTC, no offset, no fraction, precision kept; "" for what is not a time.

    A date alone stays as it is. Tolerated: a time without offset, read as UTC, because the document does not
    say where it was written.
    """
    match = _TS.fullmatch(value.strip())
    if not match or len(match[1]) % 2:
        return ""
    digits, sign, hours, minutes = match.groups()
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S"[: len(digits) - 2])
    except ValueError:
        return ""
    if len(digits) <= 8 or not sign:
        return digits
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    try:
        moment -= offset if sign == "+" else -offset
    except OverflowError:
        return ""
    precision = 12 if len(digits) == 10 and offset.seconds % 3600 else len(digits)
    return moment.strftime("%Y%m%d%H%M%S")[:precision]


# --- one document ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Mapping:
    """The step from one header to one DocumentEntry; ``problems`` fills as it goes."""

    header: CdaHeader
    domain: AffinityDomain
    wanted: Overrides
    problems: list[Problem] = field(default_factory=list)

    def entry(self, entry_uuid: str) -> DocumentEntry:
        header, wanted = self.header, self.wanted
        main = _main_event(header.service_events)
        patient_id = wanted.patient_id or self._patient_id()
        language = wanted.language_code or self._needed(header.language, "languageCode", "languageCode/@code")
        entry = DocumentEntry(
            entry_uuid=entry_uuid,
            mime_type=wanted.mime_type or header.mime_type,
            unique_id=self._needed(header.unique_id, "uniqueId", "id/@root"),
            patient_id=patient_id,
            source_patient_id=wanted.source_patient_id or self._source_patient_id() or patient_id,
            source_patient_info=self._patient_info(),
            title=_localized(self._title(), language),
            comments=_localized(wanted.comments, language),
            authors=self._authors(),
            class_code=wanted.class_code or self._class_code(),
            type_code=self._type_code(),
            format_code=wanted.format_code or self._format_code(),
            practice_setting_code=wanted.practice_setting_code or self._practice_setting(main),
            healthcare_facility_type_code=wanted.healthcare_facility_type_code or self._facility(),
            confidentiality_codes=self._confidentiality(),
            event_codes=self._event_codes(),
            creation_time=wanted.creation_time or self._time(header.effective_time, "creationTime", "effectiveTime"),
            service_start_time=wanted.service_start_time or self._service_start(main),
            service_stop_time=wanted.service_stop_time or (to_utc(main.stop) if main else ""),
            language_code=language,
            legal_authenticator=wanted.legal_authenticator or self._legal_authenticator(),
            hash=header.hash,
            size=header.size,
            reference_ids=list(wanted.reference_ids),
        )
        return entry

    def _problem(self, item: str, path: str, reason: str) -> None:
        xpath = f"/ClinicalDocument/{path}" if path else ""
        self.problems.append(Problem(item, xpath, reason, MINIMUM))

    def _needed(self, value: str, item: str, path: str) -> str:
        if not value:
            self._problem(item, path, "missing")
        return value

    def _is_required(self, attribute: str) -> bool:
        return attribute in self.domain.required.get("DocumentEntry", frozenset())

    def _time(self, value: str, item: str, path: str) -> str:
        moment = to_utc(value)
        if not moment:
            self._problem(item, f"{path}/@value", f"{value!r} is not an HL7 time" if value else "missing")
        return moment

    # patient

    def _patient_id(self) -> str:
        """The identifier of the best authority this domain knows, chosen by @root and never by position."""
        found = [i for i in self.header.patient_ids if i.extension and self._is_known(i.root)]
        if not found:
            roots = ", ".join(i.root for i in self.header.patient_ids) or "none"
            reason = f"no identifier of an assigning authority of domain {self.domain.name} (found {roots})"
            self._problem("patientId", "recordTarget/patientRole/id", reason)
            return ""
        order = list(self.domain.type_of_authority)
        best = min(found, key=lambda i: order.index(i.root) if i.root in order else len(order))
        return _cx(best, self.domain.type_of_authority.get(best.root, ""))

    def _is_known(self, root: str) -> bool:
        return not self.domain.assigning_authorities or root in self.domain.assigning_authorities

    def _source_patient_id(self) -> str:
        """The first local identifier, "" when the header has none."""
        national = {*self.domain.assigning_authorities, *ins.AUTHORITIES}
        local = [i for i in self.header.patient_ids if i.extension and i.root not in national]
        return _cx(local[0], "PI" if self.domain.patient_id_type_codes else "") if local else ""

    def _patient_info(self) -> list[str]:
        name = self.header.patient_name
        family, given = Name.pick(name.families, "BR", ""), Name.pick(name.givens, "BR", "")
        if not family and self._is_required("source_patient_info"):
            self._problem("sourcePatientInfo PID-5", "recordTarget/patientRole/patient/name/family", "missing")
        born = self.header.birth_time[:8]
        gender = {"M": "M", "F": "F"}.get(self.header.gender, "U")
        info = [f"PID-5|{escape(family)}^{escape(given)}^^^^^L"] if family or given else []
        return info + ([f"PID-7|{born}"] if born.isdigit() else []) + [f"PID-8|{gender}"]

    # document

    def _title(self) -> str:
        title = self.wanted.title or self.header.title
        if not title and self._is_required("title"):
            self._problem("title", "title", "missing")
        return title[:TITLE_LENGTH]

    def _type_code(self) -> Code | None:
        code = self.wanted.type_code or self.header.type_code
        if code is None:
            self._problem("typeCode", "code", "missing, or without codeSystem")
            return None
        return self._shown(code, "type_code")

    def _class_code(self) -> Code | None:
        """By the domain's table; a domain without one takes the type for the class."""
        type_code = self.wanted.type_code or self.header.type_code
        if type_code is None:
            return None
        key = _row(self.domain.class_of_type, type_code.key) or type_code.key
        return self._shown(self.domain.code("class_code", key), "class_code")

    def _format_code(self) -> Code | None:
        """Level 1 by the media type of its body, else by the most specific templateId the table knows."""
        domain, header = self.domain, self.header
        if header.is_structured:
            known = [t for t in reversed(header.templates) if t in domain.format_of_template]
            key = _row(domain.format_of_template, known[0] if known else "")
            path, found = "templateId/@root", ", ".join(header.templates)
        else:
            key = _row(domain.format_of_media, header.body_media_type)
            path, found = "component/nonXMLBody/text/@mediaType", header.body_media_type
        if not key:
            reason = f"no format known for {found or 'none'}; give an override format_code"
            self._problem("formatCode", path, reason)
            return None
        return domain.code("format_code", key)

    def _practice_setting(self, main: ServiceEvent | None) -> Code | None:
        if main is None or main.practice_setting is None:
            path = (
                "documentationOf/serviceEvent/performer/assignedEntity/representedOrganization"
                "/standardIndustryClassCode"
            )
            self._problem("practiceSettingCode", path, "missing")
            return None
        return self._shown(main.practice_setting, "practice_setting_code")

    def _facility(self) -> Code | None:
        if self.header.facility is None:
            path = "componentOf/encompassingEncounter/location/healthCareFacility/code"
            self._problem("healthcareFacilityTypeCode", path, "missing")
            return None
        return self._shown(self.header.facility, "healthcare_facility_type_code")

    def _confidentiality(self) -> list[Code]:
        """The one HL7 code of the header, then the flags the submitter asks for; flags are never in the CDA."""
        base = self.wanted.confidentiality_code or self.header.confidentiality
        if base is None:
            self._problem("confidentialityCode", "confidentialityCode", "missing")
            return []
        domain, keys = self.domain, [base.key]
        only_representatives = domain.hidden_from_representatives - domain.hidden_from_patient
        for name, codes in (
            ("masked", domain.hidden_from_professionals),
            ("invisible_to_patient", domain.hidden_from_patient),
            ("invisible_to_representatives", only_representatives),
        ):
            if getattr(self.wanted, name):
                keys += sorted(codes)
                if not codes:
                    self._problem(f"override {name}", "", f"domain {domain.name} has no confidentiality code for it")
        for group in domain.conflicting_confidentiality:
            if group <= set(keys):
                self._problem("confidentialityCode", "", f"{' and '.join(sorted(group))} may not stand together")
        flags = [domain.code("confidentiality_codes", key) for key in keys[1:]]
        return [self._shown(base, "confidentiality_codes"), *flags]

    def _event_codes(self) -> list[Code]:
        codes = [event.code for event in self.header.service_events if event.code is not None]
        unique = {code.key: code for code in [*codes, *self.wanted.event_codes]}
        return [self._shown(code, "event_codes") for code in unique.values()]

    def _service_start(self, main: ServiceEvent | None) -> str:
        if main is not None and main.start:
            return self._time(main.start, "serviceStartTime", "documentationOf/serviceEvent/effectiveTime")
        if self._is_required("service_start_time"):
            self._problem("serviceStartTime", "documentationOf/serviceEvent/effectiveTime", "missing")
        return ""

    def _shown(self, code: Code, attribute: str) -> Code:
        """The code with a display name: its own, else the domain's, else the value itself."""
        return code if code.display else self.domain.code(attribute, code.key)

    # people

    def _authors(self) -> list[Author]:
        if not self.header.authors:
            self._problem("author", "author", "missing")
        authors = [_author(actor, self.domain) for actor in self.header.authors]
        for n, author in enumerate(authors, 1):
            if not author.person and not author.institutions:
                self._problem("authorPerson", f"author[{n}]/assignedAuthor", "neither an identifier nor a name")
        if authors and self.wanted.author_role:
            authors[0].roles = [self.wanted.author_role]
        return authors

    def _legal_authenticator(self) -> str:
        actor = self.header.legal_authenticator
        person = _xcn(actor) if actor else ""
        if not person and self._is_required("legal_authenticator"):
            self._problem("legalAuthenticator", "legalAuthenticator/assignedEntity", "missing")
        return person


def _main_event(events: Sequence[ServiceEvent]) -> ServiceEvent | None:
    """The event whose performer names the practice setting, else the first with a time, else the first."""
    ranked = [e for e in events if e.practice_setting is not None] or [e for e in events if e.start] or list(events)
    return ranked[0] if ranked else None


def _row(table: Mapping[str, str], key: str) -> str:
    return table.get(key) or table.get(DEFAULT, "")


def _content_type(entry: DocumentEntry, domain: AffinityDomain) -> Code | None:
    """By facility, else by practice setting, else the default row; None where the domain has no table."""
    table = domain.content_type_of_setting
    for setting in (entry.healthcare_facility_type_code, entry.practice_setting_code):
        if setting is not None and setting.key in table:
            return domain.code("content_type_code", table[setting.key])
    return domain.code("content_type_code", table[DEFAULT]) if DEFAULT in table else None


# --- HL7 forms -------------------------------------------------------------------------------------------------------


def _cx(identifier: Identifier, type_code: str) -> str:
    """Clause: ITI TF-3 4.2.3.1.7 (CX); the type code only where the domain has one."""
    return f"{escape(identifier.extension)}^^^&{identifier.root}&ISO" + (f"^{type_code}" if type_code else "")


def _person_identifier(identifiers: Sequence[Identifier]) -> Identifier | None:
    """The national identifier of a professional, else an INS, else the first."""
    for roots in ((PROFESSIONALS,), ins.AUTHORITIES):
        for identifier in identifiers:
            if identifier.root in roots and identifier.extension:
                return identifier
    return identifiers[0] if identifiers else None


def _identifier_type(identifier: Identifier, is_device: bool) -> str:
    """XCN-13: a system, a patient (INS), an internal identifier, a national one."""
    if is_device:
        return "RI"
    if identifier.root in ins.AUTHORITIES:
        return "INS-C" if identifier.root == ins.INS_C else "NH"
    return "IDNPS" if identifier.root == PROFESSIONALS and "/" not in identifier.extension else "EI"


def _xcn(actor: Actor) -> str:
    """XCN of a person or a system, "" when neither identified nor named. Clause: ITI TF-3 4.2.3.1.7 (XCN)"""
    identifier = _person_identifier(actor.identifiers)
    if actor.is_device:
        family, given, kind = actor.model or actor.software, actor.software if actor.model else "", "U"
    else:
        family, given = Name.pick(actor.name.families, "CL", "SP", ""), Name.pick(actor.name.givens, "CL", "")
        kind = "D"
    if not family and identifier is None:
        return ""
    value = authority = id_type = ""
    if identifier is not None:
        value = identifier.extension or identifier.root
        authority = f"&{identifier.root}&ISO" if identifier.extension else ""
        id_type = _identifier_type(identifier, actor.is_device)
    names = [escape(value), escape(family), escape(given)]
    return "^".join([*names, "", "", "", "", "", authority, kind, "", "", id_type]).rstrip("^")


def _xon(actor: Actor) -> str:
    """XON of the represented organisation, "" when it is not given. Clause: ITI TF-3 4.2.3.1.7 (XON)"""
    identified = [i for i in actor.organization_ids if i.extension]
    national = [i for i in identified if i.root == STRUCTURES]
    chosen = next(iter(national or identified), None)
    name = actor.organization_name or (chosen.extension if chosen else "")
    if not name:
        return ""
    if chosen is None:
        return escape(name)
    id_type = "IDNST" if chosen.root == STRUCTURES else ""
    return f"{escape(name)}^^^^^&{chosen.root}&ISO^{id_type}^^^{escape(chosen.extension)}"


def _author(actor: Actor, domain: AffinityDomain) -> Author:
    identifier = _person_identifier(actor.identifiers)
    is_patient = identifier is not None and identifier.root in ins.AUTHORITIES
    person, institution = _xcn(actor), "" if is_patient else _xon(actor)
    profession, role = actor.profession, ""
    if actor.function is not None:
        role = actor.function.display or domain.role_of_function.get(actor.function.key, "")
    specialty = ""
    if profession is not None:
        display = profession.display or profession.code
        specialty = f"{escape(profession.code)}^{escape(display)}^{profession.scheme}"
    return Author(
        person=[person] if person else [],
        institutions=[institution] if institution else [],
        roles=[role] if role else [],
        specialties=[specialty] if specialty else [],
    )


# --- the submission around it ----------------------------------------------------------------------------------------


def _localized(text: str, language: str) -> list[LocalizedString]:
    return [LocalizedString(text, language or "fr-FR")] if text else []


def _member(entry: DocumentEntry, number: int) -> Association:
    return Association(
        entry_uuid=f"Membership{number:02d}",
        type=ns.HAS_MEMBER,
        source="SubmissionSet01",
        target=entry.entry_uuid,
        slots={"SubmissionSetStatus": ["Original"]},
    )


def _replacements(
    headers: Sequence[CdaHeader], entries: Sequence[DocumentEntry], targets: Mapping[str, str]
) -> list[Association]:
    pairs = [(e, targets[h.replaces]) for h, e in zip(headers, entries, strict=True) if h.replaces in targets]
    return [
        Association(entry_uuid=f"Replacement{n:02d}", type=ns.RPLC, source=entry.entry_uuid, target=target)
        for n, (entry, target) in enumerate(pairs, 1)
    ]
