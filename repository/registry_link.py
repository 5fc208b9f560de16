"""How a repository reaches a registry: ITI-42, and the two internal questions.

One class over two transports: HTTPS to a registry elsewhere, or the registry's own service called in
this process. The bytes are the same, so every deposit behaves the same over both. The caller's signed
assertion travels along; the repository's certificate says which node is asking.

Clause: ITI TF-2 3.42, 3.43.4.1.3
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from xml.sax.saxutils import escape, quoteattr

from guard.audit.particulars import Particulars
from guard.credentials.vihf import security_header
from xds.ebxml.read import read_registry_response
from xds.ebxml.write import submit_objects_request
from xds.model import Submission
from xds.model.messages import ReceivedError
from xds.namespaces import INTERNAL, RESPONSE_SUCCESS
from xds.wire.client import Answer, BadAnswer, FaultReceived, PeerUnreachable, Transport
from xds.wire.faults import SoapFault


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
    """A document the caller may read, as the registry describes it. ``sha1`` is lower-case hex."""

    unique_id: str
    sha1: str
    size: int
    mime_type: str


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose request is being served: what he signed, his certificate (DER), and the trace id of the request."""

    assertion: bytes
    certificate: bytes | None
    trace_id: str


class RegistryLink(Protocol):
    def register(self, submission: Submission, asker: Asker) -> Registered:
        """Raises RegistryUnavailable."""
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


class SoapRegistryLink:
    """The one implementation. ``register`` and ``internal`` are transports to the registry's two addresses."""

    def __init__(self, register: Transport, internal: Transport):
        self._register = register
        self._internal = internal

    def register(self, submission: Submission, asker: Asker) -> Registered:
        body = [submit_objects_request(submission)]
        try:
            answer = _call(self._register, "urn:ihe:iti:2007:RegisterDocumentSet-b", body, asker)
        except FaultReceived as error:
            raise _refused(error) from error
        status, errors = read_registry_response(answer.body)
        return Registered(status == RESPONSE_SUCCESS, tuple(errors))

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
            e.get("uniqueId", ""): Permit(
                e.get("uniqueId", ""), e.get("hash", ""), int(e.get("size", "0")), e.get("mimeType", "")
            )
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
