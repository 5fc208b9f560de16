"""Erase the documents of records that were destroyed.

The registry keeps the list; what is erased here leaves it with the next question. May be repeated at any time.

Clause: CSP L1111-18
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from repository.actor import RepositoryActor

log = logging.getLogger("carnet.erase")


def erase(actor: RepositoryActor) -> int:
    """Erase all that is on the list of this repository; returns the number of documents.

    Bytes go before their rows: a crash between the two leaves a row without bytes, which the next run removes. Nothing
    is said to be erased before both are, durably. A document that came after the decision belongs to a new record and
    stays; if the registry does not know it, the sweep takes it. Raises RegistryUnavailable, OSError.
    """
    count = 0
    done: Iterable[tuple[str, str]] = ()
    while wanted := actor.registry.erasures(actor.unique_id, done):
        with actor.database.read() as unit:
            held = [
                row for (unique_id, sha1), decided_at in wanted.items() for row in unit.documents.find(unique_id)
                if row.sha1.lower() == sha1 and row.received_at <= decided_at
            ]
        actor.documents.discard(row.key for row in held)
        with actor.database.write() as unit:
            unit.documents.remove([row.key for row in held])
        done = wanted
        count += len(wanted)
    if count:
        try:
            actor.database.scrub()
        except TimeoutError as error:
            log.info("index not scrubbed: %s", error)
    return count
