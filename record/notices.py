"""Notices of new documents: who wants them, and what of a deposit each may be told.

The holder, his representative and professionals choose for themselves, a professional by type of document. A wish gives
no right: what is new is weighed for each recipient when he is told, by the policy and by the rights he has then.

Clause: DMP section 6, notices to the patient and alerts to professionals (R527 2.3, 2.7)
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from guard.audit.store import AccessLine
from guard.credentials.caller import Caller, Mode
from guard.policy.facts import Action, EntryFilter, RecordStatus
from record.actor import Actor, RecordProblem, RecordRefused, RecordUnit, Rights, active, as_actor, log, require
from record.documents import Marks
from record.facts import facts_for
from xds.model import Code, DocumentEntry
from xds.namespaces import PROVIDER_SLOT

CHOSEN, UNCHOSEN = "notices wanted", "notices not wanted"
HOLDER, REPRESENTATIVE, PROFESSIONAL = "patient", "representative", "professional"
_KINDS = {Mode.PATIENT: HOLDER, Mode.REPRESENTATIVE: REPRESENTATIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One recipient of one record. ``types`` are ``code^^scheme``; empty: every type. ``caller`` is who he was when he
    chose, as JSON, as far as a decision asks for it."""

    patient_key: int
    kind: str
    """patient, representative or professional"""
    recipient: str
    """PS_IdNat of a professional, the account of a representative"""
    types: frozenset[str] = frozenset()
    caller: str = ""
    since: str = ""


class NoticeStore(Protocol):
    """Part of the registry's unit of work. A deposit leaves a notice for each wish of its record by itself."""

    def set_wish(self, wish: Wish) -> None:
        """In place of the one this recipient had."""
        ...

    def drop_wish(self, patient_key: int, kind: str, recipient: str) -> None:
        """And what he was not told yet."""
        ...

    def wish(self, patient_key: int, kind: str, recipient: str) -> Wish | None: ...

    def waiting(self, limit: int, after: Any = None) -> list[tuple[Any, AccessLine, Wish]]:
        """Notices nobody was told of yet, oldest first: a key, the line of the deposit, whom it is for. ``after``: only
        those behind the one of this key."""
        ...

    def told(self, keys: Collection[Any]) -> None:
        """These are done with, and forgotten."""
        ...

    def count(self, before: int = ...) -> int:
        """How many wait, of deposits before that moment (nanoseconds since the epoch)."""
        ...

    def give_up(self, before: int) -> None:
        """Those are forgotten, though nobody was told."""
        ...


class NoticeUnit(RecordUnit, Protocol):
    @property
    def notices(self) -> NoticeStore: ...


class Shelf(Protocol):
    @property
    def marks(self) -> Marks: ...

    def shown(
        self, unit: RecordUnit, patient_key: int, names: frozenset[str], visible: EntryFilter
    ) -> list[DocumentEntry]:
        """The newest documents of these uniqueIds that pass."""
        ...


def choose(
    unit: NoticeUnit, patient_id: str, *, by: Actor | Caller, is_wanted: bool, types: Collection[str] = (),
    known_types: Collection[str] = (),
) -> None:
    """Be told of new documents of this record from now on, or no more; may be repeated, the last word counts.

    ``types`` (``code^^scheme``, of ``known_types``) are those a recipient wants; none: all. Raises RecordRefused.
    """
    actor = as_actor(by)
    if unknown := set(types) - set(known_types):
        raise RecordRefused(RecordProblem.INVALID_DATA, f"no types of this domain: {len(unknown)} of those given")
    record = active(unit, patient_id)
    require(actor, Action.BE_TOLD, facts_for(unit.record, record, actor.caller, actor.at))
    caller = actor.caller
    kind = _KINDS.get(caller.mode, PROFESSIONAL)
    if is_wanted:
        unit.notices.set_wish(Wish(
            patient_key=record.patient_key, kind=kind, recipient=caller.identifier, types=frozenset(types),
            caller=_kept(caller, record.patient_id), since=actor.now,
        ))
    else:
        unit.notices.drop_wish(record.patient_key, kind, caller.identifier)
    log(unit, actor, record, CHOSEN if is_wanted else UNCHOSEN, f"{len(types)} types" if types else "")


def documents_for(
    unit: NoticeUnit, wish: Wish, line: AccessLine, *, rights: Rights, shelf: Shelf
) -> list[DocumentEntry]:
    """What of a deposit this recipient is told: of the types he wants, what he would find now, and no summary that was
    made of the record for somebody who reads. Rule: D-62"""
    record = unit.record.get(wish.patient_key)
    if record is None or record.status is not RecordStatus.ACTIVE:
        return []
    caller = _caller(wish.caller)
    visible = rights.visible(caller, Action.SEARCH, facts_for(unit.record, record, caller))
    found = shelf.shown(unit, wish.patient_key, frozenset(line.documents), visible)
    return [
        one for one in found
        if PROVIDER_SLOT not in one.extra_slots
        and (not wish.types or (one.type_code and one.type_code.key in wish.types))
    ]


def is_kept_from_representatives(documents: Collection[DocumentEntry], shelf: Shelf) -> bool:
    """Whether one of them must not be named where legal representatives read."""
    hidden = shelf.marks.hidden_from_representatives
    return any(code.key in hidden for one in documents for code in one.confidentiality_codes)


def _kept(caller: Caller, patient_id: str) -> str:
    """An assertion names one patient; the wish is about this record."""
    codes = {
        name: [code.code, code.scheme] for name, code in (
            ("profession", caller.profession), ("specialty", caller.specialty),
        ) if code is not None
    }
    return json.dumps({
        "identifier": caller.identifier, "mode": caller.mode.value, "structure_id": caller.structure_id,
        "sector": caller.sector, "patient_id": patient_id, **codes,
    })


def _caller(kept: str) -> Caller:
    values: dict[str, Any] = json.loads(kept)
    for name in ("profession", "specialty"):
        if name in values:
            values[name] = Code(*values[name])
    return Caller(**values | {"mode": Mode(values["mode"])})
