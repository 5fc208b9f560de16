"""Depositing CDA files as a laboratory does: unattended, many, and safe to repeat.

A repeat is recognised twice over: the document is asked for by its uniqueId first, and the SubmissionSet's
uniqueId is derived from the content, so that a deposit whose answer was lost is refused as a duplicate of
itself rather than stored again.

Clause: ITI TF-2 3.41.4.1.2; DMP TD2.1, EX_GEN-1060
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from conformance import signing
from conformance.cda import CdaError, CdaHeader, Overrides, read_cda, to_submission
from conformance.client import SIGNED, Client, Exchanged, Outcome, bytes_part, file_part
from guard.credentials.cards import NoSignatureKey
from xds.check.signature_document import MEDIA
from xds.domain import AffinityDomain
from xds.errors import ErrorCode, Severity
from xds.model import DocumentEntry, Submission
from xds.namespaces import APPROVED
from xds.wire.client import BadAnswer, FaultReceived, PeerUnreachable
from xds.wire.exchange import OutgoingPart

GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"


class Status(StrEnum):
    """How the deposit of one file ended."""

    DEPOSITED = "deposited"
    ALREADY_THERE = "already there"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    UNREACHABLE = "unreachable"


class NotKept(Exception):
    """A signature document could not be written down, so nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """The report of one file."""

    file: str
    status: Status
    unique_id: str = ""
    patient_id: str = ""
    messages: tuple[str, ...] = ()
    trace_id: str = ""
    signature: str = ""
    """The file its signature document was kept in"""

    @property
    def is_done(self) -> bool:
        return self.status in (Status.DEPOSITED, Status.ALREADY_THERE)


