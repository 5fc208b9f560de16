"""TD1.3b: change the administrative data of a record, and the objections that travel with them.

Clause: DMP TD1.3b; CSP L1111-17 I
"""

from __future__ import annotations

from typing import Any

from record import acts, personal
from record.actor import carried_out
from record.personal import Personal
from record.td.actor import RecordServices
from record.td.hl7_read import observations, patient_element, patient_id_of, traits
from record.td.hl7_write import Answer
from record.td.td11_create import OBJECTIONS
from record.td.td13a_read import told
from xds.wire.exchange import Exchange

NAME = "TD1.3b"
INTERACTION, REASON = "PRPA_IN201314UV02", "MODIF_DATA"


def answer(services: RecordServices, exchange: Exchange) -> Answer:
    """The data replace those kept; an objection the message does not name stays as it is. Rule: D-42, D-51"""
    patient_id = patient_id_of(exchange.body, services.domain)
    patient = patient_element(exchange.body)
    said = observations(patient)
    actor = services.by(exchange, NAME)

    def change(unit: Any) -> Personal:
        found = personal.change_data(unit, patient_id, traits(patient), by=actor)
        for code, purpose in OBJECTIONS.items():
            if code in said and said[code] != (purpose in found.record.objected_purposes):
                set_objection = acts.object_to if said[code] else acts.lift_objection
                set_objection(unit, patient_id, purpose, by=actor)
        return personal.read_data(unit, patient_id, by=actor)

    found = carried_out(services.database, actor, personal.DATA_CHANGED, patient_id, change)
    return Answer(patients=[told(found)])
