"""TD0.4: the records the caller may open.

Clause: DMP TD0.4
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from guard.audit.access_log import stamp
from record import circle
from record.actor import carried_out
from record.store import Openable
from record.td.actor import RecordServices
from xds.errors import ErrorCode, Refused
from xds.rules import problem
from xds.wire.exchange import Exchange

NAME = "TD0.4"
BY_AUTHORISATION, BY_DOCUMENT = DATE_TYPES = ("LASTAUTORIZATION", "LASTDOC")
"""Spelt as the DMP spells them."""
_DATES = ("%d%m%Y", "%Y-%m-%d")
"""No date is valid in both forms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    nationalId: str
    nationalIdType: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One line of the answer; None is left out. Times are UTC, ISO 8601."""

    patientIdentifier: list[Identifier]
    lastName: str | None
    patronymicalName: str | None
    firstName: str | None
    civility: str | None = None
    dateOfBirth: str | None
    MT: bool
    message: bool
    """Documents have come since the caller last opened the record"""
    lastAccessDate: str | None
    lastUpdateDate: str | None = None
    lastAddDate: str | None


def answer(services: RecordServices, exchange: Exchange, start: str, kind: str, owner: str) -> list[Patient]:
    """``start`` "" asks for all; ``kind`` "" counts by authorisation. Only the caller's own list. Rule: D-53, D-54"""
    since = _day(start)
    if owner and owner != exchange.caller.identifier:
        raise Refused([problem(
            "D-54", ErrorCode.XDSRegistryError, "patientList", "psOwnerId", found=owner,
            expected="nothing, or the identifier of the caller: a list is given to its owner",
        )])
    actor = services.by(exchange, NAME)
    found = carried_out(
        services.database, actor, circle.RECORDS_LISTED, "",
        lambda unit: circle.list_records(unit, by=actor, since=since, by_document=kind == BY_DOCUMENT),
    )
    return [_told(one) for one in found]


def _day(text: str) -> str:
    """The beginning of a day, as the store compares it."""
    for form in _DATES if text else ():
        try:
            return stamp(datetime.strptime(text, form).replace(tzinfo=UTC))
        except ValueError:
            continue
    if text:
        raise Refused([problem(
            "D-53", ErrorCode.XDSRegistryError, "patientList", "startDate", found=text,
            expected="DDMMYYYY or YYYY-MM-DD",
        )])
    return ""


def _told(one: Openable) -> Patient:
    traits = one.traits
    return Patient(
        patientIdentifier=[
            Identifier(nationalId=cx.split("^")[0], nationalIdType=cx.split("^")[3].split("&")[1])
            for cx in one.patient_ids
        ],
        lastName=traits.used_name or traits.birth_name or None,
        patronymicalName=traits.birth_name or None,
        firstName=traits.used_given_name or traits.birth_given_names or None,
        dateOfBirth=traits.birth_date or None,
        MT=bool(one.place.attending_since),
        message=one.has_new_documents,
        lastAccessDate=one.last_access_at or None,
        lastAddDate=one.last_document_at or None,
    )
