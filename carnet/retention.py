"""The retention job: once by hand, or for ever beside a serving registry."""

from __future__ import annotations

import logging
import time

from carnet.settings import Settings
from guard.audit import access_log
from record import destruction
from record.actor import Rules, system
from record.destruction import Retained
from registry.store import RegistryDatabase

log = logging.getLogger("carnet.retention")


def rules_of(settings: Settings) -> Rules:
    """What the operator has settled about records."""
    chosen = settings.record
    return Rules(**{name: getattr(chosen, name) for name in Rules.__dataclass_fields__})


def retain_once(settings: Settings, database: RegistryDatabase) -> Retained:
    """Open what was announced, destroy what was kept long enough. Only when something is due does it write."""
    with database.write() as unit:
        return destruction.retain(unit, by=system("retention", event="retention", rules=rules_of(settings)))


def scrub(database: RegistryDatabase) -> int:
    """Overwrite what destroyed records have left in the database's files; returns how many were waiting for it.

    Raises TimeoutError when somebody reads for long: to be repeated.
    """
    with database.read() as unit:
        waiting = [one.receipt for one in unit.record.destructions() if not one.scrubbed_at]
    if waiting:
        database.scrub()
        with database.write() as unit:
            unit.record.scrubbed(waiting, access_log.now())
    return len(waiting)


def retain_for_ever(settings: Settings, database: RegistryDatabase) -> None:
    """As long as the worker lives. A run that fails is repeated with the next."""
    scrubbed = time.monotonic()
    while True:
        time.sleep(settings.record.retention_every)
        try:
            done = retain_once(settings, database)
            if done.destroyed or done.opened:
                log.warning("opened %s announced records, destroyed %s", len(done.opened), len(done.destroyed))
            if time.monotonic() - scrubbed >= settings.record.scrub_every:
                scrubbed = time.monotonic()
                scrub(database)
        except Exception:
            log.exception("the retention job failed")
