"""The one place where a right is decided: pure, no clock, no store, no XML.

A policy is an ordered list of clauses. A clause looks at the caller, the action and the record, and says one of
three things: nothing; a refusal; or a *limit* on the documents concerned, in the terms of ``EntryFilter``.
``decide`` weighs one document against the limits, ``visible`` hands the same limits to the store, ``explain``
shows every clause. Since all three read one list, a document that a query shows is one that a retrieve gives.
A new mode of access is a new row of the tables or a new clause in the list.

Clause: DMP R526 v1.8, R606 v1.3; CSP L1111-17, L1111-18, R1111-46; arrêté du 26/10/2023
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from guard.credentials.caller import Caller, Mode
from guard.policy.facts import NOTHING, Action, Decision, EntryFacts, EntryFilter, RecordFacts, RecordStatus
from guard.policy.matrix import PROFESSION_COLUMNS, RIGHT_COLUMNS, STAND_IN, AccessMatrix, FunctionalRights
from guard.professions import Professions, TableError

MODE_LETTERS = {"normal": "n", "centre_15": "r", "bris_de_glace": "b"}
"""Purpose of use (TRE_R248) -> mode of R526. Any other purpose has no right."""

ACCESS_OVERRIDE, RIGHTS_OVERRIDE = "access-override.csv", "rights-override.csv"
"""Optional tables in the operator's folder: cells that replace those of the two matrices."""

EMERGENCY = frozenset({"centre_15", "bris_de_glace"})
_PERSONS = ("MD", "PS")
_ON_DOCUMENTS = frozenset({Action.SEARCH, Action.SEARCH_ID, Action.READ})
_ON_TYPES = frozenset({Action.SEARCH, Action.READ})
_ON_OPEN_RECORD = frozenset(Action) - {Action.ADMINISTER, Action.REMOVE}
_CHANGES = frozenset({Action.MASK, Action.UNMASK, Action.REVEAL, Action.DELETE, Action.ARCHIVE, Action.AMEND})
"""Of the metadata of one stored document."""
_ALL = frozenset(Action)


class Standing(NamedTuple):
    """Where the caller stands in the two tables; "" where no column is his."""

    actor: str
    """PS, MD, OP, MT, CPE, ST"""
    column: str
    """of the functional rights: ``MD n``, ``OP``, ``AIR PS b``"""
    profession: str
    """column of the type matrix"""


class Question(NamedTuple):
    """What every clause may look at."""

    caller: Caller
    action: Action
    record: RecordFacts
    standing: Standing


class Limit(NamedTuple):
    """A condition on documents: one field of ``EntryFilter`` and its value."""

    field: str
    value: frozenset[str] | str


Verdict = str | Limit | None
"""A refusal in words, a limit, or nothing to say."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule of access. ``reason`` says in words what it does to a document that falls under its limit."""

    name: str
    source: str
    rule: Callable[[Policy, Question], Verdict]
    actions: frozenset[Action] = _ALL
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one clause says to one question. ``verdict`` is deny, allow, limit or pass."""

    clause: str
    verdict: str
    reason: str


# -- the clauses ------------------------------------------------------------------------------------------------------


def record_is_open(policy: Policy, question: Question) -> Verdict:
    """A closed record and one that never was are the same to the outside."""
    return None if question.record.status is RecordStatus.ACTIVE else "no open record for this patient"


def assertion_names_this_patient(policy: Policy, question: Question) -> Verdict:
    """An assertion made out for one patient opens no other record."""
    named = question.caller.patient_id
    if not named or same_patient(named, question.record.patient_id):
        return None
    return "the assertion names another patient than the one of this record"


def actor_has_the_right(policy: Policy, question: Question) -> Verdict:
    """The cell of the functional rights for this actor, mode of access and action. Removing is for our own systems."""
    if question.action is Action.REMOVE and question.caller.mode is Mode.NODE:
        return None
    column = question.standing.column
    if column in policy.granted[question.action]:
        return None
    if not column:
        return "neither the caller's role nor his mode of access has any right here"
    return f"the functional rights give {column!r} no right to: {question.action}"


def patient_bars_the_caller(policy: Policy, question: Question) -> Verdict:
    """Stronger than authorisation, authorship and emergency."""
    return "the patient has barred this professional" if question.record.is_blocked else None


def patient_objects_to_emergency(policy: Policy, question: Question) -> Verdict:
    """The patient's express prior objection to break-glass or to access by the emergency call centre."""
    if question.caller.purpose in question.record.objected_purposes:
        return "the patient has objected to this kind of emergency access"
    return None


