"""TD1.6: who is authorised to open the patient's record, and who is barred.

Clause: DMP TD1.6
"""

from __future__ import annotations

from dataclasses import dataclass

from record import circle
from record.actor import carried_out
from record.store import Kind, Place
from record.td.actor import RecordServices, patient_of
from record.td.td03_set_authorization import ATTENDING
from xds.wire.exchange import Exchange

NAME = "TD1.6"
MODES = tuple(mode.value for mode in circle.Listed)
PERSONS, STRUCTURES = "1.2.250.1.71.4.2.1", "1.2.250.1.71.4.2.2"
"""Authorities of PS_IdNat and of Struct_IdNat."""
SPECIALTIES, PROFESSIONS = "1.2.250.1.71.4.2.5", "1.2.250.1.71.1.2.7"
PHYSICIAN = "G15_10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """One line of the answer; None is left out. Times are UTC, ISO 8601."""

    nationalId: str
    nationalIdType: str
    lastName: str | None
    firstName: str | None = None
    codeSpeciality: list[str]
    libSpeciality: list[str] | None = None
    startOfAuthorization: str | None
    lastActionDate: str | None
    mode: str
    specificRight: list[str]


def answer(services: RecordServices, exchange: Exchange, mode: str) -> list[Authorization]:
    """``mode`` "" is ACTIVE. Rule: D-43"""
    patient_id = patient_of(exchange, "listAuthorizationByPatient")
    actor = services.by(exchange, NAME)
    which = circle.Listed(mode or circle.Listed.ACTIVE)
    found = carried_out(
        services.database, actor, circle.CIRCLE_LISTED, patient_id,
        lambda unit: circle.list_circle(unit, patient_id, by=actor, which=which),
    )
    return [_told(place) for place in found]


def _told(place: Place) -> Authorization:
    return Authorization(
        nationalId=place.subject,
        nationalIdType=PERSONS if place.kind is Kind.PERSON else STRUCTURES,
        lastName=place.name or None,
        codeSpeciality=[specialty_code(place.specialty)] if place.specialty else [],
        startOfAuthorization=place.since or None,
        lastActionDate=place.last_act_at or None,
        mode=(circle.Listed.BLOCKED if place.blocked_since else circle.Listed.ACTIVE).value,
        specificRight=[ATTENDING] if place.attending_since else [],
    )


def specialty_code(key: str) -> str:
    """``SM26^^1.2.250.1.71.4.2.5`` as ``G15_10/SM26``: only physicians have a specialty of that system."""
    code, _, system = key.partition("^^")
    if system == SPECIALTIES:
        return f"{PHYSICIAN}/{code}"
    return f"G15_{code}" if system == PROFESSIONS else code
