"""TD1.1: open a record with the patient's consent.

Clause: DMP TD1.1, EX_1.1-1010, EX_1.1-1050
"""

from __future__ import annotations

from guard.audit import access_log
from record import lifecycle
from record.actor import carried_out
from record.td.actor import RecordServices
from record.td.hl7_read import observations, patient_element, patient_id_of, traits
from record.td.hl7_write import Answer, Patient
from xds.wire.exchange import Exchange

NAME = "TD1.1"
INTERACTION, REASON = "PRPA_IN201311UV02", "CREA_RD"
OBJECTIONS = {"OPPOSITION_BRIS_DE_GLACE": "bris_de_glace", "OPPOSITION_ACCES_URGENCE": "centre_15"}
"""Code of the observation to the purpose of use the patient objects to."""


def answer(services: RecordServices, exchange: Exchange) -> Answer:
    """The consent is an observation that says true; without it nothing is opened. Rule: D-42, D-44"""
    domain = services.domain
    patient_id = patient_id_of(exchange.body, domain)
    patient = patient_element(exchange.body)
    said = observations(patient)
    consent = lifecycle.OPENING_CONSENT if said.get(lifecycle.OPENING_CONSENT) else ""
    actor = services.by(exchange, NAME)
    record = carried_out(
        services.database, actor, access_log.RECORD_OPENED, patient_id,
        lambda unit: lifecycle.open_record(
            unit, patient_id, by=actor, consent=consent, channel=services.channel(actor.caller),
            authorities=domain.assigning_authorities,
            objected_purposes=frozenset(purpose for code, purpose in OBJECTIONS.items() if said.get(code)),
            traits=traits(patient),
        ),
    )
    return Answer(patients=[Patient(identifiers=[record.patient_id], status=record.status.value)])
