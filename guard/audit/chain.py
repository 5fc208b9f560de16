"""The chain of the access log: each line carries a hash over itself and over the line before.

Pure: what is hashed, how links hold together, and what is wrong with a chain. A log has one or more *lanes*, chains of
their own; a line's lane follows from its ``patient_key``, so that writers of a cluster need not queue on one row.
Two hashes make a link: ``digest`` over the content of the line, and ``link`` over the hash before, the place and that
digest. So a line may be destroyed when its time has come: its digest stays, and the chain still holds.

A chain shows what was done to its lines, not that its end is missing, nor that all of it was computed anew. Both are
found by checkpoints: the ends of all lanes, signed with the service's key and written outside the database as well.

Clause: ITI TF-2 3.20.4.1.1; DMP EX_AIR-100 (traces are kept); CSP R1111-46
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple

from guard.audit.store import KEPT, AccessLine

GENESIS = "0" * 64
"""What stands for the hash before the first line of a lane."""
CHANGED, REMOVED, INSERTED, TRUNCATED, REWRITTEN = "changed", "removed", "inserted", "truncated", "rewritten"
UNFOUNDED = "destroyed without an act"
_content = attrgetter(*KEPT)
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def digest(line: AccessLine, number: int) -> str:
    """SHA-256 of the content of a line, 64 hex digits. What is empty is left out, so that a later field changes no
    digest of an earlier line."""
    told = {name: value for name, value in zip(KEPT, _content(line), strict=True) if value}
    return hashlib.sha256(_dumps(told | {"number": number}).encode()).hexdigest()


def link(previous: str, sequence: int, digest_: str) -> str:
    """The hash a line carries: SHA-256 over the hash before, its place and its digest."""
    return hashlib.sha256(f"{previous} {sequence} {digest_}".encode()).hexdigest()


class Head(NamedTuple):
    """The end of one lane: place and hash of its newest line."""

    lane: int
    sequence: int
    hash: str


class Link(NamedTuple):
    """One line as far as the chain is concerned; of a destroyed one only digest, hash and the act that destroyed it.

    ``trace_id`` and ``at`` are the line's; of a destroyed line the trace is that of the act and ``at`` is "".
    """

    lane: int
    sequence: int
    number: int
    digest: str
    hash: str
    at: str = ""
    trace_id: str = ""
    is_destroyed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Something wrong with a log. ``kind`` is one of the words above; lines ``first`` to ``last`` of the lane.

    ``number`` (nanoseconds since the epoch), ``at`` and ``trace_id`` are those of the line, where it is still there.
    """

    kind: str
    lane: int = 0
    first: int = 0
    last: int = 0
    number: int = 0
    at: str = ""
    trace_id: str = ""
    told: str = ""
    """What shows it, in words"""


class Anchor(NamedTuple):
    """What a signed checkpoint says of one lane."""

    head: Head
    at: str


def flaws(links: Iterable[Link], heads: Iterable[Head], anchors: Iterable[Anchor] = ()) -> Iterator[Flaw]:
    """What is wrong with a chain. ``links`` come in the order of lane and sequence; memory is flat in their number."""
    ends = {head.lane: head for head in heads}
    signed: dict[int, Signed] = {}
    for anchor in anchors:
        if anchor.head.sequence:
            signed.setdefault(anchor.head.lane, {}).setdefault(anchor.head.sequence, []).append(anchor)
    seen = set()
    for lane, group in groupby(links, key=itemgetter(0)):
        seen.add(lane)
        yield from _flaws_of_lane(lane, group, ends.get(lane, Head(lane, 0, GENESIS)), signed.get(lane, {}))
    for lane in (ends.keys() | signed.keys()) - seen:
        yield from _flaws_of_lane(lane, (), ends.get(lane, Head(lane, 0, GENESIS)), signed.get(lane, {}))


Signed = dict[int, list[Anchor]]
"""Place -> what checkpoints say of it; two that disagree were signed before and after the log was put back."""


def _flaws_of_lane(lane: int, links: Iterable[Link], end: Head, signed: Mapping[int, list[Anchor]]) -> Iterator[Flaw]:
    sequence, before = 0, GENESIS
    for place, group in groupby(links, key=itemgetter(1)):
        candidates = list(group)
        fitting = [one for one in candidates if link(before, place, one.digest) == one.hash]
        line = (fitting or candidates)[0]
        for other in candidates:
            if other is not line:
                yield _of(other, INSERTED, "another line stands at the same place")
        if place > sequence + 1:
            yield Flaw(kind=REMOVED, lane=lane, first=sequence + 1, last=place - 1, at=line.at,
                       told="these places are empty; the time is that of the next line")
        elif not fitting:
            yield _of(line, CHANGED, "its hash does not follow from its content and the line before")
        sequence, before = place, line.hash
        anchor = next((one for one in signed.get(place, ()) if one.head.hash != before), None)
        if anchor is not None:
            yield _of(line, REWRITTEN, f"the checkpoint signed at {anchor.at} has another hash here: this line or one "
                      "before it was written anew")
    if end.sequence > sequence:
        yield Flaw(kind=TRUNCATED, lane=lane, first=sequence + 1, last=end.sequence, told="the end of the log is gone")
    elif (end.sequence, end.hash) != (sequence, before):
        yield Flaw(kind=CHANGED, lane=lane, first=sequence, last=sequence,
                   told="the noted end of the chain is not its last line")
    latest = max(signed, default=0)
    if latest > max(sequence, end.sequence):
        yield Flaw(kind=TRUNCATED, lane=lane, first=sequence + 1, last=latest,
                   told=f"the checkpoint signed at {signed[latest][0].at} knows more lines than there are")


def _of(line: Link, kind: str, told: str) -> Flaw:
    return Flaw(kind=kind, lane=line.lane, first=line.sequence, last=line.sequence, number=line.number, at=line.at,
                trace_id=line.trace_id, told=told)