def caller_is_authorised(policy: Policy, question: Question) -> Verdict:
    """Reading needs the patient's authorisation, except in an emergency. Feeding does not (TD02 note 2)."""
    if question.record.is_authorised or question.caller.purpose in EMERGENCY:
        return None
    return "the patient has not authorised this professional"


def type_is_for_persons(policy: Policy, question: Question) -> Verdict:
    """Signature documents and the like: not even their author is shown them."""
    return Limit("excluded_types", policy.unlisted_types) if policy.unlisted_types else None


def own_documents_only(policy: Policy, question: Question) -> Verdict:
    """The value ``own`` or ``str`` of the functional rights: nobody else's documents, nor another structure's."""
    extent = policy.granted[question.action].get(question.standing.column)
    if extent == "own":
        return Limit("owner_id", question.caller.identifier)
    return Limit("owner_structure", question.caller.structure_id) if extent == "str" else None


def author_reads_his_own(policy: Policy, question: Question) -> Verdict:
    """Whatever the type matrix and the masks say."""
    return Limit("author_id", question.caller.identifier) if question.caller.identifier else None


def patient_deposited_it(policy: Policy, question: Question) -> Verdict:
    """A document deposited by the patient is archived or deleted by himself or the attending physician (R526)."""
    if question.standing.actor == "MT" or not policy.patient_types:
        return None
    return Limit("patient_types", policy.patient_types)


def profession_reads_the_type(policy: Policy, question: Question) -> Verdict:
    """The cell of the type matrix for this profession: R to read, R or S to find."""
    table = policy.readable if question.action is Action.READ else policy.findable
    types = table.get(question.standing.profession, _NO_TYPES)
    if question.standing.actor == "OP":
        types = types & table.get("occupational", _NO_TYPES)
    return Limit("types", types)


def mask_hides(policy: Policy, question: Question) -> Verdict:
    """Masked from professionals: only its author and the attending physician see it; in an emergency, if the
    patient allowed it."""
    if not policy.hidden_from_professionals:
        return None
    cell = policy.masked_cells.get(question.standing.column, "-")
    if cell == "Y" or (cell == "pat" and question.record.shows_masked_in_emergency):
        return None
    return Limit("hidden_by", policy.hidden_from_professionals)


MATRIX_CLAUSES = (
    Clause("record-open", "CSP L1111-18; DMP TD1.4", record_is_open, _ON_OPEN_RECORD),
    Clause("assertion-patient", "DMP VIHF resource-id", assertion_names_this_patient, _ON_OPEN_RECORD),
    Clause("functional-right", "R526, R606", actor_has_the_right),
    Clause("patient-block", "DMP TD0.2 note 1", patient_bars_the_caller),
    Clause("emergency-objection", "CSP L1111-17 I", patient_objects_to_emergency),
    Clause(
        "authorisation", "CSP R1111-46; DMP TD0.3", caller_is_authorised, _ON_TYPES | _CHANGES - {Action.DELETE}
    ),
    Clause(
        "unlisted-type", "DMP J57, class of signatures", type_is_for_persons, _ON_DOCUMENTS | _CHANGES,
        "a document of this type is never shown to a person",
    ),
    Clause(
        "patient-document", "R526, note on TD3.3c and TD3.3d", patient_deposited_it,
        frozenset({Action.DELETE, Action.ARCHIVE, Action.AMEND}),
        "the patient has deposited this document",
    ),
    Clause(
        "owner", "R526, values own and str", own_documents_only, _CHANGES,
        "the caller is no author of this document",
    ),
    Clause(
        "own-document", "R526, value own", author_reads_his_own, _ON_DOCUMENTS | _CHANGES,
        "the caller is an author of this document",
    ),
    Clause(
        "document-type", "arrêté du 26/10/2023", profession_reads_the_type, _ON_TYPES | _CHANGES - {Action.DELETE},
        "the caller's profession has no right to this type of document",
    ),
    Clause(
        "masked", "R526; DMP TD3.3a", mask_hides, _ON_DOCUMENTS | _CHANGES,
        "the document is masked from professionals",
    ),
)
"""In the order recommended for the access matrix: record, functional right, block, objection and authorisation,
type, confidentiality. Document status adds nothing here: R526 lets every reader read archived and obsolete ones."""

_NO_TYPES: frozenset[str] = frozenset()


