"""Error codes of the framework, and the one shape in which every check reports.

A check never raises for what the sender did wrong: it appends a ``Finding`` and
goes on, so that one answer lists every problem. ``Refused`` carries the findings
out of a transaction; the service turns them into a ``rs:RegistryErrorList``.

Clause: ITI TF-3 4.2.4.1
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Codes of table 4.2.4.1-2; the value is what goes on the wire."""

    InvalidDocumentContent = "InvalidDocumentContent"
    LocalPolicyRestrictionError = "LocalPolicyRestrictionError"
    ReferencesExistException = "ReferencesExistException"
    UnmodifiableMetadataError = "UnmodifiableMetadataError"
    UnresolvedReferenceException = "UnresolvedReferenceException"
    XDSDocumentUniqueIdError = "XDSDocumentUniqueIdError"
    XDSDuplicateUniqueIdInRegistry = "XDSDuplicateUniqueIdInRegistry"
    XDSExtraMetadataNotSaved = "XDSExtraMetadataNotSaved"
    XDSInvalidRequestException = "XDSInvalidRequestException"
    XDSMetadataAnnotationError = "XDSMetadataAnnotationError"
    XDSMetadataIdentifierError = "XDSMetadataIdentifierError"
    XDSMetadataUpdateError = "XDSMetadataUpdateError"
    XDSMetadataUpdateOperationError = "XDSMetadataUpdateOperationError"
    XDSMetadataVersionError = "XDSMetadataVersionError"
    XDSMissingDocument = "XDSMissingDocument"
    XDSMissingDocumentMetadata = "XDSMissingDocumentMetadata"
    XDSNonIdenticalHash = "XDSNonIdenticalHash"
    XDSNonIdenticalSize = "XDSNonIdenticalSize"
    XDSObjectTypeError = "XDSObjectTypeError"
    XDSPatientIDReconciliationError = "XDSPatientIDReconciliationError"
    XDSPatientIdDoesNotMatch = "XDSPatientIdDoesNotMatch"
    XDSRegistryBusy = "XDSRegistryBusy"
    XDSRegistryDeprecatedDocumentError = "XDSRegistryDeprecatedDocumentError"
    XDSRegistryDuplicateUniqueIdInMessage = "XDSRegistryDuplicateUniqueIdInMessage"
    XDSRegistryError = "XDSRegistryError"
    XDSRegistryMetadataError = "XDSRegistryMetadataError"
    XDSRegistryNotAvailable = "XDSRegistryNotAvailable"
    XDSRegistryOutOfResources = "XDSRegistryOutOfResources"
    XDSRemoveDocumentsError = "XDSRemoveDocumentsError"
    XDSRepositoryBusy = "XDSRepositoryBusy"
    XDSRepositoryDuplicateUniqueIdInMessage = "XDSRepositoryDuplicateUniqueIdInMessage"
    XDSRepositoryError = "XDSRepositoryError"
    XDSRepositoryMetadataError = "XDSRepositoryMetadataError"
    XDSRepositoryOutOfResources = "XDSRepositoryOutOfResources"
    XDSResultNotSinglePatient = "XDSResultNotSinglePatient"
    XDSStoredQueryMissingParam = "XDSStoredQueryMissingParam"
    XDSStoredQueryParamNumber = "XDSStoredQueryParamNumber"
    XDSTooManyResults = "XDSTooManyResults"
    XDSUnknownPatientId = "XDSUnknownPatientId"
    XDSUnknownRepositoryId = "XDSUnknownRepositoryId"
    XDSUnknownStoredQuery = "XDSUnknownStoredQuery"
    XDSUnreferencedObjectException = "XDSUnreferencedObjectException"


class Severity(StrEnum):
    """Clause: ITI TF-3 4.2.4.1 (severity is the URN, not the bare word)."""

    ERROR = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
    WARNING = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"


class Actor(StrEnum):
    """Who found the problem: the actor names itself in its metadata and internal codes."""

    REGISTRY = "registry"
    REPOSITORY = "repository"

    @property
    def metadata_error(self) -> ErrorCode:
        return (
            ErrorCode.XDSRegistryMetadataError
            if self is Actor.REGISTRY
            else ErrorCode.XDSRepositoryMetadataError
        )

    @property
    def internal_error(self) -> ErrorCode:
        return ErrorCode.XDSRegistryError if self is Actor.REGISTRY else ErrorCode.XDSRepositoryError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem in a request.

    ``subject``  the object as its sender knows it: ``DocumentEntry Document01``
    ``field``    attribute, slot or parameter: ``typeCode``
    ``found``    the offending value, as received ("" when nothing was there)
    ``expected`` what would have been accepted, in words
    ``clause``   where it is written: ``ITI TF-3 4.2.3.2.25``
    ``rule``     our rule number: ``R-024``
    ``location`` value of ``RegistryError/@location``; default ``subject/field``
    """

    code: ErrorCode
    subject: str
    field: str = ""
    found: str = ""
    expected: str = ""
    clause: str = ""
    rule: str = ""
    severity: Severity = Severity.ERROR
    location: str = ""

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    @property
    def where(self) -> str:
        return self.location or (f"{self.subject}/{self.field}" if self.field else self.subject)

    def context(self, trace_id: str = "") -> str:
        """The text of ``codeContext``: one line a person can act on."""
        parts = [f"{self.subject}, {self.field}" if self.field else self.subject]
        parts.append(f"found {self.found!r}" if self.found else "found nothing")
        if self.expected:
            parts.append(f"expected {self.expected}")
        source = " ".join(filter(None, (self.clause, f"[{self.rule}]" if self.rule else "")))
        text = ": ".join((parts[0], "; ".join(parts[1:])))
        return " ".join(
            filter(None, (text, f"({source})" if source else "", f"trace {trace_id}" if trace_id else ""))
        )


class Refused(Exception):
    """A transaction refuses its request for the findings it carries.

    Raised only once everything that could be checked has been checked. Nothing
    has been stored when it is raised; the service answers with status Failure.
    """

    def __init__(self, findings: Iterable[Finding]):
        self.findings: tuple[Finding, ...] = tuple(findings)
        super().__init__("; ".join(f"{f.code}: {f.subject} {f.field}" for f in self.findings))


def has_errors(findings: Iterable[Finding]) -> bool:
    """True when any finding is an error; warnings alone never refuse a request."""
    return any(f.is_error for f in findings)
