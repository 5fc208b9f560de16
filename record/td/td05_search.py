"""TD0.5: find a patient's record without his identifier, in regulation mode.

Clause: DMP TD0.5; HL7 v3 PRPA_IN201305UV02
"""

from __future__ import annotations

from record import personal
from record.actor import carried_out
from record.td.actor import RecordServices
from record.td.hl7_read import criteria
from record.td.hl7_write import Answer, Patient
from xds.wire.exchange import Exchange

NAME = "TD0.5"
INTERACTION, REASON = "PRPA_IN201305UV02", ""


def answer(services: RecordServices, exchange: Exchange) -> Answer:
    """Ten patients at most: more is a refusal. Rule: D-46"""
    actor = services.by(exchange, NAME)
    wanted = criteria(exchange.body)
    found = carried_out(
        services.database, actor, personal.SEARCHED, "", lambda unit: personal.find_by_traits(unit, wanted, by=actor)
    )
    return Answer(
        outcome="OK" if found else "NF",
        patients=[
            Patient(identifiers=one.patient_ids, status=one.record.status.value, traits=one.traits) for one in found
        ],
    )
