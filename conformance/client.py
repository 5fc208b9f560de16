"""A Document Source and Consumer: what a hospital's or a laboratory's software does, with a card.

Each call signs an assertion for its patient (kept and reused until it is ``renew_after`` old), sends one
message over mutual TLS and reads the answer. Documents stream both ways.

Clause: ITI TF-2 3.18, 3.41, 3.42, 3.43, 3.61, 3.40
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from guard.credentials import vihf
from guard.credentials.cards import Card
from guard.credentials.identity import Kind
from xds.ebxml import read, write
from xds.limits import DEFAULT
from xds.model import Code, RegistryObject, Submission
from xds.model.messages import ReceivedError
from xds.namespaces import RESPONSE_FAILURE, RESPONSE_SUCCESS
from xds.wire.client import Answer, BadAnswer, FaultReceived, PeerUnreachable, SoapClient, Transport
from xds.wire.exchange import OutgoingPart, PartSink

CHUNK = 1 << 18
STORED_QUERY = "urn:ihe:iti:2007:RegistryStoredQuery"
SIGNED = "DSG"
"""In place of a transaction: a signature document was made."""
MULTI_PATIENT_QUERY = "urn:ihe:iti:2009:MultiPatientStoredQuery"
ANSWERS = replace(DEFAULT, xml_part=64 << 20, elements=2_000_000)
"""Bounds on what a registry answers: room for the full objects of several thousand documents."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Status and errors of a registry response."""

    status: str
    errors: tuple[ReceivedError, ...] = ()

    @property
    def is_success(self) -> bool:
        return self.status == RESPONSE_SUCCESS


