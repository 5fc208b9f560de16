"""How a repository reaches a registry: ITI-42, ITI-61, ITI-18, and the two internal questions.

One class over two transports: HTTPS to a registry elsewhere, or the registry's own service called in
this process. The bytes are the same, so every deposit behaves the same over both. The caller's signed
assertion travels along; the repository's certificate says which node is asking.

Clause: ITI TF-2 3.18, 3.42, 3.43.4.1.3, 3.61
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from guard.audit.particulars import Particulars
from guard.credentials.vihf import security_header
from xds.check.query_params import quote, quote_list
from xds.ebxml.objects import read_entry
from xds.ebxml.read import read_query_response, read_registry_response
from xds.ebxml.tree import Report
from xds.ebxml.write import adhoc_query_request, submit_objects_request
from xds.errors import Actor
from xds.model import DocumentEntry, RegistryObject, Submission
from xds.model.messages import ReceivedError
from xds.namespaces import APPROVED, INTERNAL, RESPONSE_SUCCESS, RIM, RS
from xds.wire.client import Answer, BadAnswer, FaultReceived, PeerUnreachable, Transport
from xds.wire.faults import SoapFault

FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"


class RegistryUnavailable(Exception):
    """The registry did not answer.

    ``outcome_unknown`` is True when the request may have been carried out all the same.
    """

    def __init__(self, text: str, *, outcome_unknown: bool):
        self.outcome_unknown = outcome_unknown
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Registered:
    """The registry's answer to a submission; ``errors`` are relayed word for word."""

    is_success: bool
    errors: tuple[ReceivedError, ...]


@dataclass(frozen=True, slots=True)
class Permit:
    """A document the caller may read, as the registry describes it. ``sha1`` is lower-case hex.

    ``on_demand`` is the entry of a document that is yet to be made, and ``snapshots`` are the entryUUIDs of
    those made of it before that a new one replaces; then there is no hash and no size.
    """

    unique_id: str
    sha1: str
    size: int
    mime_type: str
    on_demand: DocumentEntry | None = None
    snapshots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose request is being served: what he signed, his certificate (DER), and the trace id of the request."""

    assertion: bytes
    certificate: bytes | None
    trace_id: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One stored query of ours, for the audit: what was asked, how much was found, and why not if it was refused."""

    query_id: str
    request: str
    """the whole AdhocQueryRequest"""
    results: int = 0
    failure: str = ""


