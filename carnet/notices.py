"""Notices to patients of accesses by emergency: once by hand, or for ever beside a serving registry.

Clause: CSP L1111-17 I; DMP R526 (after-control)
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from carnet.settings import Settings
from carnet.supervisor import clean_environment
from guard.audit.access_log import in_words
from guard.audit.store import AccessLine

log = logging.getLogger("carnet.notices")

AT_ONCE = 500
PATIENCE = 60
"""Seconds a notifier has for one message."""
Notifier = Callable[[dict[str, Any]], None]
"""Tells one patient; raises when he could not be told."""
Waiting = Sequence[tuple[Any, AccessLine]]


def deliver_all(database: Any, notify: Notifier) -> tuple[int, int]:
    """Messages delivered and failed. Each is marked once it is delivered: after a crash in between it comes again."""
    with database.read() as unit:
        waiting = unit.emergencies.to_notify(AT_ONCE)
    delivered = failed = 0
    for group in grouped(waiting):
        try:
            notify(message([line for _, line in group]))
        except Exception as error:
            log.warning("a patient was not told: %s", type(error).__name__)
            failed += 1
            continue
        with database.write() as unit:
            unit.emergencies.notified([key for key, _ in group], time.time_ns())
        delivered += 1
    return delivered, failed


def grouped(waiting: Waiting) -> list[Waiting]:
    """One message for each record, professional, purpose and outcome."""
    groups: dict[tuple[Any, ...], list[tuple[Any, AccessLine]]] = {}
    for key, line in waiting:
        of = (line.patient_key, line.caller_id, line.purpose, line.outcome, line.is_secret)
        groups.setdefault(of, []).append((key, line))
    return list(groups.values())


def message(lines: Sequence[AccessLine]) -> dict[str, Any]:
    """What a notifier is given. It names the patient by identifier alone: where he is reached is for it to know.

    ``is_secret``: not to be sent where legal representatives read.
    """
    first, last = lines[0], lines[-1]
    return {
        "kind": "emergency access",
        "patient_id": first.patient_id,
        "outcome": first.outcome,
        "purpose": first.purpose,
        "reason": first.purpose_reason,
        "professional": {"identifier": first.caller_id, "name": first.caller_name, "role": first.role},
        "structure": {"identifier": first.structure_id, "name": first.structure_name},
        "from": first.at,
        "to": last.at,
        "accesses": len(lines),
        "is_secret": first.is_secret,
        "text_fr": in_words(last, "fr"),
        "text_en": in_words(last, "en"),
    }


def notifier_of(chosen: str) -> Notifier:
    """A function given as ``module:function``, or a program with its arguments. Raises ValueError."""
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", chosen):
        module, _, name = chosen.partition(":")
        try:
            found: Notifier = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"there is no function {chosen}") from error
        return found
    words = shlex.split(chosen)

    def run(told: dict[str, Any]) -> None:
        subprocess.run(words, input=json.dumps(told).encode(), timeout=PATIENCE, check=True,
                       env=clean_environment())  # fmt: skip

    return run


def notify_for_ever(settings: Settings, database: Any) -> None:
    """As long as the worker lives, through the setting emergencies.notifier. What fails stays in the queue."""
    chosen = settings.emergencies
    while True:
        try:
            deliver_all(database, notifier_of(chosen.notifier))
        except Exception as error:
            log.error("patients are not told of accesses by emergency: %s", type(error).__name__)
        time.sleep(chosen.notify_every)
