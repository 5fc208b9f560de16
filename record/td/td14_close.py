"""TD1.4: close a record at the patient's request.

Clause: DMP TD1.4; CSP L1111-18
"""

from __future__ import annotations

from guard.audit import access_log
from guard.policy.facts import RecordStatus
from record import lifecycle
from record.actor import carried_out
from record.td.actor import RecordServices
from record.td.hl7_read import CLOSING_REASONS, closing_reason, patient_id_of, status_of
from record.td.hl7_write import Answer, Patient
from record.td.td02_existence import compact
from xds.errors import ErrorCode, Refused
from xds.rules import problem
from xds.wire.exchange import Exchange

NAME = "TD1.4"
INTERACTION, REASON = "PRPA_IN201314UV02", "FERM"


def answer(services: RecordServices, exchange: Exchange) -> Answer:
    """The message says ``terminated`` and why: a code and words. Rule: D-42, D-45, D-50"""
    patient_id = patient_id_of(exchange.body, services.domain)
    status = status_of(exchange.body)
    if status != RecordStatus.CLOSED:
        raise Refused([problem(
            "D-45", ErrorCode.XDSRegistryError, INTERACTION, "patient/statusCode/@code", found=status,
            expected=f"{RecordStatus.CLOSED}, as a closing leaves it",
        )])
    code, _, words = closing_reason(exchange.body).partition(" ")
    if not code or not words:
        raise Refused([problem(
            "D-50", ErrorCode.XDSRegistryError, INTERACTION, "reasonOf/detectedIssueEvent",
            found="a code without words" if code else "",
            expected=f"a code of {CLOSING_REASONS}, e.g. {lifecycle.CLOSED_AT_PATIENTS_REQUEST}, and a text",
        )])
    actor = services.by(exchange, NAME)
    record = carried_out(
        services.database, actor, access_log.RECORD_CLOSED, patient_id,
        lambda unit: lifecycle.close_record(unit, patient_id, by=actor, reason=words, code=code),
    )
    return Answer(
        patients=[Patient(
            identifiers=[record.patient_id], status=record.status.value, closed_on=compact(record.closed_at)
        )],
        issue=(code, CLOSING_REASONS, words),
    )
