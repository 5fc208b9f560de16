"""The patient's acts: by himself or his representative through a portal the operator has listed, or relayed by a
professional at his request, where the functional rights give him that.

The DMP has no transaction for them: a patient acts on his own pages, the attending physician blocks at his request.
Who may what is the policy's: the attending physician blocks, a professional notes an objection, masks a document,
asks for the destruction, both read the log; the rest is the patient's alone.

Clause: CSP L1111-17 I, L1111-18; arrêté du 26/10/2023
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from guard.audit.access_log import in_words
from guard.audit.atna_td import ACCESS_SET, DOCUMENT_MARKED, LOG_READ
from record import acts, destruction, documents, lifecycle, notices
from record.actor import carried_out
from record.documents import Act
from record.store import Kind
from record.td.actor import RecordServices, patient_of
from record.td.td16_list_authorizations import PERSONS, STRUCTURES
from xds.errors import ErrorCode, Refused
from xds.rules import problem
from xds.wire.exchange import Exchange

NAME = "patient act"
KINDS = {PERSONS: Kind.PERSON, STRUCTURES: Kind.STRUCTURE}
VERBS = {
    "AUTORISER": (acts.AUTHORISED, acts.allow), "RETIRER": (acts.WITHDRAWN, acts.disallow),
    "BLOQUER": (acts.BLOCKED, acts.block), "DEBLOQUER": (acts.UNBLOCKED, acts.unblock),
}
DOCUMENT_VERBS = {
    "MASQUER": Act.MASK, "DEMASQUER": Act.UNMASK, "ANNONCER": Act.ANNOUNCE, "CACHER": Act.HIDE, "MONTRER": Act.SHOW,
    "ARCHIVER": Act.ARCHIVE, "DESARCHIVER": Act.UNARCHIVE, "SUPPRIMER": Act.DELETE,
}
LINES = 100
"""Newest lines of the access log that one answer holds. Clause: R527 2.6"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the access log."""

    date: str
    """UTC, ISO 8601"""
    outcome: str
    sentence: str
    """As the patient reads it, in French"""


def set_access(
    services: RecordServices, exchange: Exchange, action: str, national_id: str, national_id_type: str
) -> str:
    """Authorise, block, or take it back, for a professional or a structure. Rule: D-43, D-55"""
    patient_id = patient_of(exchange, "setAccess")
    if action not in VERBS:
        raise Refused([problem(
            "D-55", ErrorCode.XDSRegistryError, "setAccess", "action", found=action, expected=", ".join(VERBS)
        )])
    kind = KINDS.get(national_id_type or PERSONS)
    if kind is None:
        raise Refused([problem(
            "D-55", ErrorCode.XDSRegistryError, "setAccess", "nationalIdType", found=national_id_type,
            expected=" or ".join(KINDS),
        )])
    actor = services.by(exchange, NAME, ACCESS_SET)
    name, act = VERBS[action]
    carried_out(
        services.database, actor, name, patient_id,
        lambda unit: act(unit, patient_id, national_id, by=actor, kind=kind),
    )
    return ""


def set_objection(services: RecordServices, exchange: Exchange, code: str, objects: bool) -> str:
    """Object to break-glass or to the emergency call centre, or lift it. Rule: D-43"""
    patient_id = patient_of(exchange, "setObjection")
    actor = services.by(exchange, NAME)
    name, act = (acts.OBJECTED, acts.object_to) if objects else (acts.NOT_OBJECTED, acts.lift_objection)
    carried_out(services.database, actor, name, patient_id, lambda unit: act(unit, patient_id, code, by=actor))
    return ""


