"""Decision on a retrieve, for the repository that holds the bytes.

The registry decides, the repository enforces: only the registry knows what is masked, whose record is
closed and what the document's type is. The caller's own assertion comes along and is verified again
here; the question is accepted from one of our repositories only. Nothing is cached: a mask bites at the
next request. The access-log line of each read is written here, in the patient's one log, before the
bytes move; so is its audit message, which tells of the repository and of whoever asks it.

Clause: ITI TF-2 3.43.4.1.3; shape after IHE ITI Secure Retrieve (decision at the registry)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import quoteattr

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.credentials.caller import Caller
from guard.policy.facts import EVERYTHING, Action
from record.facts import entry_facts, facts_for
from registry.actor import RegistryActor
from registry.on_demand import decision_on_demand, snapshots_of
from registry.store import EntryCriteria, RegistryUnit
from xds.errors import ErrorCode, Finding
from xds.model import DocumentEntry
from xds.namespaces import DEPRECATED, INTERNAL, ON_DEMAND
from xds.wire.exchange import Exchange, Reply, Transaction
from xds.wire.pace import even_out

NAME = "retrieve decision"
MAX_DOCUMENTS = 1000
REQUESTER = ("endpoint", "client", "client_address", "process")
"""Particulars of the retrieve that only the repository knows."""


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry."""
    return Transaction(
        name=NAME,
        action=f"{INTERNAL}:RetrieveDecision",
        response_action=f"{INTERNAL}:RetrieveDecisionResponse",
        body=f"{{{INTERNAL}}}RetrieveDecisionRequest",
        mtom=False,
        handle=lambda exchange: decide(actor, exchange),
        refuse=refuse,
        schema_error=None,
        internal_error=ErrorCode.XDSRegistryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    """Deny all; the repository answers as for documents that do not exist."""
    return Reply([f'<RetrieveDecisionResponse xmlns="{INTERNAL}"/>'.encode()])


@dataclass(frozen=True, slots=True)
class Verdict:
    """One requested document: the entry when it may be read, else None."""

    unique_id: str
    entry: DocumentEntry | None
    patient_key: int | None = None
    patient_id: str = ""
    reason: str = ""
    clause: str = ""
    snapshots: tuple[str, ...] = ()
    """of an on-demand document: entryUUIDs of those that a new one replaces"""


def decide(actor: RegistryActor, exchange: Exchange) -> Reply:
    """Permit or deny each document of one retrieve, and log each. A denial's time does not tell what was found."""
    began = time.perf_counter()
    repository = exchange.body.findtext(f"{{{INTERNAL}}}RepositoryUniqueId", "")
    wanted = [e.text or "" for e in exchange.body.iterfind(f"{{{INTERNAL}}}DocumentUniqueId")][:MAX_DOCUMENTS]
    with actor.database.read() as unit:
        verdicts = [_verdict(actor, unit, exchange.caller, repository, unique_id) for unique_id in wanted]
    requester = exchange.body.find(f"{{{INTERNAL}}}Requester")
    told = {name: value for name, value in ({} if requester is None else requester.attrib).items() if name in REQUESTER}
    asked = particulars(exchange, repository=repository, **told)
    with actor.database.write() as unit:
        for verdict in verdicts:
            unit.audit.append(
                access_log.retrieve(
                    exchange.caller,
                    trace_id=exchange.trace_id,
                    event="ITI-43",
                    patient_key=verdict.patient_key,
                    patient_id=verdict.patient_id,
                    document=verdict.unique_id,
                    allowed=verdict.entry is not None,
                    reason=verdict.reason,
                    clause=verdict.clause,
                    peer=exchange.peer.address,
                    particulars=asked,
                )
            )
    if any(verdict.entry is None for verdict in verdicts):
        even_out(time.perf_counter() - began)
    lines = "".join(map(_decision, verdicts))
    return Reply([f'<RetrieveDecisionResponse xmlns="{INTERNAL}">{lines}</RetrieveDecisionResponse>'.encode()])


def _verdict(actor: RegistryActor, unit: RegistryUnit, caller: Caller, repository: str, unique_id: str) -> Verdict:
    """Of several entries with one uniqueId, one the caller may read is enough: their bytes are the same."""
    denied = Verdict(unique_id, None, reason="no such document in the registry", clause="ITI TF-3 4.2.4.1")
    for patient_key, entry in _newest(unit, unique_id):
        record = unit.record.get(patient_key)
        if record is None:
            continue
        decision = actor.policy.decide(caller, Action.READ, facts_for(unit.record, record, caller), entry_facts(entry))
        reason, clause = decision.reason, decision.clause
        if decision.allowed and entry.repository_unique_id != repository:
            reason, clause = "the document is held by another repository", "ITI TF-2 3.43.4.1.3"
        elif decision.allowed and entry.object_type == ON_DEMAND and entry.status == DEPRECATED:
            #
            reason, clause = "the on-demand document is no longer offered", "ITI TF-2 3.43.4.1.3"
        elif decision.allowed:
            verdict = Verdict(unique_id, entry, patient_key, record.patient_id, reason, clause)
            if entry.object_type != ON_DEMAND:
                return verdict
            maker = caller if actor.domain.policy else None
            return replace(verdict, snapshots=snapshots_of(unit, patient_key, entry, maker))
        denied = Verdict(unique_id, None, patient_key, record.patient_id, reason, clause)
    return denied


def _newest(unit: RegistryUnit, unique_id: str) -> list[tuple[int, DocumentEntry]]:
    """(patient_key, entry) of each logical document: its newest version decides, whatever an older one allowed."""
    where = EntryCriteria(unique_ids=frozenset({unique_id}))
    newest: dict[str, tuple[int, DocumentEntry]] = {}
    for patient_key in sorted(unit.registry.locate(unique_ids=[unique_id])):
        for entry in unit.registry.entries(patient_key, where, EVERYTHING):
            known = newest.get(entry.logical_id)
            if known is None or known[1].version < entry.version:
                newest[entry.logical_id] = patient_key, entry
    return list(newest.values())


def _decision(verdict: Verdict) -> str:
    if verdict.entry is None:
        return f'<Decision uniqueId={quoteattr(verdict.unique_id)} permitted="false"/>'
    entry = verdict.entry
    if entry.object_type == ON_DEMAND:
        return decision_on_demand(entry, verdict.snapshots)
    return (
        f'<Decision uniqueId={quoteattr(verdict.unique_id)} permitted="true" hash={quoteattr(entry.hash.lower())} '
        f'size="{entry.size or 0}" mimeType={quoteattr(entry.mime_type)} entryUUID={quoteattr(entry.entry_uuid)}/>'
    )
