"""Accesses by emergency: which lines are one, what is unusual about them, and how that is told.

Break-glass and the emergency call centre open a record without the patient's authorisation. The patient is told of
each, and the operator of what does not look like practice: one professional at many records, a structure he never
worked in, a structure far from all of those.

Clause: CSP L1111-17 I; DMP R526 (modes), EX_0.3-1050
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from guard.audit.particulars import NONE
from guard.audit.store import AccessLine
from xds.namespaces import EMERGENCY

PURPOSES = frozenset({"bris_de_glace", "centre_15"})
ALERT = "emergency alert"
"""Action of the line of an alert."""


class Pattern(StrEnum):
    """What is unusual; the value is its name in settings and measures."""

    RATE = "rate"
    NEW_STRUCTURE = "new_structure"
    FAR = "far"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """``records`` opened by emergency by one professional within ``window`` seconds raise an alert; 0: never."""

    records: int = 5
    window: int = 3600
    new_structure: bool = True
    far: bool = True


def is_emergency(line: AccessLine) -> bool:
    """An access by emergency to a known record, granted or refused."""
    return line.purpose in PURPOSES and bool(line.patient_key) and line.action != ALERT


def patterns(
    line: AccessLine, rules: Thresholds, *, records: int, structures: Collection[str], is_first: bool = True
) -> list[tuple[Pattern, str]]:
    """What is unusual about one access, each with its words.

    ``records`` were opened by this professional by emergency in the window that ends with the line, its own included;
    ``is_first`` says that the line is the first one about its record in that window: an alert is raised once a record.
    ``structures`` are those he acted for before.
    """
    found = []
    if rules.records and records >= rules.records and is_first:
        found.append((Pattern.RATE, f"{records} records opened by emergency within {rules.window} seconds"))
    here, known = line.structure_id, set(structures) - {""}
    if rules.new_structure and here and here not in known:
        found.append((Pattern.NEW_STRUCTURE, f"structure {here} was never seen before for this professional"))
    places = {place for one in known if (place := department(one))}
    if rules.far and places and (place := department(here)) and place not in places:
        found.append((Pattern.FAR, f"department {place}; known: {', '.join(sorted(places))}"))
    return found


def department(structure_id: str) -> str:
    """French department of a structure, "" where its identifier does not tell.

    A FINESS number (after the prefix 1) begins with the department: two characters, three overseas (97, 98).
    Clause: DMP Struct_IdNat; FINESS
    """
    if len(structure_id) != 10 or structure_id[0] != "1":
        return ""
    place = structure_id[1:3]
    return structure_id[1:4] if place in ("97", "98") else place


def notice(purpose: str, trace_id: str) -> bytes:
    """Header block of the answer to an access for this purpose, b"" when it is no emergency: software keeps the mode
    plain to see for whoever works in it.

    Nothing has to understand it. Clause: DMP EX_0.3-1050
    """
    if purpose not in PURPOSES:
        return b""
    words = "".join(f'<e:Text xml:lang="{language}">{text}</e:Text>' for language, text in _NOTICE.items())
    return (
        f'<e:EmergencyAccess xmlns:e="{EMERGENCY}" purpose="{purpose}" traceId="{trace_id}">{words}'
        "</e:EmergencyAccess>"
    ).encode()


_NOTICE = {
    "fr": "Accès en urgence : il est inscrit au journal que lit le patient, qui en est averti, et il est contrôlé.",
    "en": "Access by emergency: it is in the log the patient reads, the patient is told, and it is reviewed.",
}


def alert(line: AccessLine, pattern: Pattern, told: str, at: str) -> AccessLine:
    """The line of an alert about ``line``. It belongs to no record: it is for the operator.

    ``documents`` are left out and so is the patient; the trace id leads to the line.
    """
    return replace(
        line, at=at, event=pattern.value, action=ALERT, patient_key=None, patient_id="", documents=(), detail=told,
        peer="", clause="CSP L1111-17 I", reason="", outcome="success", particulars=NONE, is_secret=False,
    )
