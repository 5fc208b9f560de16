"""The record services that speak HL7 v3: one action of SOAP an interaction, one file a reason code.

A request is understood, handed to the file of its reason code, and answered with what that file found. A refusal is an
answer of the same interaction: acknowledgement AE, with the name the DMP gives the error and the trace id.

Clause: DMP TD0.2, TD0.5, TD1.1, TD1.2, TD1.3a, TD1.3b, TD1.4
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from guard.audit import access_log
from guard.audit.particulars import particulars
from record.actor import RecordRefused
from record.td import (
    td02_existence,
    td05_search,
    td11_create,
    td12_reactivate,
    td13a_read,
    td13b_modify,
    td14_close,
)
from record.td.actor import RecordServices
from record.td.hl7_read import name_of, reason_code
from record.td.hl7_write import Answer, Voice, act_answer, query_answer
from xds.errors import ErrorCode, Finding, Refused
from xds.namespaces import HL7
from xds.rules import problem
from xds.wire.exchange import Exchange, Reply, Transaction

Act = Callable[[RecordServices, Exchange], Answer]
FILES = (td02_existence, td05_search, td11_create, td12_reactivate, td13a_read, td13b_modify, td14_close)
INVALID_MESSAGE, INTERNAL_ERROR = "DMPInvalidMessage", "DMPInternalError"
"""Ours: no public source names the DMP's own."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One message and its answers; ``refused`` "" where the answer says yes and no in one message."""

    name: str
    answer: str
    refused: str = ""

    @property
    def response_action(self) -> str:
        stem, release = self.name[:-4], self.name[-4:]
        return f"{HL7}:{stem}Response{release}" if self.refused else f"{HL7}:{self.answer}"


INTERACTIONS = (
    Interaction("PRPA_IN201305UV02", "PRPA_IN201306UV02"),
    Interaction("PRPA_IN201307UV02", "PRPA_IN201308UV02"),
    Interaction("PRPA_IN201311UV02", "PRPA_IN201312UV02", "PRPA_IN201313UV02"),
    Interaction("PRPA_IN201314UV02", "PRPA_IN201315UV02", "PRPA_IN201316UV02"),
)
ACTS: dict[str, dict[str, tuple[str, Act]]] = {
    interaction.name: {
        file.REASON: (file.NAME, file.answer) for file in FILES if interaction.name == file.INTERACTION
    }
    for interaction in INTERACTIONS
}
"""Interaction to reason code to (transaction, what to do); the search has no reason code of its own."""


def transactions(services: RecordServices) -> list[Transaction]:
    """One for each interaction."""
    return [_transaction(services, interaction) for interaction in INTERACTIONS]


def _transaction(services: RecordServices, interaction: Interaction) -> Transaction:
    return Transaction(
        name=interaction.name,
        action=f"{HL7}:{interaction.name}",
        response_action=interaction.response_action,
        body=f"{{{HL7}}}{interaction.name}",
        mtom=False,
        handle=partial(_handle, services, interaction),
        refuse=partial(_refuse, services, interaction),
        schema_error=ErrorCode.XDSRegistryError,
        internal_error=ErrorCode.XDSRegistryError,
    )


def _handle(services: RecordServices, interaction: Interaction, exchange: Exchange) -> Reply:
    """Do what the reason code says. Rule: D-41, D-47"""
    acts = ACTS[interaction.name]
    reason = reason_code(exchange.body)
    found = acts.get(reason) or acts.get("")
    name = found[0] if found else interaction.name
    try:
        if found is None:
            raise Refused([problem(
                "D-41", ErrorCode.XDSRegistryError, interaction.name, "controlActProcess/reasonCode", found=reason,
                expected=f"one of {', '.join(acts)} of code system 1.2.250.1.213.1.1.4.11",
            )])
        answer = found[1](services, exchange)
    except RecordRefused as refusal:
        answer = refused(refusal, exchange.trace_id)
    except Refused as error:
        _note(services, exchange, name, error.findings[0])
        raise
    return _reply(services, interaction, exchange, answer)


def refused(refusal: RecordRefused, trace_id: str) -> Answer:
    """The answer to an act that is not allowed or not possible."""
    clause = f" ({refusal.clause})" if refusal.clause else ""
    text = f"{refusal}{clause} trace {trace_id}"
    name = refusal.problem.dmp_error
    return Answer(outcome="AE", details=[(name, text)], issue=(name, "", str(refusal.problem)))


def error_name(finding: Finding) -> str:
    """A finding under a rule is the sender's; one without is our own failure."""
    return INVALID_MESSAGE if finding.rule else INTERNAL_ERROR


def _refuse(
    services: RecordServices, interaction: Interaction, exchange: Exchange, findings: Sequence[Finding]
) -> Reply:
    """The answer to a message that is wrong in itself, or that we failed on."""
    details = [(error_name(one), one.context(exchange.trace_id)) for one in findings]
    issue = (details[0][0], "", "the message is refused")
    return _reply(services, interaction, exchange, Answer(outcome="AE", details=details, issue=issue))


def _reply(services: RecordServices, interaction: Interaction, exchange: Exchange, answer: Answer) -> Reply:
    voice = Voice(services.device_id, services.clock(), exchange.trace_id)
    if interaction.refused:
        return Reply([act_answer(voice, exchange.body, interaction.answer, interaction.refused, answer)])
    return Reply([query_answer(voice, exchange.body, interaction.answer, answer)])


def _note(services: RecordServices, exchange: Exchange, name: str, finding: Finding) -> None:
    """The access-log line of a message that never reached a record."""
    line = access_log.refusal(
        exchange.caller, trace_id=exchange.trace_id, event=name, action=name_of(exchange.body), patient_key=None,
        patient_id=exchange.caller.patient_id, reason=f"{finding.field}: expected {finding.expected}",
        clause=finding.clause, peer=exchange.peer.address, particulars=particulars(exchange),
    )
    with services.database.write() as unit:
        unit.audit.append(line)
