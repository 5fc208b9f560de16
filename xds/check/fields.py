"""Attributes one by one: presence, format, length, value set (R-020 to R-036).

Clause: ITI TF-3 4.2.3, 4.3.1; ITI TF-2 3.42.4.1.3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from xds import namespaces as ns
from xds.check.context import Context, Stage
from xds.errors import ErrorCode, Severity
from xds.model import Association, Author, Code, DocumentEntry, Folder, LocalizedString, SubmissionSet
from xds.model import datatypes as dt

# wire name -> model attribute, clause
ENTRY = {
    "author": ("authors", "ITI TF-3 4.2.3.2.1"),
    "classCode": ("class_code", "ITI TF-3 4.2.3.2.3"),
    "comments": ("comments", "ITI TF-3 4.2.3.2.4"),
    "confidentialityCode": ("confidentiality_codes", "ITI TF-3 4.2.3.2.5"),
    "creationTime": ("creation_time", "ITI TF-3 4.2.3.2.6"),
    "entryUUID": ("entry_uuid", "ITI TF-3 4.2.3.2.7"),
    "eventCodeList": ("event_codes", "ITI TF-3 4.2.3.2.8"),
    "formatCode": ("format_code", "ITI TF-3 4.2.3.2.9"),
    "hash": ("hash", "ITI TF-3 4.2.3.2.10"),
    "healthcareFacilityTypeCode": ("healthcare_facility_type_code", "ITI TF-3 4.2.3.2.11"),
    "homeCommunityId": ("home_community_id", "ITI TF-3 4.2.3.2.12"),
    "languageCode": ("language_code", "ITI TF-3 4.2.3.2.13"),
    "legalAuthenticator": ("legal_authenticator", "ITI TF-3 4.2.3.2.14"),
    "mimeType": ("mime_type", "ITI TF-3 4.2.3.2.15"),
    "patientId": ("patient_id", "ITI TF-3 4.2.3.2.16"),
    "practiceSettingCode": ("practice_setting_code", "ITI TF-3 4.2.3.2.17"),
    "repositoryUniqueId": ("repository_unique_id", "ITI TF-3 4.2.3.2.18"),
    "serviceStartTime": ("service_start_time", "ITI TF-3 4.2.3.2.19"),
    "serviceStopTime": ("service_stop_time", "ITI TF-3 4.2.3.2.20"),
    "size": ("size", "ITI TF-3 4.2.3.2.21"),
    "sourcePatientId": ("source_patient_id", "ITI TF-3 4.2.3.2.22"),
    "sourcePatientInfo": ("source_patient_info", "ITI TF-3 4.2.3.2.23"),
    "title": ("title", "ITI TF-3 4.2.3.2.24"),
    "typeCode": ("type_code", "ITI TF-3 4.2.3.2.25"),
    "uniqueId": ("unique_id", "ITI TF-3 4.2.3.2.26"),
    "URI": ("uri", "ITI TF-3 4.2.3.2.27"),
    "referenceIdList": ("reference_ids", "ITI TF-3 4.2.3.2.28"),
}
SUBMISSION_SET = {
    "author": ("authors", "ITI TF-3 4.2.3.3.1"),
    "comments": ("comments", "ITI TF-3 4.2.3.3.3"),
    "contentTypeCode": ("content_type_code", "ITI TF-3 4.2.3.3.4"),
    "homeCommunityId": ("home_community_id", "ITI TF-3 4.2.3.3.6"),
    "intendedRecipient": ("intended_recipients", "ITI TF-3 4.2.3.3.7"),
    "patientId": ("patient_id", "ITI TF-3 4.2.3.3.8"),
    "sourceId": ("source_id", "ITI TF-3 4.2.3.3.9"),
    "submissionTime": ("submission_time", "ITI TF-3 4.2.3.3.10"),
    "title": ("title", "ITI TF-3 4.2.3.3.11"),
    "uniqueId": ("unique_id", "ITI TF-3 4.2.3.3.12"),
}
FOLDER = {
    "codeList": ("codes", "ITI TF-3 4.2.3.4.2"),
    "comments": ("comments", "ITI TF-3 4.2.3.4.3"),
    "homeCommunityId": ("home_community_id", "ITI TF-3 4.2.3.4.5"),
    "lastUpdateTime": ("last_update_time", "ITI TF-3 4.2.3.4.6"),
    "patientId": ("patient_id", "ITI TF-3 4.2.3.4.7"),
    "title": ("title", "ITI TF-3 4.2.3.4.8"),
    "uniqueId": ("unique_id", "ITI TF-3 4.2.3.4.9"),
}
_ENTRY_REQUIRED = frozenset({
    "classCode", "confidentialityCode", "creationTime", "entryUUID", "formatCode", "hash", "healthcareFacilityTypeCode",
    "languageCode", "mimeType", "patientId", "practiceSettingCode", "repositoryUniqueId", "size", "sourcePatientId",
    "typeCode", "uniqueId",
})
_STABLE_ONLY = frozenset({"creationTime", "hash", "size"})
_SET_BY_REPOSITORY = frozenset({"hash", "size", "repositoryUniqueId"})
_SET_REQUIRED = frozenset({"contentTypeCode", "patientId", "sourceId", "submissionTime", "uniqueId"})
_FOLDER_REQUIRED = frozenset({"codeList", "patientId", "title", "uniqueId"})
_AVAILABILITY = frozenset(
    {"urn:ihe:iti:2010:DocumentAvailability:Online", "urn:ihe:iti:2010:DocumentAvailability:Offline"}
)
_UNWELCOME_PID = frozenset({2, 4, 12, 19})

Attributes = dict[str, tuple[str, str]]


def check_entry(e: DocumentEntry, context: Context) -> None:
    """All rules of one DocumentEntry. Clause: ITI TF-3 4.2.3.2, 4.3.1"""
    field = _Fields(f"DocumentEntry {e.entry_uuid}", ENTRY, context)
    required = _ENTRY_REQUIRED
    if e.object_type == ns.ON_DEMAND:
        required = required - _STABLE_ONLY
        if context.stage is Stage.REGISTER:
            context.add("R-007", field.subject, "objectType", found="an on-demand entry",
                        expected=f"stable entries ({ns.STABLE}) in this transaction")
    if context.stage is Stage.ON_DEMAND:
        required = required - _STABLE_ONLY - {"repositoryUniqueId"}
        _check_on_demand(e, field)
    if context.stage is Stage.PROVIDE:
        required = required - _SET_BY_REPOSITORY
    field.present(e, required, "R-020")
    _check_entry_formats(e, field)
    _check_entry_codes(e, field)
    _check_confidentiality(e, field)
    _check_service_times(e, field)
    _check_patient_info(e.source_patient_info, field)
    _check_texts(field, e.title, 128, e.comments)
    _check_authors(e.authors, field)
    repository = e.repository_unique_id
    if context.repositories and repository and repository not in context.repositories:
        field.add("R-036", "repositoryUniqueId", repository, "a repository this registry knows")


def _check_on_demand(e: DocumentEntry, field: _Fields) -> None:
    """What ITI-61 registers has no content yet, and a repository that will make it (R-130 to R-132).

    Tolerated: legalAuthenticator, which one implementation refuses, because the framework allows it (E-11).
    """
    if e.object_type == ns.STABLE:
        field.add("R-130", "objectType", "a stable entry", f"on-demand entries ({ns.ON_DEMAND}) in this transaction")
    for name, value in (("creationTime", e.creation_time), ("hash", e.hash), ("size", e.size)):
        if not _absent(value):
            field.add("R-131", name, str(value), "no value: the document is made when it is retrieved")
    if not e.repository_unique_id:
        field.add("R-132", "repositoryUniqueId", "", "the repository that makes the document")


def check_submission_set(s: SubmissionSet, context: Context) -> None:
    """All rules of the SubmissionSet. Clause: ITI TF-3 4.2.3.3, 4.3.1"""
    field = _Fields(f"SubmissionSet {s.entry_uuid}", SUBMISSION_SET, context)
    field.present(s, _SET_REQUIRED, "R-021")
    field.test("R-030", "uniqueId", s.unique_id, dt.is_oid, "an OID of at most 64 characters")
    field.test("R-031", "sourceId", s.source_id, dt.is_oid, "an OID of at most 64 characters")
    field.test("R-031", "homeCommunityId", s.home_community_id, dt.is_oid_urn, "urn:oid: and an OID")
    field.test("R-026", "submissionTime", s.submission_time, dt.is_dtm, _DTM)
    field.parse("R-026", "intendedRecipient", s.intended_recipients, dt.Recipient.parse)
    _check_patient_id(s.patient_id, field)
    field.codes("contentTypeCode", "content_type_code", _given(s.content_type_code))
    _check_texts(field, s.title, 255, s.comments)
    _check_authors(s.authors, field)


def check_folder(f: Folder, context: Context) -> None:
    """All rules of one Folder. Clause: ITI TF-3 4.2.3.4, 4.3.1"""
    field = _Fields(f"Folder {f.entry_uuid}", FOLDER, context)
    field.present(f, _FOLDER_REQUIRED, "R-022")
    field.test("R-030", "uniqueId", f.unique_id, dt.is_oid, "an OID of at most 64 characters")
    field.test("R-031", "homeCommunityId", f.home_community_id, dt.is_oid_urn, "urn:oid: and an OID")
    field.test("R-028", "lastUpdateTime", f.last_update_time, lambda t: dt.is_dtm(t) and len(t) == 14,
               "a UTC time to the second, 14 digits")
    _check_patient_id(f.patient_id, field)
    field.codes("codeList", "folder_codes", f.codes)
    _check_texts(field, f.title, 256, f.comments)


def check_documentation(a: Association, context: Context) -> None:
    """The code that explains a relationship is in its value set (R-024). Clause: ITI TF-3 4.2.2"""
    field = _Fields(f"Association {a.entry_uuid}", {"documentation": ("documentation", "ITI TF-3 4.2.2")}, context)
    field.codes("documentation", "association_documentation", _given(a.documentation))


_DTM = "a UTC time of 4, 6, 8, 10, 12 or 14 digits"


class _Fields:
    """Reports on the attributes of one object, each under its own clause."""

    def __init__(self, subject: str, attributes: Attributes, context: Context):
        self.subject, self.attributes, self.context = subject, attributes, context

    def add(self, rule: str, name: str, found: str, expected: str, *, code: ErrorCode | None = None,
            severity: Severity = Severity.ERROR) -> None:
        clause = self.attributes[name][1] if name in self.attributes else ""
        self.context.add(rule, self.subject, name, found=found, expected=expected, clause=clause, code=code,
                         severity=severity)

    def present(self, obj: DocumentEntry | SubmissionSet | Folder, required: frozenset[str], rule: str) -> None:
        """What IHE requires, then what the domain requires beyond it."""
        for name, (attribute, _) in self.attributes.items():
            if name in required and _absent(getattr(obj, attribute)):
                self.add(rule, name, "", "a value: the attribute is required")
        domain = self.context.domain
        optional_now = _SET_BY_REPOSITORY if self.context.stage is Stage.PROVIDE else frozenset()
        extra = domain.required.get(obj.kind, frozenset())
        for name, (attribute, _) in self.attributes.items():
            if attribute in extra and name not in required | optional_now and _absent(getattr(obj, attribute)):
                self.add(rule, name, "", f"a value: the affinity domain {domain.name} requires the attribute")

    def test(self, rule: str, name: str, value: str, accepts: Callable[[str], bool], expected: str) -> None:
        if value and not accepts(value):
            self.add(rule, name, value, expected)

    def parse(self, rule: str, name: str, values: Iterable[str], parse: Callable[[str], object]) -> None:
        for value in values:
            if not value:
                continue
            try:
                parse(value)
            except ValueError as error:
                self.add(rule, name, value, str(error))

    def codes(self, name: str, attribute: str, codes: Sequence[Code]) -> None:
        """Value and scheme are in the value set; display names are never compared (R-024).

        A code that lacks either has been reported where it was read.
        """
        allowed = self.context.domain.codes.get(attribute)
        if allowed is None:
            return
        for code in codes:
            if code.code and code.scheme and code.key not in allowed:
                self.add("R-024", name, f"{code.code} of code system {code.scheme}",
                         f"a code of the value set of {name} ({len(allowed)} codes)")


def _absent(value: object) -> bool:
    """True for nothing given; the number 0 is a value. Texts count by their content."""
    if isinstance(value, list) and value and isinstance(value[0], LocalizedString):
        return not any(t.value.strip() for t in value)
    return value is None or value in ("", [])


def _given(code: Code | None) -> list[Code]:
    return [] if code is None else [code]


def _check_entry_formats(e: DocumentEntry, field: _Fields) -> None:
    field.test("R-030", "uniqueId", e.unique_id, dt.is_identifier, "at most 256 printable characters without spaces")
    field.test("R-031", "repositoryUniqueId", e.repository_unique_id, dt.is_oid, "an OID of at most 64 characters")
    field.test("R-031", "homeCommunityId", e.home_community_id, dt.is_oid_urn, "urn:oid: and an OID")
    field.test("R-032", "hash", e.hash, dt.is_sha1, "40 hex digits, the SHA-1 of the document")
    field.test("R-026", "creationTime", e.creation_time, dt.is_dtm, _DTM)
    field.test("R-026", "serviceStartTime", e.service_start_time, dt.is_dtm, _DTM)
    field.test("R-026", "serviceStopTime", e.service_stop_time, dt.is_dtm, _DTM)
    field.test("R-026", "languageCode", e.language_code, dt.is_language_tag, "an RFC 5646 language tag such as fr-FR")
    field.test("R-026", "mimeType", e.mime_type, dt.is_mime_type, "type/subtype without parameters")
    field.test("R-026", "documentAvailability", e.document_availability, _AVAILABILITY.__contains__,
               " or ".join(sorted(_AVAILABILITY)))
    field.parse("R-026", "legalAuthenticator", [e.legal_authenticator], dt.Xcn.parse)
    field.parse("R-026", "referenceIdList", e.reference_ids, dt.Cxi.parse)
    if e.size is not None and e.size < 0:
        field.add("R-032", "size", str(e.size), "a number of bytes, 0 or more")
    if e.uri:
        field.parse("R-026", "URI", [" ".join(e.uri)], lambda _: dt.join_uri(e.uri))
    _check_patient_id(e.patient_id, field)
    _check_source_patient_id(e.source_patient_id, field)


def _check_entry_codes(e: DocumentEntry, field: _Fields) -> None:
    for name, attribute, codes in (
        ("classCode", "class_code", _given(e.class_code)), ("typeCode", "type_code", _given(e.type_code)),
        ("formatCode", "format_code", _given(e.format_code)),
        ("practiceSettingCode", "practice_setting_code", _given(e.practice_setting_code)),
        ("healthcareFacilityTypeCode", "healthcare_facility_type_code", _given(e.healthcare_facility_type_code)),
        ("confidentialityCode", "confidentiality_codes", e.confidentiality_codes),
        ("eventCodeList", "event_codes", e.event_codes),
    ):
        field.codes(name, attribute, codes)
    allowed = field.context.domain.mime_types
    if allowed and dt.is_mime_type(e.mime_type) and e.mime_type.lower() not in allowed:
        field.add("R-024", "mimeType", e.mime_type, f"one of the {len(allowed)} media types of the affinity domain")


def _check_confidentiality(e: DocumentEntry, field: _Fields) -> None:
    """One base code, and no two that contradict each other, as the domain says (R-024).

    The second does not concern the types no person is shown, such as the signature of a submission.
    """
    domain, keys = field.context.domain, [c.key for c in e.confidentiality_codes]
    base = [key for key in keys if key in domain.base_confidentiality]
    if keys and domain.base_confidentiality and len(base) != 1:
        field.add("R-024", "confidentialityCode", ", ".join(keys),
                  f"exactly one of {', '.join(sorted(domain.base_confidentiality))}")
    if e.type_code is not None and e.type_code.key in domain.unlisted_types:
        return
    for group in domain.conflicting_confidentiality:
        if group <= set(keys):
            field.add("R-024", "confidentialityCode", ", ".join(sorted(group)), "not these codes on one document")


def _check_service_times(e: DocumentEntry, field: _Fields) -> None:
    """Start is not after stop; a short time counts from its first, or to its last, second (R-027)."""
    start, stop = e.service_start_time, e.service_stop_time
    if dt.is_dtm(start) and dt.is_dtm(stop) and dt.dtm_start(start) > dt.dtm_end(stop):
        field.add("R-027", "serviceStartTime", start, f"a time not after serviceStopTime {stop}")


def _check_patient_id(value: str, field: _Fields) -> None:
    """Component 5 only where the domain names its values; 6 and later are then ignored (R-026)."""
    if not value:
        return
    try:
        cx = dt.Cx.parse(value)
    except ValueError as error:
        field.add("R-026", "patientId", value, str(error))
        return
    allowed = field.context.domain.patient_id_type_codes
    if cx.extra and not allowed:
        field.add("R-026", "patientId", value, "nothing after CX.4 in this affinity domain")
    elif cx.type_code and cx.type_code not in allowed:
        field.add("R-026", "patientId", value, f"CX.5 one of {', '.join(sorted(allowed))}")


def _check_source_patient_id(value: str, field: _Fields) -> None:
    """The source names its own kinds of identifier, so where CX.5 is in use any value will do."""
    if not value:
        return
    try:
        cx = dt.Cx.parse(value)
    except ValueError as error:
        field.add("R-026", "sourcePatientId", value, str(error))
        return
    if cx.extra and not field.context.domain.patient_id_type_codes:
        field.add("R-026", "sourcePatientId", value, "nothing after CX.4 in this affinity domain")


def _check_patient_info(values: Sequence[str], field: _Fields) -> None:
    """Shape and repetition refuse; fields that should not be there, or hold something else, only warn (R-034).

    These are traits of a person: what follows the bar is never repeated.
    """
    numbers: Counter[int] = Counter()
    for value in values:
        try:
            pid = dt.PidValue.parse(value)
        except ValueError as error:
            field.add("R-034", "sourcePatientInfo", value.rpartition("|")[0].partition("|")[0], str(error))
            continue
        numbers[pid.number] += 1
        if pid.content and (expected := dt.pid_fault(pid)):
            field.add("R-034", "sourcePatientInfo", f"PID-{pid.number} with another value", expected,
                      severity=Severity.WARNING)
    for number in (7, 8):
        if numbers[number] > 1:
            field.add("R-034", "sourcePatientInfo", f"PID-{number} {numbers[number]} times", "it once")
    for number in sorted(_UNWELCOME_PID & numbers.keys()):
        field.add("R-034", "sourcePatientInfo", f"PID-{number}", "no PID-2, PID-4, PID-12 or PID-19",
                  severity=Severity.WARNING)


def _check_texts(field: _Fields, title: Sequence[LocalizedString], longest: int,
                 comments: Sequence[LocalizedString]) -> None:
    for name, texts, limit in (("title", title, longest), ("comments", comments, 1024)):
        for text in texts:
            if len(text.value) > limit:
                field.add("R-029", name, f"{len(text.value)} characters", f"at most {limit} characters")


def _check_authors(authors: Sequence[Author], field: _Fields) -> None:
    for author in authors:
        if not (author.person or author.institutions or author.telecommunications):
            field.add("R-025", "author", "", "authorPerson, authorInstitution or authorTelecommunication")
        if len(author.person) > 1:
            field.add("R-025", "author", ", ".join(author.person), "at most one authorPerson")
        field.parse("R-026", "author", author.person, dt.Xcn.parse)
        field.parse("R-026", "author", author.institutions, dt.Xon.parse)
        field.parse("R-026", "author", author.telecommunications, dt.Xtn.parse)
