"""CDA documents against what came with them: the credential, and the entry that announces them.

Each is read again where it is staged, once for both rules, and not at all where neither is asked. A document that is no
CDA is let be (R-052).

Clause: DMP R526; ITI TF-3 4.2.4.1 (InvalidDocumentContent); CDA R2 4.2 (header)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from guard.credentials import authorship
from repository.actor import RepositoryActor
from repository.cda_header import CHUNK, CdaHeader, read
from repository.store import Staged
from xds.domain import AffinityDomain
from xds.errors import ErrorCode, Finding, Severity
from xds.model import DocumentEntry, Submission
from xds.model.datatypes import Cx
from xds.namespaces import HL7
from xds.rules import CLAUSES, problem
from xds.wire.exchange import Exchange

log = logging.getLogger(__name__)

OFF, REFUSE = "off", "refuse"
"""Between the two stands ``warn``."""
TYPE_ID = ("2.16.840.1.113883.1.3", "POCD_HD000040")
NEEDED = (
    "id", "code", "effectiveTime", "confidentialityCode", "recordTarget", "author", "custodian", "component",
)
"""What every header has beside the typeId."""
_HEADER = "CDA R2 4.2"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one document; ``found`` and ``expected`` never name a patient."""

    field: str
    found: str
    expected: str
    clause: str = CLAUSES["R-053"]


def check(
    actor: RepositoryActor, exchange: Exchange, submission: Submission, staged: Mapping[str, Staged]
) -> Iterator[Finding]:
    """R-053 and R-190, for each CDA document of a set. ``staged`` are the documents received, by entry.

    What a fault comes to is ``RepositoryActor.cda_rule``, and ``author_rule`` for an author who is not who signs. One
    error for each document: of one that is refused for its content the author is not judged. A header that cannot be
    read names nobody. Signature documents are left to ``signed_set``, where the domain has them verified.
    Clause: ITI TF-3 4.2.4.1; DMP R526
    """
    asks_author = authorship.is_asked(exchange.claimant, actor.author_rule)
    asks_content = actor.cda_rule != OFF
    if not asks_author and not asks_content:
        return
    domain = actor.domain
    verifies = domain.signatures.deposit != "off"
    for entry in submission.entries:
        is_xml = "xml" in entry.mime_type.lower()
        if entry.entry_uuid not in staged or not (is_xml or asks_content):
            continue
        if verifies and domain.signatures.is_signature(entry):
            continue
        if asks_content:
            _ = exchange.caller  # nobody has whole documents read before he is known
        with closing(actor.documents.reread(staged[entry.entry_uuid], CHUNK)) as chunks:
            header = read(chunks, is_whole=asks_content)
        if asks_content and (fault := fault_of(header, entry, domain)) is not None:
            yield (told := _told(fault, entry, actor.cda_rule, exchange.trace_id))
            if told.is_error:
                continue
        if asks_author and is_xml and header is not None:
            yield from _disagreement(actor, exchange, entry, header)


def _disagreement(
    actor: RepositoryActor, exchange: Exchange, entry: DocumentEntry, header: CdaHeader
) -> list[Finding]:
    told = problem("R-190", ErrorCode.InvalidDocumentContent, f"DocumentEntry {entry.entry_uuid}",
                   "ClinicalDocument/author")
    return authorship.disagreement(
        exchange.claimant, told, header.persons, header.structures, rule=actor.author_rule, trace_id=exchange.trace_id,
        instead=header.unread or "nobody",
    )


def _told(fault: Fault, entry: DocumentEntry, rule: str, trace_id: str) -> Finding:
    """As an error, or as a warning and a line of the log, which repeats nothing of the document."""
    subject = f"Document {entry.unique_id} of DocumentEntry {entry.entry_uuid}"
    severity = Severity.ERROR if rule == REFUSE else Severity.WARNING
    if severity is Severity.WARNING:
        log.warning("%r: not the CDA it should be, see %s; trace %s", subject, fault.field, trace_id)
    return problem("R-053", ErrorCode.InvalidDocumentContent, subject, fault.field, found=fault.found,
                   expected=fault.expected, severity=severity, clause=fault.clause)


def fault_of(header: CdaHeader | None, entry: DocumentEntry, domain: AffinityDomain) -> Fault | None:
    """The first thing that is wrong with a document, None when nothing is, or when it is no CDA.

    ``header`` is that of a whole reading. XML whose formatCode is one of the domain's for CDA must be a CDA; of another
    media type it may be one that is encrypted. What the registry misses in the entry is not missed here (R-050).
    Clause: ITI TF-3 4.2.4.1
    """
    if header is None:
        if "xml" in entry.mime_type.lower() and domain.is_cda_format(entry.format_code):
            return Fault("ClinicalDocument", "", "a CDA document, which the formatCode says this is")
        return None
    if header.wrong:
        return Fault("ClinicalDocument", header.wrong, "one ClinicalDocument in well-formed XML without document type")
    if header.type_ids != [TYPE_ID]:
        shown = ", ".join(f"{root} {extension}" for root, extension in header.type_ids)
        return Fault("ClinicalDocument/typeId", shown, " ".join(TYPE_ID), _HEADER)
    for name in NEEDED:
        if f"{{{HL7}}}{name}" not in header.elements:
            return Fault(f"ClinicalDocument/{name}", "", "this element, which every CDA header has", _HEADER)
    return _other_document(header, entry) or _other_patient(header, entry, domain)


def _other_document(header: CdaHeader, entry: DocumentEntry) -> Fault | None:
    """The id of the document is the uniqueId of its entry. Clause: ITI TF-3 4.2.3.2.26"""
    named = [f"{root}^{extension}" if extension else root for root, extension in header.ids]
    if not entry.unique_id or named == [entry.unique_id]:
        return None
    return Fault("ClinicalDocument/id", ", ".join(named), f"{entry.unique_id}, the uniqueId of its entry",
                 "ITI TF-3 4.2.3.2.26")


def _other_patient(header: CdaHeader, entry: DocumentEntry, domain: AffinityDomain) -> Fault | None:
    """A document that names its patient as this domain does names the patient of its entry.

    Held against the patientId are the identifiers of its own assigning authority and of those the domain ranks (in
    ``dmp`` the INS); one of them must be it. Local identifiers say nothing.
    Clause: ITI TF-3 4.2.3.2.16
    """
    try:
        patient = Cx.parse(entry.patient_id)
    except ValueError:
        return None
    known = {patient.authority, *domain.type_of_authority}
    named = {(root, extension) for root, extension in header.patients if extension and root in known}
    if not named or (patient.authority, patient.id) in named:
        return None
    return Fault("ClinicalDocument/recordTarget/patientRole/id", "another patient's identifier",
                 "the patientId of the entry among those of its assigning authority", "ITI TF-3 4.2.3.2.16")
