"""Whether what is submitted says it comes from whom the credential names.

A person who signs for himself is an author of it; staff, whose submissions count as their structure's, and a structure
that vouches for its people, are so by the institution. A patient, or who represents him, names no professional. That
author and signer agree is our reading of the national
profile, which states neither the contrary nor how it is checked; so the domain says what a disagreement comes to.

Clause: DMP R526 (documents imputed to the structure); SubmissionSet author, cardinality 1
"""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import replace

from guard.credentials.caller import Caller, Mode
from xds.errors import Finding

log = logging.getLogger(__name__)

OFF, REFUSE = "off", "refuse"
"""Between the two stands ``warn``."""
_SHOWN = 200
"""Characters of the authors found that are repeated."""
_PERSONAL, _VOUCHED = (Mode.DIRECT,), (Mode.INDIRECT, Mode.REINFORCED_INDIRECT)
_HOLDING = (Mode.PATIENT, Mode.REPRESENTATIVE)
PERSONS, STRUCTURES = "1.2.250.1.71.4.2.1", "1.2.250.1.71.4.2.2"
"""Under which the national registers number professionals and structures; what stands under another names neither."""


def is_asked(caller: Caller, rule: str) -> bool:
    """Whether ``rule`` compares authors at all, and the caller is one to compare them with."""
    return rule != OFF and bool(caller.assertion) and caller.mode in (*_PERSONAL, *_VOUCHED, *_HOLDING)


def disagreement(
    caller: Caller, told: Finding, persons: Set[str], structures: Set[str], *, rule: str, trace_id: str,
    instead: str = "nobody",
) -> list[Finding]:
    """``told`` when none of the authors is who signs and ``rule`` refuses that; when it warns, a line of the log.

    ``persons`` and ``structures`` are the identifiers of the national registers the authors are named by. What was
    found and what was expected are both told to the caller, whose words both are; the log does not repeat what a
    document says. ``instead`` is shown when no author has an identifier of the kind.
    """
    if not is_asked(caller, rule):
        return []
    if caller.mode in _HOLDING and not persons:
        return []
    by_person = caller.mode in _PERSONAL and caller.identifier in persons
    has_profession = caller.mode in _PERSONAL and caller.profession is not None and caller.profession.code.isdigit()
    by_structure = not has_profession and caller.mode not in _HOLDING and caller.structure_id in structures
    if by_person or by_structure:
        return []
    if caller.mode in _HOLDING:
        named, expected = persons, "no professional: a patient deposits for himself"
    else:
        named = persons if has_profession else structures
        expected = f"{caller.identifier if has_profession else caller.structure_id}, whom the assertion names"
    found = ", ".join(sorted(named - {""})) or instead
    told = replace(told, found=found if len(found) <= _SHOWN else found[:_SHOWN] + "…", expected=expected)
    if rule == REFUSE:
        return [told]
    log.warning("%r: the author is another; expected %r, trace %s", told.subject, told.expected, trace_id)
    return []