@dataclass(kw_only=True)
class Source:
    """A Document Source: one client, one affinity domain, one sending system (``source_id``, an OID).

    ``signs``: each set goes with its signature, made by the client's card; always so where the domain requires it.
    """

    client: Client
    domain: AffinityDomain
    source_id: str
    overrides: Overrides = field(default_factory=Overrides)
    signs: bool = False
    keep: Callable[[DocumentEntry, bytes], Path] | None = None
    """Writes a signature document down before it is sent; what was then not taken goes again. Raises NotKept."""

    def prepare(self, path: Path) -> tuple[CdaHeader, Submission]:
        """Read one file and derive its submission; nothing is sent. Raises CdaError."""
        header = read_cda(path)
        return header, to_submission(header, domain=self.domain, source_id=self.source_id, overrides=self.overrides)

    def deposit(self, path: Path) -> Deposit:
        """Deposit one file; never raises for what the file or the peer did wrong."""
        try:
            header, submission = self.prepare(path)
        except CdaError as error:
            return Deposit(file=str(path), status=Status.UNREADABLE, messages=tuple(str(error).splitlines()))
        entry = submission.entries[0]
        report = partial(Deposit, file=str(path), unique_id=entry.unique_id, patient_id=entry.patient_id)
        kept: list[Path] = []
        made = self._send(path, header, submission, report, kept)
        if not kept:
            return made
        if made.status in (Status.DEPOSITED, Status.UNREACHABLE):  # the latter may have arrived: its answer did not
            return replace(made, signature=str(kept[0]))
        kept[0].unlink(missing_ok=True)
        return made

    def _send(
        self, path: Path, header: CdaHeader, submission: Submission, report: Callable[..., Deposit], kept: list[Path]
    ) -> Deposit:
        """``kept`` gets the file of the signature document, if one is kept."""
        entry = submission.entries[0]
        try:
            if self._is_there(entry, header):
                return report(status=Status.ALREADY_THERE)
            notes = self._link_replaced(header, submission)
            parts = [(entry.entry_uuid, file_part(path, "document1@carnet", entry.mime_type))]
            parts += self._signature(path, submission, kept)
            outcome = self.client.provide(submission, parts)
        except (NoSignatureKey, NotKept) as error:
            return report(status=Status.REFUSED, messages=(str(error),))
        except FaultReceived as fault:
            return report(status=Status.REFUSED, messages=(str(fault),), trace_id=fault.trace_id)
        except (PeerUnreachable, BadAnswer) as error:
            return report(status=Status.UNREACHABLE, messages=(str(error),))
        return report(status=_status(outcome), messages=(*notes, *_texts(outcome)))

    def _signature(
        self, path: Path, submission: Submission, kept: list[Path]
    ) -> list[tuple[str, OutgoingPart]]:
        """The part of the signature document, when the set is to be signed; its entry has joined the set."""
        card = self.client.card
        if card is None or not (self.signs or self.domain.signatures.deposit == "required"):
            return []
        entry = submission.entries[0]
        data = signing.sign(submission, card, self.domain, {entry.entry_uuid: signing.sha256_of(path)})
        if self.keep is not None:
            kept.append(self.keep(submission.entries[-1], data))
        if self.client.tell is not None:
            self.client.tell(Exchanged(
                transaction=SIGNED, endpoint="", patient_id=entry.patient_id,
                submission_set=submission.submission_set.unique_id, documents=(("", submission.entries[-1].unique_id),),
            ))  # fmt: skip
        return [(signing.ENTRY, bytes_part(data, "signature@carnet", MEDIA))]

    def _link_replaced(self, header: CdaHeader, submission: Submission) -> list[str]:
        """Add the RPLC association to the document this one replaces, when the registry knows it."""
        if not header.replaces:
            return []
        patient_id = submission.submission_set.patient_id
        target = self._entry_uuid(header.replaces, patient_id)
        if not target:
            return [f"replaces {header.replaces}, which is not here: deposited as a document of its own"]
        linked = to_submission(
            header,
            domain=self.domain,
            source_id=self.source_id,
            overrides=self.overrides,
            targets={header.replaces: target},
        )
        submission.associations[:] = linked.associations
        return [f"replaces {header.replaces}"]

    def _is_there(self, entry: DocumentEntry, header: CdaHeader) -> bool:
        """True when the registry already has these very bytes under this uniqueId, as far as this card may see."""
        if self.client.is_structure:
            return False
        known = self._known(entry.unique_id, entry.patient_id)
        return any(isinstance(o, DocumentEntry) and o.hash.lower() == header.hash for o in known)

    def _known(self, unique_id: str, patient_id: str) -> Iterator[object]:
        found = self.client.query(
            GET_DOCUMENTS, [("$XDSDocumentEntryUniqueId", [f"('{unique_id}')"])], patient_id=patient_id
        )
        yield from found.objects

    def _entry_uuid(self, unique_id: str, patient_id: str) -> str:
        """entryUUID of the Approved document with this uniqueId; a structure is given references only."""
        if not self.client.is_structure:
            for item in self._known(unique_id, patient_id):
                if isinstance(item, DocumentEntry) and item.status == APPROVED:
                    return item.entry_uuid
            return ""
        found = self.client.query(
            GET_DOCUMENTS,
            [("$XDSDocumentEntryUniqueId", [f"('{unique_id}')"])],
            patient_id=patient_id,
            return_type="ObjectRef",
        )
        return found.references[0] if len(found.references) == 1 else ""


def _status(outcome: Outcome) -> Status:
    if outcome.is_success:
        return Status.DEPOSITED
    errors = {e.code for e in outcome.errors if e.severity == Severity.ERROR}
    if errors == {ErrorCode.XDSDuplicateUniqueIdInRegistry}:
        return Status.ALREADY_THERE
    unreachable = {ErrorCode.XDSRegistryNotAvailable, ErrorCode.XDSRepositoryBusy, ErrorCode.XDSRegistryBusy}
    return Status.UNREACHABLE if errors & unreachable else Status.REFUSED


def _texts(outcome: Outcome) -> list[str]:
    if _status(outcome) is Status.ALREADY_THERE:
        return []
    return [f"{e.code}: {e.context}" for e in outcome.errors]


def files_of(paths: list[Path]) -> list[Path]:
    """The files given, and the ``*.xml`` files of the folders given (at any depth), sorted within each."""
    found: list[Path] = []
    for path in paths:
        found += sorted(p for p in path.rglob("*.xml") if p.is_file()) if path.is_dir() else [path]
    return found
