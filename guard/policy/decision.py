"""The one place where a right is decided: pure, no clock, no store, no XML.

A policy is an ordered list of clauses and the tables they look into. ``decide`` weighs one document against the
limits of the clauses, ``visible`` hands the same limits to the store, ``explain`` shows every clause. Since all three
read one list, a document that a query shows is one that a retrieve gives.

Clause: DMP R526 v1.8, R606 v1.3; CSP L1111-17, L1111-18, R1111-46; arrêté du 26/10/2023
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from guard.credentials.caller import Caller, Mode
from guard.policy.clauses import JUDGES, MATRIX_CLAUSES, Clause, Question, Standing, Verdict
from guard.policy.facts import NOTHING, Action, Decision, EntryFacts, EntryFilter, Minors, RecordFacts, RecordStatus
from guard.policy.matrix import PROFESSION_COLUMNS, READ_STATES, RIGHT_COLUMNS, STAND_IN, AccessMatrix, FunctionalRights
from guard.professions import Professions, TableError

MODE_LETTERS = {"normal": "n", "centre_15": "r", "bris_de_glace": "b"}
"""Purpose of use (TRE_R248) -> mode of R526. Any other purpose has no right."""

ACCESS_OVERRIDE, RIGHTS_OVERRIDE = "access-override.csv", "rights-override.csv"
"""Optional tables in the operator's folder: cells that replace those of the two matrices."""

_MODE_ACTORS = {Mode.PATIENT: "PA", Mode.REPRESENTATIVE: "RL", Mode.NODE: "SYS"}
_PERSONS = ("MD", "PS")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one clause says to one question. ``verdict`` is deny, allow, limit or pass."""

    clause: str
    verdict: str
    reason: str


class Policy:
    """Immutable; safe to share between threads. Build it with ``load`` or ``open``."""

    __slots__ = (
        "_clauses_of", "access", "clauses", "findable", "granted", "hidden_from_patient", "hidden_from_professionals",
        "hidden_from_representatives", "invisible", "minors", "patient_types", "professions", "readable", "rights",
        "state_cells", "unlisted_types",
    )

    def __init__(
        self,
        clauses: Iterable[Clause],
        *,
        access: AccessMatrix | None = None,
        rights: FunctionalRights | None = None,
        professions: Professions | None = None,
        hidden_from_professionals: frozenset[str] = frozenset(),
        hidden_from_patient: frozenset[str] = frozenset(),
        hidden_from_representatives: frozenset[str] = frozenset(),
        unlisted_types: frozenset[str] = frozenset(),
        patient_types: frozenset[str] = frozenset(),
        minors: Minors = Minors(),  # noqa: B008 - frozen
    ):
        self.clauses = tuple(clauses)
        self.access = access
        self.rights = rights
        self.professions = professions or Professions({})
        self.hidden_from_professionals = hidden_from_professionals
        self.hidden_from_patient = hidden_from_patient
        self.hidden_from_representatives = hidden_from_representatives
        self.invisible = (("TD3.2-invisible", hidden_from_patient),
                          ("TD3.2-invisible-rl", hidden_from_representatives - hidden_from_patient))
        self.unlisted_types = unlisted_types
        self.patient_types = patient_types
        self.minors = minors
        self.readable = {c: access.readable(c) for c in PROFESSION_COLUMNS} if access else {}
        self.findable = {c: access.findable(c) for c in PROFESSION_COLUMNS} if access else {}
        columns = rights.columns() if rights else ()
        self.granted = {
            action: {c: extent for c in columns if rights and (extent := rights.extent(action, c)) != "-"}
            for action in Action
        }
        self.state_cells = {
            right: {c: rights.cell(right, c) for c in columns} if rights else {} for right in READ_STATES
        }
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
        hidden_from_patient: frozenset[str] = frozenset(),
        hidden_from_representatives: frozenset[str] = frozenset(),
        unlisted_types: frozenset[str] = frozenset(),
        patient_types: frozenset[str] = frozenset(),
        minors: Minors = Minors(),  # noqa: B008 - frozen
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
            hidden_from_patient=hidden_from_patient,
            hidden_from_representatives=hidden_from_representatives,
            unlisted_types=unlisted_types,
            patient_types=patient_types,
            minors=minors,
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
            allowed = JUDGES[verdict.field](verdict.value, entry)
            if allowed is not None:
                return Decision(allowed, clause.reason, clause.name)
        return _GRANTED

    def extent(self, caller: Caller, action: Action, record: RecordFacts) -> str:
        """How far: ``Y`` everything, ``own`` what is the caller's, ``str`` his structure's, ``new`` new authorisations,
        ``-`` nothing. For lists, logs and acts that concern no document; those that do are decided one by one."""
        if not self.decide(caller, action, record).allowed:
            return "-"
        return self.granted[action].get(self.standing(caller, record).column, "Y")

    def visible(self, caller: Caller, action: Action, record: RecordFacts) -> EntryFilter:
        """The documents of this record for which ``decide`` says yes, as a filter for the store.

        Rule: H-10. Made for reading: a change is decided document by document, so its filter may let nothing pass.
        """
        question = Question(caller, action, record, self.standing(caller, record))
        limits: dict[str, frozenset[str] | str] = {}
        for clause in self._clauses_of[action]:
            verdict = clause.rule(self, question)
            if isinstance(verdict, str):
                return NOTHING
            if verdict is not None:
                if verdict.field not in _FILTERS:
                    return NOTHING
                before = limits.get(verdict.field)
                if isinstance(before, frozenset) and isinstance(verdict.value, frozenset):
                    limits[verdict.field] = _JOINED[verdict.field](before, verdict.value)
                else:
                    limits[verdict.field] = verdict.value
        return EntryFilter(**limits)  # type: ignore[arg-type]

    def known(self, caller: Caller, record: RecordFacts) -> EntryFilter:
        """The documents that are there for the caller when he names one: in ITI-57 and in acts on a document.

        Who searches knows of what a search shows him; who might search, were he allowed to open this record, of his own
        only, which he may delete all the same (EX_3.3-1060); staff and structures of what SEARCH_ID gives. Rule: L-08
        """
        if self.decide(caller, Action.SEARCH, record).allowed:
            return self.visible(caller, Action.SEARCH, record)
        by_name = self.visible(caller, Action.SEARCH_ID, record)
        at_best = RecordFacts(RecordStatus.ACTIVE, patient_id=record.patient_id, is_representative=True)
        if by_name == NOTHING or not self.decide(caller, Action.SEARCH, at_best).allowed:
            return by_name
        return replace(by_name, types=frozenset())

    def explain(
        self, caller: Caller, action: Action, record: RecordFacts, entry: EntryFacts | None = None
    ) -> list[Explanation]:
        """Every clause in order (H-09), also those after the deciding one. The first deny or allow is the decision."""
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

        Rule: H-08. Clause: DMP R526 (columns), R606 (AIR)
        """
        mode = MODE_LETTERS.get(caller.purpose)
        actor, profession = _MODE_ACTORS.get(caller.mode, ""), ""
        if actor:
            return Standing(actor, self._column(caller.mode, actor, mode), "")
        if caller.sector.partition("^")[0] in self.professions.excluded:
            return _NOBODY
        row = self.professions.find(caller.profession)
        if row is not None and row.actor == "by role":
            row = self.professions.find(caller.specialty)
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
        if letter is None or not actor or mode is Mode.OFF:
            return ""
        if mode is Mode.REINFORCED_INDIRECT:
            return _AIR_COLUMNS.get((actor, letter), "")
        return _COLUMNS.get((actor, letter), "")