@dataclass(frozen=True, slots=True)
class Found:
    """Answer of a stored query: objects for LeafClass, entryUUIDs for ObjectRef."""

    outcome: Outcome
    objects: list[RegistryObject] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One document of a retrieve; ``received`` is what its sink returned.

    An on-demand document has a new uniqueId, and where it was kept as a snapshot the repository that holds it.
    """

    unique_id: str
    repository_unique_id: str
    mime_type: str
    received: object
    new_unique_id: str = ""
    new_repository_unique_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """One exchange as this side saw it, and how it ended: for whoever keeps an audit of it.

    ``documents`` are (repositoryUniqueId, uniqueId), the first "" where they are submitted; ``results`` counts the
    objects a query gave. ``failure`` is "" for success, else an error code or what befell.
    """

    transaction: str
    endpoint: str
    patient_id: str = ""
    submission_set: str = ""
    query_id: str = ""
    request: str = ""
    documents: tuple[tuple[str, str], ...] = ()
    results: int = 0
    failure: str = ""


@dataclass(kw_only=True)
class Client:
    """One card, one patient record system. Thread-safe; connections are kept and reused."""

    card: Card | None
    """None connects without a certificate and needs ``sign`` and ``tls``, or transports."""
    repository_url: str = ""
    registry_url: str = ""
    ca_file: Path = Path()
    structure_id: str = ""
    purpose: Code = vihf.NORMAL
    purpose_reason: str = ""
    is_secret_connection: bool = False
    roles: tuple[Code, ...] = ()
    sign: Callable[[str], bytes] | None = None
    """The signed assertion for a CX, b"" to send none; None: the VIHF of the card."""
    timeout: float = 120.0
    renew_after: float = 300.0
    """Age in seconds at which a new assertion is signed."""
    tls: ssl.SSLContext | None = None
    repository: Transport | None = None
    """Way to the repository in place of HTTPS, for services of the same process."""
    registry: Transport | None = None
    tell: Callable[[Exchanged], None] | None = None
    """Told of each ITI-18, 41, 43, 51 and 61 before its answer is returned, once for what succeeded and for what did
    not; and of each signature document that is made."""

    def __post_init__(self) -> None:
        self._repository = self.repository or self._https(self.repository_url, "/services/repository")
        self._registry = self.registry or self._https(self.registry_url, "/services/registry")
        self._assertions: dict[str, tuple[float, bytes]] = {}

    @property
    def is_structure(self) -> bool:
        """Whether the card is a structure's; nobody's is not."""
        return self.card is not None and self.card.kind is Kind.ORGANISATION

    def _https(self, base: str, path: str) -> SoapClient:
        if self.tls is None and self.card is not None:
            self.tls = self.card.tls_context(self.ca_file)
        if self.tls is None:
            raise ValueError("a client needs a card or a TLS context")
        return SoapClient(base + path, self.tls, timeout=self.timeout, limits=ANSWERS)

    def assertion(self, patient_id: str) -> bytes:
        """A signed assertion for this patient, exact bytes; b"" where none is sent."""
        signed_at, signed = self._assertions.get(patient_id, (0.0, b""))
        if time.monotonic() - signed_at > self.renew_after or not signed:
            signed = self._vihf(patient_id) if self.sign is None else self.sign(patient_id)
            self._assertions[patient_id] = (time.monotonic(), signed)
        return signed

    def security(self, patient_id: str) -> bytes:
        """The wsse:Security header of a message about this patient, b"" where none is sent."""
        assertion = self.assertion(patient_id)
        return vihf.security_header(assertion) if assertion else b""

    def _vihf(self, patient_id: str) -> bytes:
        if self.card is None:
            raise ValueError("without a card there is nobody to sign")
        content = vihf.for_card(
            self.card, structure_id=self.structure_id, patient_id=patient_id, purpose=self.purpose,
            purpose_reason=self.purpose_reason, roles=self.roles, is_secret_connection=self.is_secret_connection,
        )
        return vihf.issue(content, self.card.signature)

    def provide(
        self, submission: Submission, documents: Iterable[tuple[str, OutgoingPart]], *, security: bytes | None = None
    ) -> Outcome:
        """ITI-41. ``documents`` are (entry id, part). Raises FaultReceived, PeerUnreachable."""
        pairs = list(documents)
        body = write.provide_and_register_request(submission, [(entry, part.content_id) for entry, part in pairs])
        with self._told(_submitted("ITI-41", self._repository, submission)) as ended:
            answer = self._repository.call(
                "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b",
                body,
                mtom=True,
                parts=[part for _, part in pairs],
                security=self.security(submission.submission_set.patient_id) if security is None else security,
            )
            return ended(_outcome(answer))

    def register(self, submission: Submission, *, security: bytes | None = None) -> Outcome:
        """ITI-42, where the registry takes registrations of others than its repositories.

        Entries carry hash, size and repositoryUniqueId themselves. Raises FaultReceived, PeerUnreachable.
        """
        return self._submit("urn:ihe:iti:2007:RegisterDocumentSet-b", submission, security)

    def register_on_demand(self, submission: Submission, *, security: bytes | None = None) -> Outcome:
        """ITI-61, under the same conditions. Entries name the repository that makes the documents."""
        return self._submit("urn:ihe:iti:2010:RegisterOnDemandDocumentEntry", submission, security)

    def _submit(self, action: str, submission: Submission, security: bytes | None) -> Outcome:
        answer = self._registry.call(
            action,
            [write.submit_objects_request(submission)],
            security=self.security(submission.submission_set.patient_id) if security is None else security,
        )
        return _outcome(answer)

    def update(
        self, submission: Submission, *, restricted: bool = False, security: bytes | None = None
    ) -> Outcome:
        """ITI-57, or ITI-92 when ``restricted``. Raises FaultReceived, PeerUnreachable."""
        action = "urn:ihe:iti:2018:RestrictedUpdateDocumentSet" if restricted else "urn:ihe:iti:2010:UpdateDocumentSet"
        answer = self._registry.call(
            action,
            [write.submit_objects_request(submission)],
            security=self.security(submission.submission_set.patient_id) if security is None else security,
        )
        return _outcome(answer)

    def remove_metadata(self, entry_uuids: Iterable[str], *, security: bytes | None = None) -> Outcome:
        """ITI-62. Raises FaultReceived, PeerUnreachable."""
        answer = self._registry.call(
            "urn:ihe:iti:2010:DeleteDocumentSet",
            [write.remove_objects_request(entry_uuids)],
            security=self.security("") if security is None else security,
        )
        return _outcome(answer)

    def remove_documents(self, documents: Iterable[tuple[str, str]], *, security: bytes | None = None) -> Outcome:
        """ITI-86. ``documents`` are (repositoryUniqueId, uniqueId). Raises FaultReceived, PeerUnreachable."""
        answer = self._repository.call(
            "urn:ihe:iti:2017:RemoveDocuments",
            [write.remove_documents_request(documents)],
            security=self.security("") if security is None else security,
        )
        return _outcome(answer)

    def query(
        self,
        query_id: str,
        slots: Sequence[tuple[str, Sequence[str]]],
        *,
        patient_id: str = "",
        return_type: str = "LeafClass",
        security: bytes | None = None,
        action: str = STORED_QUERY,
    ) -> Found:
        """ITI-18, or ITI-51 by its ``action``. ``slots`` are raw (name, values); ``patient_id`` is whom the assertion
        names, "" for nobody."""
        body = write.adhoc_query_request(query_id, return_type, slots)
        asked = Exchanged(
            transaction="ITI-51" if action == MULTI_PATIENT_QUERY else "ITI-18", endpoint=self._registry.url,
            patient_id=patient_id, query_id=query_id, request=body.decode("utf-8"),
        )
        with self._told(asked) as ended:
            answer = self._registry.call(
                action,
                [body],
                security=self.security(patient_id) if security is None else security,
            )
            status, objects, references, errors = read.read_query_response(answer.body)
            outcome = ended(Outcome(status, tuple(errors)), results=len(objects) + len(references))
            return Found(outcome, objects, references)

    def ask(self, path: str, action: str, body: bytes, *, patient_id: str = "") -> Answer:
        """Any message to any address of the registry's host, such as the record services, and its answer unread.

        Raises FaultReceived, PeerUnreachable.
        """
        return self._https(self.registry_url, path).call(action, [body], security=self.security(patient_id))

    def retrieve(
        self,
        documents: Sequence[tuple[str, str]],
        begin_part: Callable[[], PartSink],
        *,
        patient_id: str = "",
        security: bytes | None = None,
    ) -> tuple[Outcome, list[Retrieved]]:
        """ITI-43. ``documents`` are (repositoryUniqueId, uniqueId); each document goes to a sink of its own."""
        wanted = Exchanged(
            transaction="ITI-43", endpoint=self._repository.url, patient_id=patient_id, documents=tuple(documents)
        )
        with self._told(wanted) as ended:
            answer = self._repository.call(
                "urn:ihe:iti:2007:RetrieveDocumentSet",
                [write.retrieve_request(documents)],
                mtom=True,
                begin_part=begin_part,
                security=self.security(patient_id) if security is None else security,
            )
            response = read.read_retrieve_response(answer.body)
            came = {(one.repository_unique_id, one.document_unique_id) for one in response.documents}
            ended(Outcome(response.status, tuple(response.errors)), came)
        items = []
        for document in response.documents:
            part = answer.parts[document.content_id]
            part.claimed = True
            items.append(
                Retrieved(
                    document.document_unique_id, document.repository_unique_id, document.mime_type, part.received,
                    document.new_document_unique_id, document.new_repository_unique_id,
                )
            )
        answer.discard()
        return Outcome(response.status, tuple(response.errors)), items

    @contextmanager
    def _told(self, exchanged: Exchanged) -> Iterator[Callable[..., Outcome]]:
        """Around one exchange: its end is told by calling what is given, its failure by itself."""

        def ended(outcome: Outcome, came: Set[tuple[str, str]] | None = None, results: int = 0) -> Outcome:
            """``came`` are the documents of a retrieve that are there; None where documents are sent."""
            code = next((e.code for e in outcome.errors if e.is_error), "")
            asked = exchanged.documents
            here = asked if came is None else tuple(one for one in asked if one in came)
            if self.tell is not None and outcome.status != RESPONSE_FAILURE:
                self.tell(replace(exchanged, documents=here, results=results))
            if self.tell is not None and (outcome.status == RESPONSE_FAILURE or code):
                absent = asked if came is None else tuple(one for one in asked if one not in came)
                self.tell(replace(exchanged, documents=absent, failure=code or "refused"))
            return outcome

        try:
            yield ended
        except (FaultReceived, PeerUnreachable, BadAnswer) as error:
            if self.tell is not None:
                self.tell(replace(exchanged, failure=_befell(error)))
            raise


def _submitted(transaction: str, to: Transport, submission: Submission) -> Exchanged:
    one = submission.submission_set
    return Exchanged(
        transaction=transaction, endpoint=to.url, patient_id=one.patient_id, submission_set=one.unique_id,
        documents=tuple(("", entry.unique_id) for entry in submission.entries),
    )


def _befell(error: Exception) -> str:
    return f"fault {(error.subcode or error.code)[1]}" if isinstance(error, FaultReceived) else "no answer"


def _outcome(answer: Answer) -> Outcome:
    status, errors = read.read_registry_response(answer.body)
    return Outcome(status, tuple(errors))


def file_part(path: Path, content_id: str, content_type: str) -> OutgoingPart:
    """A file as an attached part; it is opened when its turn comes and closed at its end."""

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    return OutgoingPart(content_id, content_type, path.stat().st_size, chunks)


def bytes_part(data: bytes, content_id: str, content_type: str) -> OutgoingPart:
    """Bytes in memory as an attached part."""
    return OutgoingPart(content_id, content_type, len(data), lambda: iter((data,)))