def _judge_excluded(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return False if entry.type_code in value else None


def _judge_author(value: str, entry: EntryFacts) -> bool | None:
    return True if value in entry.author_ids else None


def _judge_types(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return None if entry.type_code in value else False


def _judge_hidden(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return None if value.isdisjoint(entry.confidentiality) else False


def _judge_owner(value: str, entry: EntryFacts) -> bool | None:
    return None if value and value in entry.author_ids else False


def _judge_structure(value: str, entry: EntryFacts) -> bool | None:
    return None if value and value in entry.structure_ids else False


_JUDGES: dict[str, Callable[..., bool | None]] = {
    "excluded_types": _judge_excluded,
    "author_id": _judge_author,
    "types": _judge_types,
    "hidden_by": _judge_hidden,
    "patient_types": _judge_excluded,
    "owner_id": _judge_owner,
    "owner_structure": _judge_structure,
}
"""One document against one limit: False refused, True allowed whatever follows, None goes on."""


# -- the policy -------------------------------------------------------------------------------------------------------


class Policy:
    """Immutable; safe to share between threads. Build it with ``load`` or ``open``."""

    __slots__ = (
        "_clauses_of", "access", "clauses", "findable", "granted", "hidden_from_professionals", "masked_cells",
        "patient_types", "professions", "readable", "rights", "unlisted_types",
    )

    def __init__(
        self,
        clauses: Iterable[Clause],
        *,
        access: AccessMatrix | None = None,
        rights: FunctionalRights | None = None,
        professions: Professions | None = None,
        hidden_from_professionals: frozenset[str] = frozenset(),
        unlisted_types: frozenset[str] = frozenset(),
        patient_types: frozenset[str] = frozenset(),
    ):
        self.clauses = tuple(clauses)
        self.access = access
        self.rights = rights
        self.professions = professions or Professions({})
        self.hidden_from_professionals = hidden_from_professionals
        self.unlisted_types = unlisted_types
        self.patient_types = patient_types
        self.readable = {c: access.readable(c) for c in PROFESSION_COLUMNS} if access else {}
        self.findable = {c: access.findable(c) for c in PROFESSION_COLUMNS} if access else {}
        columns = rights.columns() if rights else ()
        self.granted = {
            action: {c: extent for c in columns if rights and (extent := rights.extent(action, c)) != "-"}
            for action in Action
        }
        self.masked_cells = {c: rights.cell("TD3.2-masked", c) for c in columns} if rights else {}
        self._clauses_of = {action: tuple(c for c in self.clauses if action in c.actions) for action in Action}

    @classmethod
    def open(cls) -> Policy:
        """A domain without rules of access allows everything, in records that are open."""
        return cls(c for c in MATRIX_CLAUSES if c.name == "record-open")

    @classmethod
    def load(
        cls,
        name: str,
        *,
        hidden_from_professionals: frozenset[str] = frozenset(),
        unlisted_types: frozenset[str] = frozenset(),
        patient_types: frozenset[str] = frozenset(),
        folder: Path | None = None,
        access_override: Path | None = None,
        rights_override: Path | None = None,
    ) -> Policy:
        """The policy of that name (``AffinityDomain.policy``; "" is the open one).

        ``folder`` holds the operator's tables: one of the same name replaces a shipped one, ``access-override.csv``
        and ``rights-override.csv`` change single cells (other places: ``access_override``, ``rights_override``).
        Raises TableError naming file, line and column.
        """
        if not name:
            return cls.open()
        professions = Professions.load(name, folder)
        for column in professions.columns():
            if column not in PROFESSION_COLUMNS:
                raise TableError("professions.csv", 0, "column", f"{column!r} is no column of the access matrix")
        return cls(
            MATRIX_CLAUSES,
            access=AccessMatrix.load(name, folder, access_override or _present(folder, ACCESS_OVERRIDE)),
            rights=FunctionalRights.load(name, folder, rights_override or _present(folder, RIGHTS_OVERRIDE)),
            professions=professions,
            hidden_from_professionals=hidden_from_professionals,
            unlisted_types=unlisted_types,
            patient_types=patient_types,
        )

    def decide(
        self, caller: Caller, action: Action, record: RecordFacts, entry: EntryFacts | None = None
    ) -> Decision:
        """May the caller do this? ``entry`` None asks about the record as a whole, before any document is known."""
        question = Question(caller, action, record, self.standing(caller, record))
        for clause in self._clauses_of[action]:
            verdict = clause.rule(self, question)
            if verdict is None:
                continue
            if isinstance(verdict, str):
                return Decision(False, verdict, clause.name)
            if entry is None:
                continue
            allowed = _JUDGES[verdict.field](verdict.value, entry)
            if allowed is not None:
                return Decision(allowed, clause.reason, clause.name)
        return _GRANTED

    def visible(self, caller: Caller, action: Action, record: RecordFacts) -> EntryFilter:
        """The documents of this record for which ``decide`` says yes, as a filter for the store.

        Made for reading: a change is decided document by document, so its filter may let nothing pass.
        """
        question = Question(caller, action, record, self.standing(caller, record))
        limits = {}
        for clause in self._clauses_of[action]:
            verdict = clause.rule(self, question)
            if isinstance(verdict, str):
                return NOTHING
            if verdict is not None:
                if verdict.field not in _FILTERS:
                    return NOTHING
                limits[verdict.field] = verdict.value
        return EntryFilter(**limits)  # type: ignore[arg-type]

    def explain(
        self, caller: Caller, action: Action, record: RecordFacts, entry: EntryFacts | None = None
    ) -> list[Explanation]:
        """Every clause in order, also those after the deciding one. The first deny or allow is the decision."""
        question = Question(caller, action, record, self.standing(caller, record))
        told = []
        for clause in self.clauses:
            if action not in clause.actions:
                told.append(Explanation(clause.name, "pass", f"says nothing about {action}"))
                continue
            told.append(_explain(clause, clause.rule(self, question), entry))
        return told

    def standing(self, caller: Caller, record: RecordFacts) -> Standing:
        """The caller's columns. Unknown modes, purposes and professions have none: fail closed.

        Clause: DMP R526 (columns), R606 (AIR)
        """
        mode = MODE_LETTERS.get(caller.purpose)
        row = self.professions.find(caller.profession)
        if row is not None and row.actor == "by role":
            row = self.professions.find(caller.specialty)
        actor, profession = "", ""
        if row is not None and row.actor in _PERSONS:
            actor, profession = row.actor, row.column
            if self._is_occupational(caller):
                actor = "OP"
            elif actor == "MD" and record.is_attending:
                actor = "MT"
        elif caller.mode is Mode.INDIRECT:
            actor = "ST"
        elif caller.profession is None or (row is not None and row.actor == "CPE"):
            actor = "CPE"
        return Standing(actor, self._column(caller.mode, actor, mode), profession)

    def _is_occupational(self, caller: Caller) -> bool:
        """Occupational medicine by specialty, or by the sector of activity (``code`` or ``code^OID``)."""
        codes = self.professions.occupational
        specialty = caller.specialty.code if caller.specialty else ""
        return specialty.rpartition("/")[2] in codes or caller.sector.partition("^")[0] in codes

    @staticmethod
    def _column(mode: Mode, actor: str, letter: str | None) -> str:
        if letter is None or not actor or mode in (Mode.NODE, Mode.OFF):
            return ""
        if mode is Mode.REINFORCED_INDIRECT:
            return _AIR_COLUMNS.get((actor, letter), "")
        return _COLUMNS.get((actor, letter), "")


def _present(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder and (folder / name).exists() else None


def _named_columns() -> dict[tuple[str, str], str]:
    named = {("OP", "n"): "OP"}
    for column in (*RIGHT_COLUMNS, *STAND_IN):
        actor, _, letter = column.partition(" ")
        if letter:
            named[actor, letter] = column
    return named


_COLUMNS = _named_columns()
_AIR_COLUMNS = {(a, m): f"AIR {a} {m}" for a in ("PS", "MD", "MT") for m in "nrb"}
_FILTERS = frozenset(field.name for field in fields(EntryFilter))
_GRANTED = Decision(True, "no rule refuses it", "granted")


def same_patient(one: str, other: str) -> bool:
    """Two CX name the same patient: same identifier, same assigning authority; type and dates do not count."""
    if one == other:
        return bool(one)
    first, second = _patient_key(one), _patient_key(other)
    return bool(first[0]) and first == second


def _patient_key(cx: str) -> tuple[str, str]:
    parts = cx.strip().split("^")
    authority = parts[3] if len(parts) > 3 else ""
    return parts[0].strip(), authority.split("&")[1] if authority.count("&") >= 1 else authority


def _explain(clause: Clause, verdict: Verdict, entry: EntryFacts | None) -> Explanation:
    if verdict is None:
        return Explanation(clause.name, "pass", f"no objection ({clause.source})")
    if isinstance(verdict, str):
        return Explanation(clause.name, "deny", f"{verdict} ({clause.source})")
    if entry is None:
        size = f"{len(verdict.value)} values" if isinstance(verdict.value, frozenset) else "the caller's identifier"
        return Explanation(clause.name, "limit", f"{verdict.field}: {size} ({clause.source})")
    allowed = _JUDGES[verdict.field](verdict.value, entry)
    if allowed is None:
        return Explanation(clause.name, "pass", f"this document is not concerned ({clause.source})")
    return Explanation(clause.name, "allow" if allowed else "deny", f"{clause.reason} ({clause.source})")
