"""What is done to one stored document of a record: masked, announced, kept from representatives, archived, deleted.

By the holder, by who represents him, or by a professional: the policy decides, as it does in ITI-57, which asks for the
same rights. Whoever may not know of a document is answered as if it were not there. How a new version is written is the
registry's business: it lends its shelf.

Clause: DMP TD3.3a to d; ITI TF-2 3.57.4.1.3
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from guard.audit import access_log
from guard.credentials.caller import Caller, Mode
from guard.policy.facts import EVERYTHING, Action
from record.actor import Actor, RecordProblem, RecordRefused, RecordUnit, active, as_actor, log, require
from record.facts import entry_facts, facts_for
from record.store import Record
from xds.model import Code, DocumentEntry
from xds.namespaces import APPROVED

NOTHING_CHANGED = "already so"


class Act(StrEnum):
    """What may be done; the value is the word of the command line."""

    MASK = "mask"
    UNMASK = "unmask"
    ANNOUNCE = "announce"
    HIDE = "hide"
    SHOW = "show"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


ACTIONS = {
    Act.MASK: Action.MASK, Act.UNMASK: Action.UNMASK, Act.ANNOUNCE: Action.REVEAL, Act.HIDE: Action.HIDE,
    Act.SHOW: Action.SHOW, Act.ARCHIVE: Action.ARCHIVE, Act.UNARCHIVE: Action.ARCHIVE, Act.DELETE: Action.DELETE,
}
LOGGED_AS = {
    Act.MASK: access_log.MASK, Act.UNMASK: access_log.UNMASK, Act.ANNOUNCE: access_log.REVEAL,
    Act.HIDE: access_log.HIDE, Act.SHOW: access_log.SHOW, Act.ARCHIVE: access_log.ARCHIVE,
    Act.UNARCHIVE: access_log.ARCHIVE, Act.DELETE: access_log.DELETE,
}


class Marks(Protocol):
    """What an affinity domain says of marks and statuses (``xds.domain.AffinityDomain``)."""

    @property
    def hidden_from_professionals(self) -> frozenset[str]: ...

    @property
    def hidden_from_patient(self) -> frozenset[str]: ...

    @property
    def hidden_from_representatives(self) -> frozenset[str]: ...

    @property
    def conflicting_confidentiality(self) -> tuple[frozenset[str], ...]: ...

    @property
    def archived_status(self) -> str: ...

    @property
    def deleted_status(self) -> str: ...

    def code(self, attribute: str, key: str) -> Code: ...


class Shelf(Protocol):
    """The stored documents, as far as these acts need them. The registry lends it."""

    @property
    def marks(self) -> Marks: ...

    def newest(self, unit: RecordUnit, patient_key: int, document: str) -> DocumentEntry | None:
        """The newest version of the document with this uniqueId or entryUUID; unfiltered."""
        ...

    def names_under(self, unit: RecordUnit, patient_key: int, marks: frozenset[str]) -> frozenset[str]:
        """uniqueIds of the documents that carry one of these marks now."""
        ...

    def change(
        self, unit: RecordUnit, record: Record, before: DocumentEntry, by: Actor, *, marks: list[Code] | None = None,
        status: str = "",
    ) -> DocumentEntry:
        """Give the document new confidentiality codes (a new version), or another status. Raises RecordRefused."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What an act does: marks that come (one) or go (any of them), or the status it leads to and where from."""

    comes: str = ""
    goes: frozenset[str] = frozenset()
    status: str = ""
    only_from: str = ""


def change_of(act: Act, marks: Marks) -> Change:
    """Raises RecordRefused in a domain that knows nothing of the kind."""
    from_parents = marks.hidden_from_representatives - marks.hidden_from_patient
    made = {
        Act.MASK: Change(comes=min(marks.hidden_from_professionals, default="")),
        Act.UNMASK: Change(goes=marks.hidden_from_professionals),
        Act.ANNOUNCE: Change(goes=marks.hidden_from_patient),
        Act.HIDE: Change(comes=min(from_parents, default="")),
        Act.SHOW: Change(goes=from_parents),
        Act.ARCHIVE: Change(status=marks.archived_status, only_from=APPROVED),
        Act.UNARCHIVE: Change(status=APPROVED, only_from=marks.archived_status),
        Act.DELETE: Change(status=marks.deleted_status),
    }[act]
    if made == Change() or (made.status and not marks.archived_status):
        raise RecordRefused(RecordProblem.WRONG_STATE, "the affinity domain has no such mark or status")
    return made


def change(
    unit: RecordUnit, patient_id: str, document: str, act: Act, *, by: Actor | Caller, shelf: Shelf
) -> DocumentEntry:
    """Do this to the document of that uniqueId (or entryUUID); may be repeated. Returns it as it is afterwards.

    Raises RecordRefused. Clause: DMP TD3.3a to d, R526
    """
    actor = as_actor(by)
    record = active(unit, patient_id)
    facts = facts_for(unit.record, record, actor.caller, actor.at)
    require(actor, ACTIONS[act], facts)
    before = shelf.newest(unit, record.patient_key, document.strip())
    known = actor.rights.known(actor.caller, facts) if actor.rights else EVERYTHING
    if before is None or not known.passes(entry_facts(before)):
        raise RecordRefused(RecordProblem.UNKNOWN_DOCUMENT, "name it by the uniqueId a search gives")
    require(actor, ACTIONS[act], facts, entry_facts(before))
    wanted = change_of(act, shelf.marks)
    after = _changed(unit, record, before, actor, wanted, shelf)
    log(unit, actor, record, LOGGED_AS[act], "" if after != before else NOTHING_CHANGED, (before.unique_id,))
    return after


def hidden_names(unit: RecordUnit, record: Record, caller: Caller, shelf: Shelf) -> frozenset[str]:
    """uniqueIds that the holder or a representative may not know of, in the record's documents."""
    marks = {
        Mode.PATIENT: shelf.marks.hidden_from_patient, Mode.REPRESENTATIVE: shelf.marks.hidden_from_representatives,
    }.get(caller.mode)
    return shelf.names_under(unit, record.patient_key, marks) if marks else frozenset()


def _changed(
    unit: RecordUnit, record: Record, before: DocumentEntry, actor: Actor, wanted: Change, shelf: Shelf
) -> DocumentEntry:
    if wanted.status:
        if before.status == wanted.status:
            return before
        if wanted.only_from and before.status != wanted.only_from:
            raise RecordRefused(
                RecordProblem.WRONG_STATE, f"it is {_word(before.status)}, and must be {_word(wanted.only_from)}"
            )
        return shelf.change(unit, record, before, actor, status=wanted.status)
    kept = [code for code in before.confidentiality_codes if code.key not in wanted.goes]
    if wanted.comes and wanted.comes not in {code.key for code in kept}:
        kept.append(shelf.marks.code("confidentiality_codes", wanted.comes))
    if kept == before.confidentiality_codes:
        return before
    carried = {code.key for code in kept}
    if wanted.comes and any(group <= carried for group in shelf.marks.conflicting_confidentiality):
        raise RecordRefused(RecordProblem.EXCLUDED, "lift the other mark first")
    return shelf.change(unit, record, before, actor, marks=kept)


def _word(status: str) -> str:
    return status.rpartition(":")[2]
