"""Settle what crashes and time-outs left behind.

A row is settled once the registry has named its document; a row the registry does not know after the
grace period is the leftover of a deposit nobody was told had succeeded, and goes with its bytes. Bytes
without a row, and staged bytes, are leftovers of a deposit cut short before its transaction.

Clause: ITI TF-2 3.41.4.1.3 (A-5 of our rules)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from repository.actor import RepositoryActor

BATCH = 500


@dataclass(slots=True)
class Swept:
    """What one sweep did."""

    settled: int = 0
    removed: int = 0
    orphans: int = 0
    staged: int = 0


def sweep(actor: RepositoryActor, grace: float) -> Swept:
    """Settle or remove everything older than ``grace`` seconds. May be repeated at any time.

    ``grace`` must exceed the longest deposit plus the link's time-out. Raises RegistryUnavailable: then
    nothing of the unfinished batch is touched.
    """
    done = Swept()
    before = actor.clock() - grace
    while rows := _unsettled(actor, before):
        known = actor.registry.known({(r.unique_id, r.sha1) for r in rows})
        keep = [r.key for r in rows if (r.unique_id, r.sha1) in known]
        drop = [r.key for r in rows if (r.unique_id, r.sha1) not in known]
        with actor.database.write() as unit:
            unit.documents.settle(keep)
            unit.documents.remove(drop)
        actor.documents.discard(drop)
        done.settled += len(keep)
        done.removed += len(drop)
    old = [key for key, age in orphans(actor) if age > grace]
    actor.documents.discard(old)
    done.orphans = len(old)
    done.staged = actor.documents.clear_staging(grace)
    return done


def orphans(actor: RepositoryActor) -> Iterator[tuple[str, float]]:
    """(key, age in seconds) of every permanent document without a row: both are read in the order of their keys."""
    with actor.database.read() as unit:
        rows = unit.documents.keys()
        row = next(rows, None)
        for key, _, age in actor.documents.kept():
            while row is not None and row < key:
                row = next(rows, None)
            if row != key:
                yield key, age


def _unsettled(actor: RepositoryActor, before: float) -> list:
    with actor.database.read() as unit:
        return unit.documents.unsettled(before, BATCH)
