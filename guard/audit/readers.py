"""Who reads how much of a record's access log.

Clause: arrêté du 26/10/2023; DMP R527 2.6, EX_GEN-1550, value set RestrictionAudienceVIHF
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from guard.audit.access_log import DEPOSIT, HIDE, READ, REFUSED, SEARCH, stamp
from guard.audit.store import AccessLine
from guard.credentials.caller import Mode

DEPTH = timedelta(days=365)
DEPTH_LINES = 100
"""A professional sees what is no older and no more than this. Clause: DMP R527 2.6"""


WITHHELD = "…"
"""In place of a uniqueId."""


class ReaderKind(StrEnum):
    """Whose eyes; the value names it in the log."""

    PATIENT = "patient"
    REPRESENTATIVE = "representative"
    PROFESSIONAL = "professional"
    ATTENDING = "attending physician"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Reader:
    """``identifier`` is the national identifier of a professional, or the account of a representative. ``hidden`` are
    uniqueIds of documents that a patient or a representative may not know of."""

    kind: ReaderKind
    identifier: str = ""
    hidden: frozenset[str] = frozenset()


def visible(lines: Iterable[AccessLine], reader: Reader, now: datetime) -> list[AccessLine]:
    """What this reader may see of the lines of one record, which come oldest first.

    The patient and the operator see all, the patient without the names of documents not announced to him. Legal
    representatives see neither the accesses of a secret connection nor, in other lines, the documents deposited under
    one or hidden from them: their names would tell of it. A professional sees what he did himself, the attending
    physician everything, both within the depth. Of what a professional, the patient or a representative asked for
    himself, only what he found, and in his own words: a line about a document hidden from him, or a name withheld in
    it, would tell that it exists.
    """
    match reader.kind:
        case ReaderKind.OPERATOR:
            return list(lines)
        case ReaderKind.PATIENT:
            return [
                line if _is_own(line, reader) else _unnamed(line, reader.hidden)
                for line in lines if not (_is_own(line, reader) and _found_nothing(line))
            ]
        case ReaderKind.REPRESENTATIVE:
            return _without_secrets(list(lines), reader)
    since = stamp(now - DEPTH)
    return list(deque(
        (
            line for line in lines
            if line.at >= since
            and (
                reader.kind is ReaderKind.ATTENDING
                or (reader.identifier and line.caller_id == reader.identifier and not _found_nothing(line))
            )
        ),
        maxlen=DEPTH_LINES,
    ))


def _found_nothing(line: AccessLine) -> bool:
    """A read that was refused, a search that was refused, or one by identifier that was empty: such a line is in this
    record only because the object is."""
    if line.outcome == REFUSED:
        return line.action in (READ, SEARCH)
    by_name = line.detail.startswith("Get") and not line.detail.startswith("GetAll,")
    return line.action == SEARCH and by_name and line.detail.endswith(", 0 results")


def _is_own(line: AccessLine, reader: Reader) -> bool:
    """A line of the holder, or of this representative himself: it says what he asked for, in his own words."""
    if reader.kind is ReaderKind.PATIENT:
        return line.mode == Mode.PATIENT
    return line.mode == Mode.REPRESENTATIVE and bool(reader.identifier) and line.caller_id == reader.identifier


def _unnamed(line: AccessLine, hidden: frozenset[str]) -> AccessLine:
    """Every access stays in the patient's view; which document it was about waits for its announcement."""
    if hidden.isdisjoint(line.documents):
        return line
    return replace(line, documents=tuple(WITHHELD if name in hidden else name for name in line.documents))


def _without_secrets(lines: list[AccessLine], reader: Reader) -> list[AccessLine]:
    hidden = reader.hidden | frozenset(
        name for line in lines if line.is_secret and line.action in (DEPOSIT, HIDE) for name in line.documents
    )
    shown = []
    for line in lines:
        is_own = _is_own(line, reader)
        if line.is_secret or (is_own and _found_nothing(line)):
            continue
        if is_own and line.outcome == REFUSED:
            shown.append(line)
            continue
        left = tuple(name for name in line.documents if name not in hidden)
        if left or not line.documents:
            shown.append(line if left == line.documents else replace(line, documents=left))
    return shown
