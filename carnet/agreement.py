"""Registry, repository index and document files held against each other.

What may never be: an entry of ours without its bytes, bytes that differ from the entry, a settled row the
registry does not know. What a crash may leave, and the next sweep removes: rows not settled, bytes without a row.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field

from registry.actor import RegistryActor
from repository.actor import RepositoryActor
from repository.store import HeldDocument
from xds.namespaces import ON_DEMAND

SHOWN = 20


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

    Deposits may go on meanwhile: the registry is read first and the files last, because a deposit is complete
    in the opposite order.
    """
    report = Report()
    registered: dict[tuple[str, str], int | None] = {}
    with registry.database.read() as registry_unit:
        for entry in registry_unit.registry.every_entry():
            if entry.repository_unique_id == repository.unique_id and entry.object_type != ON_DEMAND:
                report.entries += 1
                registered[entry.unique_id, entry.hash.lower()] = entry.size
    with repository.database.read() as unit:
        rows = {row.key: row for row in unit.documents.every()}
        buried = set(unit.documents.every_buried())
    report.documents = len(rows)
    held: dict[tuple[str, str], list[HeldDocument]] = defaultdict(list)
    kept = {key: size for key, size, _ in repository.documents.kept()}
    for row in rows.values():
        if kept.pop(row.key, None) == row.size and (not full or _sha1(repository, row.key) == row.sha1):
            held[row.unique_id, row.sha1].append(row)
        elif _is_still_there(repository, row):
            report.damaged.append(row.unique_id)
    report.orphans = len(kept)
    absent = [pair for pair, size in registered.items() if not any(row.size == size for row in held.get(pair, ()))]
    report.missing = [pair[0] for pair in absent if pair not in buried]
    report.removed = len(absent) - len(report.missing)
    for pair, same in held.items():
        if pair not in registered:
            report.unfinished += sum(not row.settled for row in same)
            report.unknown += [row.unique_id for row in same if row.settled]
    return report


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
