"""Who reads how much of a record's access log.

Clause: arrêté du 26/10/2023; DMP R527 2.6, EX_GEN-1550, value set RestrictionAudienceVIHF
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from guard.audit.access_log import DEPOSIT, HIDE, stamp
from guard.audit.store import AccessLine

DEPTH = timedelta(days=365)
DEPTH_LINES = 100
"""A professional sees what is no older and no more than this. Clause: DMP R527 2.6"""


class ReaderKind(StrEnum):
    """Whose eyes; the value names it in the log."""

    PATIENT = "patient"
    REPRESENTATIVE = "representative"
    PROFESSIONAL = "professional"
    ATTENDING = "attending physician"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Reader:
    """``identifier`` is the national identifier of a professional."""

    kind: ReaderKind
    identifier: str = ""


def visible(lines: Iterable[AccessLine], reader: Reader, now: datetime) -> list[AccessLine]:
    """What this reader may see of the lines of one record, which come oldest first.

    The patient and the operator see all. Legal representatives see neither the accesses of a secret connection nor,
    in other lines, the documents deposited under one or hidden from them later: their names would tell of it. A
    professional sees what he did himself, the attending physician everything, both within the depth.
    """
    match reader.kind:
        case ReaderKind.PATIENT | ReaderKind.OPERATOR:
            return list(lines)
        case ReaderKind.REPRESENTATIVE:
            return _without_secrets(list(lines))
    since = stamp(now - DEPTH)
    return list(deque(
        (
            line for line in lines
            if line.at >= since
            and (reader.kind is ReaderKind.ATTENDING or (reader.identifier and line.caller_id == reader.identifier))
        ),
        maxlen=DEPTH_LINES,
    ))


def _without_secrets(lines: list[AccessLine]) -> list[AccessLine]:
    hidden = frozenset(
        name for line in lines if line.is_secret and line.action in (DEPOSIT, HIDE) for name in line.documents
    )
    shown = []
    for line in lines:
        if line.is_secret:
            continue
        left = tuple(name for name in line.documents if name not in hidden)
        if left or not line.documents:
            shown.append(line if left == line.documents else replace(line, documents=left))
    return shown
