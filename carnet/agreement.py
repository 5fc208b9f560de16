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
        if self.unfinished or self.orphans:
            lines.append(
                f"  leftovers of unfinished deposits, for the next sweep: {self.unfinished} rows, {self.orphans} files"
            )
        return "\n".join(lines)


def compare(registry: RegistryActor, repository: RepositoryActor, *, full: bool) -> Report:
    """Hold the three against each other; ``full`` reads every byte. Changes nothing."""
    report = Report()
    kept = {key: size for key, size, _ in repository.documents.kept()}
    held: dict[tuple[str, str], list[HeldDocument]] = defaultdict(list)
    with repository.database.read() as unit:
        for row in unit.documents.every():
            report.documents += 1
            whole = kept.pop(row.key, None) == row.size and (not full or _sha1(repository, row.key) == row.sha1)
            if whole:
                held[row.unique_id, row.sha1].append(row)
            else:
                report.damaged.append(row.unique_id)
    report.orphans = len(kept)
    registered: set[tuple[str, str]] = set()
    with registry.database.read() as registry_unit:
        for entry in registry_unit.registry.every_entry():
            if entry.repository_unique_id != repository.unique_id:
                continue
            report.entries += 1
            pair = (entry.unique_id, entry.hash.lower())
            registered.add(pair)
            if not any(row.size == entry.size for row in held.get(pair, ())):
                report.missing.append(entry.unique_id)
    for pair, rows in held.items():
        if pair not in registered:
            report.unfinished += sum(not row.settled for row in rows)
            report.unknown += [row.unique_id for row in rows if row.settled]
    return report


def _sha1(repository: RepositoryActor, key: str) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for chunk in repository.documents.open(key):
        digest.update(chunk)
    return digest.hexdigest()