def _present(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder and (folder / name).exists() else None


def _named_columns() -> dict[tuple[str, str], str]:
    """(actor, mode) -> column; a column without a mode is of the normal one."""
    parted = ((column, *column.partition(" ")) for column in (*RIGHT_COLUMNS, *STAND_IN))
    return {(actor, letter or "n"): column for column, actor, _, letter in parted}


_NOBODY = Standing("", "", "")
_COLUMNS = _named_columns()
_AIR_COLUMNS = {(a, m): f"AIR {a} {m}" for a in ("PS", "MD", "MT") for m in "nrb"}
_JOINED: dict[str, Callable[[frozenset[str], frozenset[str]], frozenset[str]]] = {
    "hidden_by": frozenset.union, "excluded_types": frozenset.union, "types": frozenset.intersection,
    "statuses": frozenset.intersection,
}
"""How two clauses about one field come together: what either hides is hidden."""
_FILTERS = frozenset(field.name for field in fields(EntryFilter))
_GRANTED = Decision(True, "no rule refuses it", "granted")


def _explain(clause: Clause, verdict: Verdict, entry: EntryFacts | None) -> Explanation:
    if verdict is None:
        return Explanation(clause.name, "pass", f"no objection ({clause.source})")
    if isinstance(verdict, str):
        return Explanation(clause.name, "deny", f"{verdict} ({clause.source})")
    if entry is None:
        size = f"{len(verdict.value)} values" if isinstance(verdict.value, frozenset) else "the caller's identifier"
        return Explanation(clause.name, "limit", f"{verdict.field}: {size} ({clause.source})")
    allowed = JUDGES[verdict.field](verdict.value, entry)
    if allowed is None:
        return Explanation(clause.name, "pass", f"this document is not concerned ({clause.source})")
    return Explanation(clause.name, "allow" if allowed else "deny", f"{clause.reason} ({clause.source})")
