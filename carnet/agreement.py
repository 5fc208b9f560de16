"""Registry, repository index and document files held against each other.

What may never be: an entry of ours without its bytes, bytes that differ from the entry, a settled row the
registry does not know. What a crash may leave, and the next sweep removes: rows not settled, bytes without a row.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

from registry.actor import RegistryActor
from repository.actor import RepositoryActor
from repository.store import HeldDocument
from repository.sweep import orphans

SHOWN = 20
Groups = Iterator[tuple[str, Iterable[Any]]]


@dataclass(slots=True)
class Report:
    """Counts, and the uniqueIds of what disagrees."""

    entries: int = 0
    documents: int = 0
    missing: list[str] = field(default_factory=list)
    """registered here, no bytes with that hash and size"""
    damaged: list[str] = field(default_factory=list)
    """bytes whose size or SHA-1 is not that of the row"""
    unknown: list[str] = field(default_factory=list)
    """settled rows the registry does not know"""
    removed: int = 0
    """still registered, bytes removed on request"""
    unfinished: int = 0
    """rows of deposits not settled yet and unknown to the registry; the sweep removes them"""
    orphans: int = 0
    """files without a row; the sweep removes them"""

    @property
    def agree(self) -> bool:
        return not (self.missing or self.damaged or self.unknown)

    def in_words(self) -> str:
        lines = [
            f"{self.entries} registered documents of this repository, {self.documents} documents held: "
            + ("they agree" if self.agree else "THEY DO NOT AGREE")
        ]
        for title, items in (
            ("registered without bytes", self.missing),
            ("damaged", self.damaged),
            ("held but not registered", self.unknown),
        ):
            lines += [f"  {title}: {item}" for item in items[:SHOWN]]
            if len(items) > SHOWN:
                lines.append(f"  {title}: {len(items) - SHOWN} more")
        if self.removed:
            lines.append(f"  still registered, bytes removed on request: {self.removed}")
        if self.unfinished or self.orphans:
            lines.append(
                f"  leftovers of unfinished deposits, for the next sweep: {self.unfinished} rows, {self.orphans} files"
            )
        return "\n".join(lines)


def compare(registry: RegistryActor, repository: RepositoryActor, *, full: bool) -> Report:
    """Hold the three against each other; ``full`` reads every byte. Changes nothing.

    Both sides are read in the order of the uniqueIds, so memory does not grow with the number of documents, only with
    what disagrees. Deposits may go on meanwhile: the registry's snapshot is taken first and files are looked at last,
    because a deposit is complete in the opposite order.
    """
    report = Report()
    with registry.database.read() as registry_unit, repository.database.read() as unit:
        registered = groupby(registry_unit.registry.held_by(repository.unique_id), key=itemgetter(0))
        rows = groupby(unit.documents.every(), key=attrgetter("unique_id"))
        for unique_id, entries, held in _side_by_side(registered, rows):
            _compare(repository, report, unique_id, entries, held, full=full)
    report.orphans = sum(1 for _ in orphans(repository))
    return report


def _side_by_side(left: Groups, right: Groups) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Each name with what is on either side of it; both sides come in the order of their names."""
    one, other = _next(left), _next(right)
    while one or other:
        name = min(group[0] for group in (one, other) if group)
        here = one[1] if one and one[0] == name else []
        there = other[1] if other and other[0] == name else []
        yield name, here, there
        one = _next(left) if here else one
        other = _next(right) if there else other


def _next(groups: Groups) -> tuple[str, list[Any]] | None:
    return next(((name, list(items)) for name, items in groups), None)


def _compare(
    repository: RepositoryActor, report: Report, unique_id: str, entries: list[tuple[str, str, int | None]],
    rows: list[HeldDocument], *, full: bool,
) -> None:
    """One uniqueId, which several entries and several deposits may share."""
    report.entries += len(entries)
    report.documents += len(rows)
    held: dict[str, list[HeldDocument]] = defaultdict(list)
    for row in rows:
        is_whole = repository.documents.size(row.key) == row.size
        if is_whole and (not full or _sha1(repository, row.key) == row.sha1):
            held[row.sha1].append(row)
        elif _is_still_there(repository, row):
            report.damaged.append(unique_id)
    registered = {sha1.lower(): size for _, sha1, size in entries}
    for sha1, size in registered.items():
        if any(row.size == size for row in held.get(sha1, ())):
            continue
        with repository.database.read() as unit:
            is_removed = unit.documents.is_buried(unique_id, sha1)
        report.removed += is_removed
        report.missing += [] if is_removed else [unique_id]
    for sha1 in held.keys() - registered.keys():
        report.unfinished += sum(not row.settled for row in held[sha1])
        report.unknown += [unique_id for row in held[sha1] if row.settled]


def _is_still_there(repository: RepositoryActor, row: HeldDocument) -> bool:
    """False when the row was withdrawn while we looked for its bytes."""
    with repository.database.read() as unit:
        return any(other.key == row.key for other in unit.documents.find(row.unique_id))


def _sha1(repository: RepositoryActor, key: str) -> str:
    """Of the bytes as they are; "" when they have just been withdrawn."""
    digest = hashlib.sha1(usedforsecurity=False)
    try:
        for chunk in repository.documents.open(key):
            digest.update(chunk)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()
