"""Who may do what, read a second time from the published rows: nothing here knows how the decision is built.

Words only: an actor and his mode of access, a record as a set of words, a document, an operation by its number.
"""

from __future__ import annotations

from dataclasses import dataclass

from rights_oracle import CELLS, RIGHTS, cells, key

TYPE_CELLS = cells()
REPORT, PSYCHIATRIC, PERSONAL, SIGNATURE = key("11488-4"), key("68599-0"), key("DOCPAT01"), key("E1762")

OPERATIONS = {
    "TD0.2": "TD0", "TD0.3 declare": "TD0.3-declare", "TD0.3 remove": "TD0.3-remove",
    "TD0.3 become MT": "TD0.3-become-mt", "TD0.3 stop MT": "TD0.3-stop-mt", "TD0.4": "TD0.4", "TD0.5": "TD0.5",
    "TD0.9": "TD0.9", "TD1.1": "TD1.1", "TD1.2": "TD1.2", "TD1.3a": "TD1.3a", "TD1.3b": "TD1.3b", "TD1.4": "TD1.4",
    "TD1.5": "TD1.5", "TD1.6": "TD1.6", "authorise": "authorise", "block": "block", "unblock": "unblock",
    "object": "object", "log": "log", "be told": "notices", "ask destruction": "destruction", "destroy": "destroy",
    "TD2": "TD2.1 TD2.2", "TD3.1": "TD3.1", "TD3.1 id": "TD3.1-id", "TD3.2": "TD3.2", "TD3.3a mask": "TD3.3a-mask",
    "TD3.3a unmask": "TD3.3a-unmask", "TD3.3b": "TD3.3b",
    "TD3.3b show": "TD3.3b-show", "TD3.3b hide": "TD3.3b-hide", "TD3.3c": "TD3.3c", "TD3.3d": "TD3.3d",
    "ITI-57": "ITI-57-other", "move": "", "remove": "remove",
}  # fmt: skip
"""Operation -> rows of the functional rights; feeding has two, one of them for staff."""

CHANGES = frozenset({
    "TD3.3a mask", "TD3.3a unmask", "TD3.3b", "TD3.3b show", "TD3.3b hide", "TD3.3c", "TD3.3d", "ITI-57",
})
ON_DOCUMENTS = CHANGES | {"TD2", "TD3.1", "TD3.1 id", "TD3.2"}
NO_OPEN_RECORD_NEEDED = frozenset({"TD0.2", "TD0.4", "TD0.5", "TD1.1", "TD1.2", "ask destruction", "destroy", "remove"})
NO_PATIENT_NAMED = frozenset({"TD0.4", "TD0.5", "remove"})
CONSULTATION = frozenset({"TD1.6", "TD3.1", "TD3.2", "be told"}) | CHANGES - {"TD3.3c"}
"""What needs the patient's authorisation in normal mode: a professional deletes his own without it (EX_3.3-1060)."""
HOLDERS = ("PA", "RL")
PROFESSIONS = {"PS": "60", "MD": "10", "MT": "10", "OP": "10"}
"""Of those who play these actors in the tests."""


@dataclass(frozen=True)
class Document:
    """``codes`` among MASQUE, PATIENT, PARENTS; ``author`` among other, own, structure; ``status`` of the entry."""

    type_code: str = REPORT
    codes: frozenset[str] = frozenset()
    author: str = "other"
    status: str = "approved"


@dataclass(frozen=True)
class Someone:
    """``actor`` of R526, PA, RL, SYS, or "" for who has no column; ``air`` reinforced indirect mode of R606."""

    actor: str
    mode: str = "n"
    air: bool = False
    secret: bool = False


def cell_of(who: Someone, right: str, table: dict[tuple[str, str], str]) -> str:
    """The cell for this actor in this mode. An MT in regulation is a physician; OP, PA, RL and SYS know normal mode."""
    if not right or not who.actor:
        return "-"
    if who.air and (who.actor not in ("PS", "MD", "MT") or RIGHTS[right][1] == "-"):
        return "-"
    if who.actor in ("OP", "PA", "RL", "SYS"):
        return table[right, who.actor] if who.mode == "n" else "-"
    column = "MD r" if (who.actor, who.mode) == ("MT", "r") else f"{who.actor} {who.mode}"
    return table.get((right, column), "-")


def may(
    who: Someone, operation: str, record: frozenset[str], document: Document | None,
    table: dict[tuple[str, str], str] = CELLS,
) -> bool:
    """The answer. ``record``: one of open, closed, absent, subsumed, and any of barred, unauthorised, objects r,
    objects b, shows masked, attached, unrepresented, other patient."""
    rows = OPERATIONS[operation].split()
    extents = {cell_of(who, right, table) for right in rows} & {"Y", "own", "str", "new"}
    return (
        bool(extents)
        and _record_allows(who, operation, record)
        and (document is None or operation not in ON_DOCUMENTS or _document_allows(
            who, operation, record, document, "Y" if "Y" in extents else min(extents), table))
    )


def _record_allows(who: Someone, operation: str, record: frozenset[str]) -> bool:
    reads_log_of_closed = operation == "log" and who.actor in HOLDERS and "closed" in record
    needs_authorisation = operation in CONSULTATION and who.mode == "n" and who.actor not in HOLDERS
    return (
        ("open" in record or operation in NO_OPEN_RECORD_NEEDED or reads_log_of_closed)
        and not ("other patient" in record and operation not in NO_PATIENT_NAMED)
        and not (who.actor == "RL" and "unrepresented" in record)
        and not ("barred" in record and operation != "TD0.2")
        and f"objects {who.mode}" not in record
        and not (needs_authorisation and "unauthorised" in record)
        and not (operation == "TD1.3b" and "attached" in record)
        and not (operation == "TD1.1" and who.secret)
    )


def _document_allows(
    who: Someone, operation: str, record: frozenset[str], document: Document, extent: str,
    table: dict[tuple[str, str], str],
) -> bool:
    is_holder, is_personal = who.actor in HOLDERS, document.type_code == PERSONAL
    belongs = {
        "Y": True, "str": document.author == "structure", "own": is_personal if is_holder else document.author == "own",
    }[extent]
    if operation == "TD2":
        return belongs and (not who.secret or "PARENTS" in document.codes)
    if document.type_code == SIGNATURE or (operation in CHANGES and not belongs):
        return False
    if is_personal and operation in ("TD3.3c", "TD3.3d", "ITI-57") and who.actor not in ("MT", *HOLDERS):
        return False
    if document.author == "own" and not is_holder:
        return True
    if document.author == "structure" and who.actor in ("CPE", "ST") and operation in CHANGES | {"TD3.1 id"}:
        return True
    if not is_holder and operation not in ("TD3.1 id", "TD3.3c"):
        profession = PROFESSIONS.get(who.actor, "")
        if TYPE_CELLS.get((document.type_code, profession)) != "R" or (who.actor == "OP" and operation == "TD3.2"):
            return False
    states = {"TD3.2-masked"} if "MASQUE" in document.codes else set()
    if operation == "TD3.2" or is_holder:
        states |= {"TD3.2-invisible"} if "PATIENT" in document.codes else set()
        states |= {"TD3.2-invisible-rl"} if "PARENTS" in document.codes else set()
        states |= {"TD3.2-status"} if document.status != "approved" else set()
    given = {cell_of(who, state, table) for state in states}
    return given <= ({"Y", "pat"} if "shows masked" in record else {"Y"})
