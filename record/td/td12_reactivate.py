"""TD1.2: reopen a closed record, with a new consent.

Clause: DMP TD1.2, EX_1.2-1010, EX_1.2-1030
"""

from __future__ import annotations

from guard.audit import access_log
from record import lifecycle
from record.actor import carried_out
from record.td.actor import RecordServices
from record.td.hl7_read import observations, patient_element, patient_id_of
from record.td.hl7_write import Answer, Patient
from xds.wire.exchange import Exchange

NAME = "TD1.2"
INTERACTION, REASON = "PRPA_IN201314UV02", "REAC"


def answer(services: RecordServices, exchange: Exchange) -> Answer:
    """Traits that come along are not kept: changing them is TD1.3b. Rule: D-42, D-44, D-45"""
    patient_id = patient_id_of(exchange.body, services.domain)
    said = observations(patient_element(exchange.body))
    consent = lifecycle.REOPENING_CONSENT if said.get(lifecycle.REOPENING_CONSENT) else ""
    actor = services.by(exchange, NAME)
    record = carried_out(
        services.database, actor, access_log.RECORD_REOPENED, patient_id,
        lambda unit: lifecycle.reopen_record(unit, patient_id, by=actor, consent=consent),
    )
    return Answer(patients=[Patient(identifiers=[record.patient_id], status=record.status.value)])
