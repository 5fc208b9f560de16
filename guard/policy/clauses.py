"""The clauses of access: each one rule, in one place, with its source.

A clause looks at the caller, the action and the record, and says one of three things: nothing; a refusal; or a
*limit* on the documents concerned, in the terms of ``EntryFilter``. A new mode of access is a new row of the tables
or a new clause in the list.

Clause: DMP R526 v1.8, R606 v1.3; CSP L1111-17, L1111-18, R1111-46; arrêté du 26/10/2023
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from guard.credentials.caller import Caller
from guard.policy.facts import Action, EntryFacts, Minors, RecordFacts, RecordStatus
from xds.namespaces import APPROVED

EMERGENCY = frozenset({"centre_15", "bris_de_glace"})
HOLDERS = frozenset({"PA", "RL"})
"""Those whose record it is: no professional's rules hold for them, and their own do for nobody else."""
_ALL = frozenset(Action)
_ON_TYPES = frozenset({Action.SEARCH, Action.READ})
_CHANGES = frozenset({
    Action.MASK, Action.UNMASK, Action.REVEAL, Action.SHOW, Action.HIDE, Action.DELETE, Action.ARCHIVE, Action.AMEND,
})
"""Of the metadata of one stored document."""
_ON_DOCUMENTS = _ON_TYPES | {Action.SEARCH_ID} | _CHANGES
_ACROSS_RECORDS = frozenset({Action.LIST_RECORDS, Action.SEARCH_PATIENTS})
"""Asked without naming a patient; the facts of each record that would be answered decide whether it is."""
_ON_OPEN_RECORD = _ALL - _ACROSS_RECORDS - {
    Action.EXISTS, Action.OPEN, Action.REOPEN, Action.ASK_DESTRUCTION, Action.DESTROY, Action.REMOVE,
}


class Standing(NamedTuple):
    """Where the caller stands in the two tables; "" where no column is his."""

    actor: str
    """PS, MD, OP, MT, CPE, ST; PA the patient, RL his representative, SYS our own systems"""
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


