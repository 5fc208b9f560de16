"""TD1.3a: read the administrative data of a record.

Clause: DMP TD1.3a
"""

from __future__ import annotations

from record import personal
from record.actor import carried_out
from record.personal import Personal
from record.td.actor import RecordServices
from record.td.hl7_read import patient_id_of
from record.td.hl7_write import Answer, Patient
from record.td.td11_create import OBJECTIONS
from xds.wire.exchange import Exchange

NAME = "TD1.3a"
INTERACTION, REASON = "PRPA_IN201307UV02", "CNSLT_DATA"


def answer(services: RecordServices, exchange: Exchange) -> Answer:
    """Names, sex, birth, address, telecoms, legal representatives, and the two objections. Rule: D-42"""
    patient_id = patient_id_of(exchange.body, services.domain)
    actor = services.by(exchange, NAME)
    found = carried_out(
        services.database, actor, personal.DATA_READ, patient_id,
        lambda unit: personal.read_data(unit, patient_id, by=actor),
    )
    return Answer(patients=[told(found)])


def told(found: Personal) -> Patient:
    """The data of one record, with the objections as observations."""
    objected = found.record.objected_purposes
    return Patient(
        identifiers=found.patient_ids, status=found.record.status.value, traits=found.traits,
        observations={code: purpose in objected for code, purpose in OBJECTIONS.items()},
    )