class RegistryLink(Protocol):
    def register(self, submission: Submission, asker: Asker) -> Registered:
        """ITI-42. Whatever is answered, the registry has verified the asker's credential.

        Raises RegistryUnavailable, also when the registry refuses him, or us.
        """
        ...

    def register_on_demand(self, submission: Submission, asker: Asker) -> Registered:
        """ITI-61. Raises as ``register``."""
        ...

    def latest(
        self, patient_id: str, most: int, asker: Asker, tell: Callable[[Asked], None]
    ) -> list[DocumentEntry]:
        """At most ``most`` Approved stable documents the caller finds, newest first; ``tell`` hears of each query.

        Raises RegistryUnavailable, and whatever ``tell`` raises.
        """
        ...

    def decide(
        self, repository_unique_id: str, unique_ids: Sequence[str], asker: Asker, told: Particulars
    ) -> dict[str, Permit]:
        """Permits by uniqueId; what is not in it is denied. The registry has verified the asker's credential.

        ``told`` says of the retrieve what its audit message needs.
        Raises RegistryUnavailable; SoapFault when the registry does not accept the credential.
        """
        ...

    def known(self, documents: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those (uniqueId, sha1) pairs that are registered. Raises RegistryUnavailable."""
        ...

    def erasures(
        self, repository_unique_id: str, erased: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], float]:
        """(uniqueId, sha1) of what this repository has to erase, once ``erased`` are off the list, and since when
        (seconds since the epoch): what came later stays. Raises RegistryUnavailable.
        """
        ...


class SoapRegistryLink:
    """The one implementation. ``services`` and ``internal`` are transports to the registry's two addresses."""

    def __init__(self, services: Transport, internal: Transport):
        self._services = services
        self._internal = internal

    def register(self, submission: Submission, asker: Asker) -> Registered:
        return self._submit("urn:ihe:iti:2007:RegisterDocumentSet-b", submission, asker)

    def register_on_demand(self, submission: Submission, asker: Asker) -> Registered:
        return self._submit("urn:ihe:iti:2010:RegisterOnDemandDocumentEntry", submission, asker)

    def _submit(self, action: str, submission: Submission, asker: Asker) -> Registered:
        try:
            answer = _call(self._services, action, [submit_objects_request(submission)], asker)
        except FaultReceived as error:
            raise _refused(error) from error
        if answer.body.tag != f"{{{RS}}}RegistryResponse":
            raise RegistryUnavailable("the registry answered something else", outcome_unknown=True)
        status, errors = read_registry_response(answer.body)
        return Registered(status == RESPONSE_SUCCESS, tuple(errors))

    def latest(
        self, patient_id: str, most: int, asker: Asker, tell: Callable[[Asked], None]
    ) -> list[DocumentEntry]:
        """Identifiers first, then the entries of the newest: the answer keeps its size however long the record is."""
        wanted = [
            ("$XDSDocumentEntryPatientId", [quote(patient_id)]),
            ("$XDSDocumentEntryStatus", [quote_list((APPROVED,))]),
        ]
        _, references = self._query(FIND_DOCUMENTS, "ObjectRef", wanted, asker, tell)
        newest = references[:most]
        if not newest:
            return []
        named = [("$XDSDocumentEntryEntryUUID", [quote_list(newest)])]
        objects, _ = self._query(GET_DOCUMENTS, "LeafClass", named, asker, tell)
        found = {o.entry_uuid: o for o in objects if isinstance(o, DocumentEntry)}
        return [found[one] for one in newest if one in found]

    def _query(
        self, query_id: str, return_type: str, slots: list[tuple[str, list[str]]], asker: Asker,
        tell: Callable[[Asked], None],
    ) -> tuple[list[RegistryObject], list[str]]:
        body = adhoc_query_request(query_id, return_type, slots)
        asked = Asked(query_id, body.decode("utf-8"))
        try:
            answer = _call(self._services, "urn:ihe:iti:2007:RegistryStoredQuery", [body], asker)
        except FaultReceived as error:
            tell(replace(asked, failure="a fault of the registry"))
            raise _refused(error) from error
        except RegistryUnavailable:
            tell(replace(asked, failure="no answer of the registry"))
            raise
        status, objects, references, errors = read_query_response(answer.body)
        if status != RESPONSE_SUCCESS:
            code = next((e.code for e in errors if e.is_error), status)
            tell(replace(asked, failure=code))
            raise RegistryUnavailable(f"the registry refused the query: {code}", outcome_unknown=False)
        tell(replace(asked, results=len(objects) + len(references)))
        return objects, references

    def decide(
        self, repository_unique_id: str, unique_ids: Sequence[str], asker: Asker, told: Particulars
    ) -> dict[str, Permit]:
        asked = "".join(f"<DocumentUniqueId>{escape(u)}</DocumentUniqueId>" for u in unique_ids)
        requester = (
            f"<Requester endpoint={quoteattr(told.endpoint)} client={quoteattr(told.client)} "
            f"client_address={quoteattr(told.client_address)} process={quoteattr(told.process)}/>"
        )
        body = (
            f'<RetrieveDecisionRequest xmlns="{INTERNAL}"><RepositoryUniqueId>{escape(repository_unique_id)}'
            f"</RepositoryUniqueId>{asked}{requester}</RetrieveDecisionRequest>"
        )
        try:
            answer = _call(self._internal, f"{INTERNAL}:RetrieveDecision", [body.encode()], asker)
        except FaultReceived as error:
            fault = SoapFault(error.code, error.reason, subcode=error.subcode, detail="refused by the registry")
            raise (fault if fault.is_security else _refused(error)) from error
        return {
            e.get("uniqueId", ""): _permit(e)
            for e in answer.body.iterfind(f"{{{INTERNAL}}}Decision")
            if e.get("permitted") == "true"
        }

    def known(self, documents: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        asked = "".join(f"<Document uniqueId={quoteattr(u)} hash={quoteattr(h)}/>" for u, h in documents)
        body = f'<ReconcileRequest xmlns="{INTERNAL}">{asked}</ReconcileRequest>'
        try:
            answer = _call(self._internal, f"{INTERNAL}:Reconcile", [body.encode()], None)
        except FaultReceived as error:
            raise _refused(error) from error
        return {(e.get("uniqueId", ""), e.get("hash", "")) for e in answer.body.iterfind(f"{{{INTERNAL}}}Known")}

    def erasures(
        self, repository_unique_id: str, erased: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], float]:
        done = "".join(f"<Erased uniqueId={quoteattr(u)} hash={quoteattr(h)}/>" for u, h in erased)
        body = (
            f'<ErasuresRequest xmlns="{INTERNAL}"><RepositoryUniqueId>{escape(repository_unique_id)}'
            f"</RepositoryUniqueId>{done}</ErasuresRequest>"
        )
        try:
            answer = _call(self._internal, f"{INTERNAL}:Erasures", [body.encode()], None)
        except FaultReceived as error:
            raise _refused(error) from error
        return {
            (e.get("uniqueId", ""), e.get("hash", "")): datetime.fromisoformat(
                e.get("decidedAt", "").replace("Z", "+00:00")
            ).timestamp()
            for e in answer.body.iterfind(f"{{{INTERNAL}}}Erase")
        }


def _permit(decision: etree._Element) -> Permit:
    entries = [read_entry(e, Report(Actor.REGISTRY)) for e in decision.iterfind(f"{{{RIM}}}ExtrinsicObject")]
    return Permit(
        decision.get("uniqueId", ""),
        decision.get("hash", ""),
        int(decision.get("size", "0")),
        decision.get("mimeType", ""),
        entries[0] if entries else None,
        tuple(e.get("entryUUID", "") for e in decision.iterfind(f"{{{INTERNAL}}}Snapshot")),
    )


def _call(transport: Transport, action: str, body: Sequence[bytes], asker: Asker | None) -> Answer:
    """``asker`` None: the repository asks for itself."""
    try:
        if asker is None:
            return transport.call(action, body)
        return transport.call(
            action,
            body,
            security=security_header(asker.assertion) if asker.assertion else b"",
            trace_id=asker.trace_id,
            on_behalf=asker.certificate,
        )
    except PeerUnreachable as error:
        raise RegistryUnavailable(str(error), outcome_unknown=error.sent) from error
    except BadAnswer as error:
        raise RegistryUnavailable(str(error), outcome_unknown=True) from error


def _refused(error: FaultReceived) -> RegistryUnavailable:
    """A fault of the registry is "not available" too: it has refused us, not our caller's documents."""
    return RegistryUnavailable(f"the registry refused the repository: {error.reason}", outcome_unknown=False)