def set_document(services: RecordServices, exchange: Exchange, action: str, unique_id: str) -> str:
    """Mask, announce, archive, delete one document, or undo it: what ITI-57 does, without its metadata.

    Rule: D-43, D-57
    """
    patient_id = patient_of(exchange, "setDocument")
    for name, value, wanted in (
        ("action", action, ", ".join(DOCUMENT_VERBS) if action not in DOCUMENT_VERBS else ""),
        ("uniqueId", unique_id, "" if unique_id.strip() else "the uniqueId of a document"),
    ):
        if wanted:
            raise Refused([problem(
                "D-57", ErrorCode.XDSRegistryError, "setDocument", name, found=value, expected=wanted
            )])
    actor, act = services.by(exchange, NAME, DOCUMENT_MARKED), DOCUMENT_VERBS[action]
    carried_out(
        services.database, actor, documents.LOGGED_AS[act], patient_id,
        lambda unit: documents.change(unit, patient_id, unique_id, act, by=actor, shelf=services.shelf),
        documents=(unique_id,),
    )
    return ""


def set_emergency_view(services: RecordServices, exchange: Exchange, is_shown: bool) -> str:
    """Let accesses by emergency read what is masked, or not. Clause: R526, value ``pat``. Rule: D-43"""
    patient_id = patient_of(exchange, "setEmergencyView")
    actor = services.by(exchange, NAME)
    name = acts.SHOWN_IN_EMERGENCY if is_shown else acts.NOT_SHOWN_IN_EMERGENCY
    carried_out(
        services.database, actor, name, patient_id,
        lambda unit: acts.show_masked_in_emergency(unit, patient_id, by=actor, is_shown=is_shown),
    )
    return ""


def set_notices(services: RecordServices, exchange: Exchange, is_wanted: bool, types: Collection[str]) -> str:
    """Be told of new documents from now on, or no more: the patient, who represents him, a professional by type.

    Clause: R527 2.3, 2.7. Rule: D-43, D-62
    """
    patient_id = patient_of(exchange, "setNotices")
    actor = services.by(exchange, NAME)
    known = services.domain.codes["type_code"]
    carried_out(
        services.database, actor, notices.CHOSEN if is_wanted else notices.UNCHOSEN, patient_id,
        lambda unit: notices.choose(
            unit, patient_id, by=actor, is_wanted=is_wanted, types=types, known_types=known
        ),
    )
    return ""


def decline_record(services: RecordServices, exchange: Exchange) -> str:
    """No record is wanted: the one that is announced is not opened. Clause: loi OTSS. Rule: D-43"""
    patient_id = patient_of(exchange, "declineRecord")
    actor = services.by(exchange, NAME)
    carried_out(
        services.database, actor, lifecycle.DECLINED, patient_id,
        lambda unit: lifecycle.decline(unit, patient_id, by=actor),
    )
    return ""


def confirm_destruction(services: RecordServices, exchange: Exchange, token: str) -> str:
    """Second step of a destruction: the answer is the receipt. Clause: R527 2.3. Rule: D-43"""
    patient_id = patient_of(exchange, "confirmDestruction")
    actor = services.by(exchange, NAME)
    return carried_out(
        services.database, actor, destruction.DESTROYED, patient_id,
        lambda unit: destruction.confirm_destruction(unit, patient_id, token, by=actor),
    ).receipt


def ask_destruction(services: RecordServices, exchange: Exchange) -> str:
    """First step of a destruction, relayed: the answer is the token, for the patient alone, who confirms.

    Clause: R527 2.3. Rule: D-43
    """
    patient_id = patient_of(exchange, "askDestruction")
    actor = services.by(exchange, NAME)
    return carried_out(
        services.database, actor, destruction.ASKED, patient_id,
        lambda unit: destruction.ask_destruction(unit, patient_id, by=actor),
    )


def read_log(services: RecordServices, exchange: Exchange, skip: int) -> list[Line]:
    """LINES lines, newest first, without the ``skip`` newest: the holder and the attending physician read everything,
    another professional his own.

    Clause: R527 2.6. Rule: D-43, D-56
    """
    patient_id = patient_of(exchange, "readLog")
    actor = services.by(exchange, NAME, LOG_READ)

    def read(unit: Any) -> list[Line]:
        lines = acts.read_log(unit, patient_id, by=actor, shelf=services.shelf)
        shown = lines[::-1][max(skip, 0) :][:LINES]
        return [Line(date=one.at, outcome=one.outcome, sentence=in_words(one)) for one in shown]

    return carried_out(services.database, actor, acts.LOG_READ, patient_id, read)