class Grounds(Protocol):
    """What the clauses know beside the question: the tables of one policy, made ready."""

    @property
    def granted(self) -> Mapping[Action, Mapping[str, str]]:
        """Column of the functional rights -> Y, own, str or new; a column without the right is not in it."""

    @property
    def state_cells(self) -> Mapping[str, Mapping[str, str]]:
        """Right of ``READ_STATES`` -> column -> cell"""

    @property
    def readable(self) -> Mapping[str, frozenset[str]]: ...

    @property
    def findable(self) -> Mapping[str, frozenset[str]]: ...

    @property
    def invisible(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """(right, confidentiality codes of which it speaks)"""

    @property
    def hidden_from_professionals(self) -> frozenset[str]: ...

    @property
    def hidden_from_patient(self) -> frozenset[str]: ...

    @property
    def hidden_from_representatives(self) -> frozenset[str]: ...

    @property
    def minors(self) -> Minors: ...

    @property
    def unlisted_types(self) -> frozenset[str]: ...

    @property
    def patient_types(self) -> frozenset[str]: ...


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
    rule: Callable[[Grounds, Question], Verdict]
    actions: frozenset[Action] = _ALL
    reason: str = ""


def record_is_open(policy: Grounds, question: Question) -> Verdict:
    """A closed record and one that never was are the same to the outside; its holder still reads its log."""
    status = question.record.status
    if status is RecordStatus.ACTIVE:
        return None
    holder_reads_log = question.action is Action.READ_LOG and question.standing.actor in HOLDERS
    return None if holder_reads_log and status is RecordStatus.CLOSED else "no open record for this patient"


def assertion_names_this_patient(policy: Grounds, question: Question) -> Verdict:
    """An assertion made out for one patient opens no other record; a patient's or representative's names one."""
    named = question.caller.patient_id
    if not named and question.standing.actor not in HOLDERS:
        return None
    if same_patient(named, question.record.patient_id):
        return None
    return "the assertion names another patient than the one of this record"


def representative_is_on_the_record(policy: Grounds, question: Question) -> Verdict:
    """Whoever acts as a legal representative must still be one at this request."""
    if question.standing.actor != "RL" or question.record.is_representative:
        return None
    return "the record does not name the caller as legal representative"


def actor_has_the_right(policy: Grounds, question: Question) -> Verdict:
    """The cell of the functional rights for this actor, mode of access and action. Rule: H-01"""
    column = question.standing.column
    if column in policy.granted[question.action]:
        return None
    if not column:
        return "neither the caller's role nor his mode of access has any right here"
    return f"the functional rights give {column!r} no right to: {question.action}"


def patient_bars_the_caller(policy: Grounds, question: Question) -> Verdict:
    """Stronger than authorisation, authorship and emergency. That he is barred he may be told: TD0.2 answers so.

    Rule: H-04, H-05
    """
    return "the patient has barred this professional" if question.record.is_blocked else None


def patient_objects_to_emergency(policy: Grounds, question: Question) -> Verdict:
    """The patient's express prior objection to break-glass or to access by the emergency call centre."""
    if question.caller.purpose in question.record.objected_purposes:
        return "the patient has objected to this kind of emergency access"
    return None


def caller_is_authorised(policy: Grounds, question: Question) -> Verdict:
    """Reading needs the patient's authorisation, except in an emergency. Feeding does not (TD02 note 2). Rule: H-12"""
    if question.record.is_authorised or question.caller.purpose in EMERGENCY or question.standing.actor in HOLDERS:
        return None
    return "the patient has not authorised this professional"


def data_are_kept_here(policy: Grounds, question: Question) -> Verdict:
    """Administrative data of a record attached to Mon espace santé are changed there."""
    return "the record is attached to Mon espace santé" if question.record.is_attached else None


def secret_stays_secret(policy: Grounds, question: Question) -> Verdict:
    """What is deposited under a secret connection is invisible to representatives; no record is opened under one.

    It is for minors; a patient whose age is not known may be one. Rule: H-07
    """
    if not question.caller.secret_connection:
        return None
    rules, age = policy.minors, question.record.age
    if not rules.managed:
        return "minors are not managed here: there is no secret connection"
    if age is not None and not rules.secret_from <= age < rules.majority:
        return "the patient is not of the age of a secret connection"
    if question.action is Action.OPEN:
        return "a record is not opened under a secret connection"
    hidden = policy.hidden_from_representatives - policy.hidden_from_patient
    return Limit("carried", hidden) if hidden else None


def type_is_for_persons(policy: Grounds, question: Question) -> Verdict:
    """Signature documents and the like: not even their author is shown them."""
    return Limit("excluded_types", policy.unlisted_types) if policy.unlisted_types else None


def own_documents_only(policy: Grounds, question: Question) -> Verdict:
    """The value ``own`` or ``str`` of the functional rights: nobody else's documents, nor another structure's.

    The patient's own are those of the types that only he deposits."""
    extent = policy.granted[question.action].get(question.standing.column)
    if extent == "own" and question.standing.actor in HOLDERS:
        return Limit("owner_types", policy.patient_types)
    if extent == "own":
        return Limit("owner_id", question.caller.identifier)
    return Limit("owner_structure", question.caller.structure_id) if extent == "str" else None


def author_reads_his_own(policy: Grounds, question: Question) -> Verdict:
    """Whatever the type matrix and the masks say."""
    if question.standing.actor in HOLDERS or not question.caller.identifier:
        return None
    return Limit("author_id", question.caller.identifier)


def structure_finds_its_own(policy: Grounds, question: Question) -> Verdict:
    """Staff and structures delete what theirs have written, masked or not: so they find its technical id. Rule: H-06"""
    if question.standing.actor not in ("CPE", "ST") or not question.caller.structure_id:
        return None
    return Limit("structure_id", question.caller.structure_id)


def patient_deposited_it(policy: Grounds, question: Question) -> Verdict:
    """A document deposited by the patient is archived or deleted by himself or the attending physician. Rule: H-13"""
    if question.standing.actor in ("MT", "PA", "RL") or not policy.patient_types:
        return None
    return Limit("patient_types", policy.patient_types)


def profession_reads_the_type(policy: Grounds, question: Question) -> Verdict:
    """The cell of the type matrix for this profession: R to read, R or S to find. The holder reads every type.

    Rule: H-02
    """
    if question.standing.actor in HOLDERS:
        return None
    table = policy.readable if question.action is Action.READ else policy.findable
    types = table.get(question.standing.profession, _NO_TYPES)
    if question.standing.actor == "OP":
        types = types & table.get("occupational", _NO_TYPES)
    return Limit("types", types)


def mask_hides(policy: Grounds, question: Question) -> Verdict:
    """Masked from professionals: only its author, the attending physician and the holder see it; in an emergency, if
    the patient allowed it."""
    if not policy.hidden_from_professionals:
        return None
    cell = policy.state_cells["TD3.2-masked"].get(question.standing.column, "-")
    return None if _state_is_open(cell, question) else Limit("hidden_by", policy.hidden_from_professionals)


def invisibility_hides(policy: Grounds, question: Question) -> Verdict:
    """Not yet announced to the patient, or kept from his representatives. For professionals a matter of reading:
    the list of documents shows them as such. Rule: H-11"""
    if question.action is not Action.READ and question.standing.actor not in HOLDERS:
        return None
    codes = _NO_TYPES
    for right, hidden in policy.invisible:
        if not _state_is_open(policy.state_cells[right].get(question.standing.column, "-"), question):
            codes |= hidden
    return Limit("hidden_by", codes) if codes else None


def status_hides(policy: Grounds, question: Question) -> Verdict:
    """Archived, obsolete and deleted documents; R526 lets every reader read them."""
    if question.action is not Action.READ and question.standing.actor not in HOLDERS:
        return None
    cell = policy.state_cells["TD3.2-status"].get(question.standing.column, "-")
    return None if _state_is_open(cell, question) else Limit("statuses", _APPROVED_ONLY)


def _state_is_open(cell: str, question: Question) -> bool:
    """``own`` needs nothing here: what the caller has written is let through before."""
    return cell == "Y" or (cell == "pat" and question.record.shows_masked_in_emergency)


MATRIX_CLAUSES = (
    Clause("record-open", "CSP L1111-18; DMP TD1.4", record_is_open, _ON_OPEN_RECORD),
    Clause("assertion-patient", "DMP VIHF resource-id", assertion_names_this_patient,
           _ALL - _ACROSS_RECORDS - {Action.REMOVE}),
    Clause("representative", "DMP EX_GEN-1550", representative_is_on_the_record),
    Clause("functional-right", "R526, R606", actor_has_the_right),
    Clause("patient-block", "DMP TD0.2 note 1", patient_bars_the_caller, _ALL - {Action.EXISTS}),
    Clause("emergency-objection", "CSP L1111-17 I", patient_objects_to_emergency),
    Clause("authorisation", "CSP R1111-46; DMP TD0.3", caller_is_authorised,
           _ON_TYPES | {Action.LIST_CIRCLE, Action.BE_TOLD} | _CHANGES - {Action.DELETE}),
    Clause("attached-record", "R526, note 10", data_are_kept_here, frozenset({Action.CHANGE_DATA})),
    Clause("unlisted-type", "DMP J57, class of signatures", type_is_for_persons, _ON_DOCUMENTS,
           "a document of this type is never shown to a person"),
    Clause("patient-document", "R526, note on TD3.3c and TD3.3d", patient_deposited_it,
           frozenset({Action.DELETE, Action.ARCHIVE, Action.AMEND}), "the patient has deposited this document"),
    Clause("owner", "R526, values own and str", own_documents_only, _CHANGES | {Action.FEED},
           "this is no document of the caller's own"),
    Clause("secret-connection", "DMP EX_2.1-1050, EX_0.1-1100", secret_stays_secret,
           frozenset({Action.OPEN, Action.FEED}), "the connection is secret, and the document is not"),
    Clause("own-document", "R526, value own", author_reads_his_own, _ON_DOCUMENTS,
           "the caller is an author of this document"),
    Clause("own-structure", "R526, TD3.1 and TD3.3c, value str", structure_finds_its_own,
           _CHANGES | {Action.SEARCH_ID}, "the document was written in the caller's structure"),
    Clause("document-type", "arrêté du 26/10/2023", profession_reads_the_type, _ON_TYPES | _CHANGES - {Action.DELETE},
           "the caller's profession has no right to this type of document"),
    Clause("masked", "R526; DMP TD3.3a", mask_hides, _ON_DOCUMENTS, "the document is masked from professionals"),
    Clause("invisible", "R526; DMP TD3.3b", invisibility_hides, _ON_DOCUMENTS,
           "the document is not visible to the patient or to his representatives"),
    Clause("document-status", "R526; DMP TD3.3c, TD3.3d", status_hides, _ON_DOCUMENTS,
           "the document is archived, obsolete or deleted"),
)
"""In the order recommended for the access matrix: record, functional right, block, objection and authorisation, type,
confidentiality, status. What refuses for a caller's own documents too stands before the two clauses that allow."""

_NO_TYPES: frozenset[str] = frozenset()
_APPROVED_ONLY = frozenset({APPROVED})


def _judge_excluded(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return False if entry.type_code in value else None


def _judge_author(value: str, entry: EntryFacts) -> bool | None:
    return True if value in entry.author_ids else None


def _judge_types(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return None if entry.type_code in value else False


def _judge_hidden(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return None if value.isdisjoint(entry.confidentiality) else False


def _judge_status(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return None if entry.status in value else False


def _judge_carried(value: frozenset[str], entry: EntryFacts) -> bool | None:
    return False if value.isdisjoint(entry.confidentiality) else None


def _judge_own_structure(value: str, entry: EntryFacts) -> bool | None:
    return True if value in entry.structure_ids else None


def _judge_owner(value: str, entry: EntryFacts) -> bool | None:
    return None if value and value in entry.author_ids else False


def _judge_structure(value: str, entry: EntryFacts) -> bool | None:
    return None if value and value in entry.structure_ids else False


JUDGES: dict[str, Callable[..., bool | None]] = {
    "excluded_types": _judge_excluded,
    "author_id": _judge_author,
    "structure_id": _judge_own_structure,
    "statuses": _judge_status,
    "carried": _judge_carried,
    "owner_types": _judge_types,
    "types": _judge_types,
    "hidden_by": _judge_hidden,
    "patient_types": _judge_excluded,
    "owner_id": _judge_owner,
    "owner_structure": _judge_structure,
}
"""One document against one limit: False refused, True allowed whatever follows, None goes on."""


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
