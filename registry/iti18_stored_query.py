"""ITI-18 Registry Stored Query.

The query file says what is asked; the policy goes to the store as a filter, so what this caller may not
see never leaves it. The access-log line is durable before the answer goes out.

Clause: ITI TF-2 3.18
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TypedDict

import registry.queries
from guard.audit import access_log
from guard.audit.particulars import Particulars, of_query
from guard.policy.facts import Action, RecordFacts, RecordStatus
from registry.actor import RegistryActor
from registry.queries import OBJECT_REF, Answer, QueryContext
from xds.check.query_params import Value, parse_params
from xds.ebxml.read import read_adhoc_query
from xds.ebxml.write import adhoc_query_response
from xds.errors import ErrorCode, Finding, Refused, has_errors
from xds.model.messages import AdhocQuery
from xds.namespaces import QUERY, RESPONSE_FAILURE, RESPONSE_SUCCESS
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "ITI-18"


class Common(TypedDict):
    """What every line of one query says."""

    trace_id: str
    event: str
    peer: str
    particulars: Particulars


def queries_of(transaction_name: str) -> dict[str, ModuleType]:
    """Query id to its module, of one transaction; a module that names none belongs to ITI-18."""
    modules = (
        importlib.import_module(f"registry.queries.{info.name}")
        for info in pkgutil.iter_modules(registry.queries.__path__)
    )
    return {m.QUERY_ID: m for m in modules if getattr(m, "TRANSACTION", NAME) == transaction_name}


QUERIES = queries_of(NAME)


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2007:RegistryStoredQuery",
        response_action="urn:ihe:iti:2007:RegistryStoredQueryResponse",
        body=f"{{{QUERY}}}AdhocQueryRequest",
        mtom=False,
        handle=lambda exchange: stored_query(actor, exchange),
        refuse=refuse,
        schema_error=ErrorCode.XDSRegistryError,
        internal_error=ErrorCode.XDSRegistryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    return Reply(adhoc_query_response(RESPONSE_FAILURE, [], findings, exchange.trace_id))


def stored_query(
    actor: RegistryActor, exchange: Exchange, event: str = NAME, queries: Mapping[str, ModuleType] = QUERIES
) -> Reply:
    """Answer one stored query; refusals of what was understood are in the access log too.

    ``event`` is the transaction and ``queries`` what it offers.
    Clause: ITI TF-2 3.18.4.1.3
    """
    query, findings = read_adhoc_query(exchange.body)
    module = queries.get(query.query_id)
    name = module.NAME if module else query.query_id
    answer = Answer()
    try:
        if module is None:
            findings.append(
                Finding(
                    code=ErrorCode.XDSUnknownStoredQuery,
                    subject="AdhocQuery",
                    field="id",
                    found=query.query_id,
                    expected="the identifier of a query this registry offers",
                    clause="ITI TF-2 3.18.4.1.2.4",
                )
            )
            raise Refused(findings)
        _run(actor, exchange, query, module, findings, answer)
    except Refused as refusal:
        _write_lines(actor, exchange, event, query.query_id, name, answer, refusal.findings[0])
        raise
    _write_lines(actor, exchange, event, query.query_id, name, answer, None)
    return Reply(adhoc_query_response(RESPONSE_SUCCESS, answer.objects, findings, exchange.trace_id))


def _run(
    actor: RegistryActor,
    exchange: Exchange,
    query: AdhocQuery,
    module: ModuleType,
    findings: list[Finding],
    answer: Answer,
) -> None:
    values, problems = parse_params(query, module.PARAMS)
    findings += problems
    findings += _alternatives(query, values, module, problems)
    if has_errors(findings):
        raise Refused(findings)
    with actor.database.read() as unit:
        context = QueryContext(
            unit=unit,
            policy=actor.policy,
            caller=exchange.caller,
            return_type=query.return_type,
            action=_action(actor, exchange, query, module),
            max_results=actor.max_results,
            answer=answer,
            single_patient=module.QUERY_ID in QUERIES,
        )
        module.run(context, values)


def _action(actor: RegistryActor, exchange: Exchange, query: AdhocQuery, module: ModuleType) -> Action:
    """SEARCH, or the narrower right of the query where the caller has no more and asks for references only."""
    narrow = getattr(module, "ACTION", Action.SEARCH)
    if narrow is Action.SEARCH:
        return narrow
    facts = RecordFacts(RecordStatus.ACTIVE, patient_id=exchange.caller.patient_id, is_representative=True)
    if query.return_type == OBJECT_REF and not actor.policy.decide(exchange.caller, Action.SEARCH, facts, None).allowed:
        return narrow
    return Action.SEARCH


def _alternatives(
    query: AdhocQuery, values: dict[str, Value], module: ModuleType, problems: Sequence[Finding]
) -> list[Finding]:
    """What a query says of parameters taken together; an empty one is not given (Q-12).

    Of alternative identifiers one must be given, and no more; of the criteria that carry a query, one or more; what
    is asked for cannot be excluded as well.
    Clause: ITI TF-2 3.18.4.1.2.3.7
    """
    faulty = {f.field for f in problems}

    def given(names: Sequence[str]) -> list[str]:
        return sorted(name for name in names if name in values or name in faulty)

    def finding(names: Sequence[str], expected: str) -> Finding:
        found = given(names)
        return Finding(
            code=ErrorCode.XDSStoredQueryParamNumber if found else ErrorCode.XDSStoredQueryMissingParam,
            subject=f"AdhocQuery {query.query_id}",
            field=" or ".join(names),
            found=" and ".join(found),
            expected=expected,
            clause="ITI TF-2 3.18.4.1.2.3.7",
        )

    findings = []
    one: Sequence[str] = getattr(module, "EXACTLY_ONE", ())
    if one and len(given(one)) != 1:
        findings.append(finding(one, "exactly one of these parameters"))
    several: Sequence[str] = getattr(module, "AT_LEAST_ONE", ())
    if several and not given(several):
        findings.append(finding(several, "at least one of these parameters"))
    for pair in getattr(module, "NOT_TOGETHER", ()):
        if len(given(pair)) > 1:
            findings.append(finding(pair, "one of these parameters, not both"))
    return findings


def _write_lines(
    actor: RegistryActor,
    exchange: Exchange,
    event: str,
    query_id: str,
    name: str,
    answer: Answer,
    refused_by: Finding | None,
) -> None:
    """One line for each record looked into and each unknown patient, or one without. Clause: ITI TF-2 3.18.5.1"""
    common: Common = {
        "trace_id": exchange.trace_id,
        "event": event,
        "peer": exchange.peer.address,
        "particulars": of_query(exchange, query_id),
    }
    lines = []
    for patient_key, patient_id in answer.patients.items():
        if denied := answer.denied.get(patient_key):
            line = access_log.refusal(
                exchange.caller,
                action=access_log.SEARCH,
                patient_key=patient_key,
                patient_id=patient_id,
                reason=denied.reason,
                clause=denied.clause,
                **common,
            )
        else:
            line = access_log.query(
                exchange.caller,
                query=name,
                patient_key=patient_key,
                patient_id=patient_id,
                results=answer.counts[patient_key],
                refused_by=refused_by,
                **common,
            )
        lines.append(line)
    nobody = answer.unknown_patient_ids or ([] if lines else [""])
    lines += [
        access_log.query(
            exchange.caller,
            query=name,
            patient_key=None,
            patient_id=patient_id,
            results=0,
            refused_by=refused_by,
            **common,
        )
        for patient_id in nobody
    ]
    with actor.database.write() as unit:
        for line in lines:
            unit.audit.append(line)
