"""TD0.2: does the patient have a record, in which state, and may the caller open it?

The answer carries the traits of the patient so that software can compare them with its own; it must not show them
(RG_0320). ``AUTORISATION`` is what the caller may do here: NON_EXISTE, INTERDIT, EXPIRE or VALIDE.

Clause: DMP TD0.2
"""

from __future__ import annotations

from record import lifecycle
from record.actor import carried_out
from record.lifecycle import Existence
from record.td.actor import RecordServices
from record.td.hl7_read import CLOSING_REASONS, patient_id_of
from record.td.hl7_write import Answer, Patient
from xds.wire.exchange import Exchange

NAME = "TD0.2"
INTERACTION, REASON = "PRPA_IN201307UV02", "TEST_EXST"


def answer(services: RecordServices, exchange: Exchange) -> Answer:
    """NF when there is no record: the same for one that was destroyed, or is only announced. Rule: D-42, D-45, D-48"""
    patient_id = patient_id_of(exchange.body, services.domain)
    actor = services.by(exchange, NAME)
    found = carried_out(
        services.database, actor, lifecycle.EXISTENCE_TESTED, patient_id,
        lambda unit: lifecycle.find_existence(unit, patient_id, by=actor),
    )
    return Answer(outcome="NF") if found is None else _told(found)


def _told(found: Existence) -> Answer:
    """What is said in an attention line is said as an observation of the patient too: senders read either place."""
    record = found.record
    flags = {"COMPTE_INTERNET_OUVERT": False, "RATTACHEMENT_ENS": False}
    code, _, words = record.closed_because.partition(" ")
    return Answer(
        patients=[Patient(
            identifiers=found.patient_ids, status=record.status.value, closed_on=compact(record.closed_at),
            traits=found.traits, observations=flags,
        )],
        attention={"AUTORISATION": found.authorisation, "STATUT_MT": found.is_attending, **flags},
        issue=(code, CLOSING_REASONS, words) if code else None,
    )


def compact(moment: str) -> str:
    """``2026-03-14T12:00:00.000Z`` as ``20260314120000+0000``, "" as it is. HL7 v3 TS"""
    return "".join(c for c in moment[:19] if c.isdigit()) + "+0000" if moment else ""
