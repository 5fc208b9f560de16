"""The retention job: once by hand, or for ever beside a serving registry.

Records whose notice or keeping has ended, and the traces of those long closed, in the logs of all services.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

from carnet.settings import Settings
from guard.audit import access_log
from guard.credentials.caller import Caller
from record import destruction, traces
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


def expire(
    settings: Settings, registry: Any, others: Sequence[Callable[[], Any]], by: Caller
) -> tuple[int, int]:
    """Destroy the traces of records whose time of keeping has ended; returns how many records and lines.

    ``others`` open the other logs, which are cleared first: whatever fails on the way, the lines left in the
    registry's bring the next run here again. Traces of a destruction that is not complete stay.
    Clause: DMP EX_AIR-100
    """
    moment, rules = datetime.now(UTC), rules_of(settings)
    latest = access_log.stamp(moment - timedelta(days=365 * rules.retention_years))
    with registry.read() as unit:
        under_way = {one.patient_key for one in unit.record.destructions(completed=False)}
        ended = [
            [one, *unit.record.merged_into(one.patient_key)] for one in unit.record.ended_before(latest)
            if one.patient_key not in under_way and traces.retention_ended(one, moment, rules)
        ]
        due = [
            group for group in ended
            if any(next(iter(unit.audit.read_for_patient(one.patient_key)), None) for one in group)
        ]
    lines = 0
    if due:
        with ExitStack() as stack:
            opened = [stack.enter_context(closing(opener())) for opener in others]
            for group in due:
                keys, names = [one.patient_key for one in group], [one.patient_id for one in group]
                for database, of in (*((other, ()) for other in opened), (registry, keys)):
                    with database.write() as unit:
                        lines += traces.destroy(unit, of, names, by=by)
            for database in (*opened, registry):
                _overwritten(database)
    return len(due), lines


def _overwritten(database: Any) -> None:
    """What destroyed traces have left in the files goes; where somebody reads for long, with the next that end."""
    try:
        database.scrub()
    except TimeoutError as error:
        log.warning("what destroyed traces have left in the files is not overwritten yet: %s", error)


def retain_for_ever(settings: Settings, database: RegistryDatabase, others: Sequence[Callable[[], Any]]) -> None:
    """As long as the worker lives. A run that fails is repeated with the next.

    ``others`` open the other services' databases, for the traces they keep.
    """
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
                records, lines = expire(settings, database, others, system("retention").caller)
                if lines:
                    log.warning("destroyed %s traces of %s records that are kept no longer", lines, records)
        except Exception:
            log.exception("the retention job failed")
