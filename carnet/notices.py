"""Notices: to patients of accesses by emergency, to whoever wants them of new documents. Once by hand, or for ever
beside a serving registry.

Clause: CSP L1111-17 I; DMP R526 (after-control), R527 2.3, 2.7
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from carnet.settings import Settings
from carnet.supervisor import clean_environment
from guard.audit.access_log import in_words
from guard.audit.store import AccessLine
from record.actor import Rights
from record.notices import HOLDER, Shelf, documents_for, is_kept_from_representatives
from xds.model import DocumentEntry

log = logging.getLogger("carnet.notices")

AT_ONCE = 500
PATIENCE = 60
"""Seconds a notifier has for one message."""
Notifier = Callable[[dict[str, Any]], None]
"""Tells one patient; raises when he could not be told."""
Waiting = Sequence[tuple[Any, AccessLine]]
DAY = 86_400 * 10**9
"""In nanoseconds, as lines of the log are numbered."""


def accesses_of(database: Any, since: int = 0) -> Iterator[Waiting]:
    """Accesses whose patient is to be told, from that time on (nanoseconds since the epoch), one message each.

    Read in parts: a message never has more than AT_ONCE lines, and what cannot be delivered holds up nothing behind it.
    """
    last = None
    while True:
        with database.read() as unit:
            waiting = unit.emergencies.to_notify(AT_ONCE, since=since, after=last)
        yield from grouped(waiting)
        if len(waiting) < AT_ONCE:
            return
        last = waiting[-1][0]


def deliver_all(database: Any, notify: Notifier, since: int = 0) -> tuple[int, int]:
    """Messages delivered and failed. Each is marked once it is delivered: after a crash in between it comes again."""
    delivered = failed = 0
    for group in accesses_of(database, since):
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


@dataclass(frozen=True, slots=True)
class News:
    """New documents of one record for one recipient; ``told`` None where nothing of them is for him."""

    keys: list[Any]
    told: dict[str, Any] | None


def news_of(database: Any, rights: Rights, shelf: Shelf) -> Iterator[News]:
    """What waits to be told of new documents, one message for each record and recipient; in parts, as
    ``accesses_of``. Each is weighed when it is asked for: what was masked or barred while others were told counts.
    Rule: D-62"""
    last = None
    while True:
        with database.read() as unit:
            waiting = unit.notices.waiting(AT_ONCE, last)
        groups: dict[tuple[Any, ...], tuple[list[Any], list[AccessLine]]] = {}
        for key, line, wish in waiting:
            keys, lines = groups.setdefault((wish.patient_key, wish.kind, wish.recipient, line.is_secret), ([], []))
            keys.append(key)
            lines.append(line)
        for of, (keys, lines) in groups.items():
            with database.read() as unit:
                wish = unit.notices.wish(*of[:3])
                documents = [] if wish is None else [
                    one for line in lines for one in documents_for(unit, wish, line, rights=rights, shelf=shelf)
                ]
            is_secret = of[3] or is_kept_from_representatives(documents, shelf)
            told = document_message(of[1], of[2], lines, documents, is_secret=is_secret) if documents else None
            yield News(keys, told)
        if len(waiting) < AT_ONCE:
            return
        last = waiting[-1][0]


def deliver_news(database: Any, notify: Notifier, rights: Rights, shelf: Shelf) -> tuple[int, int]:
    """As ``deliver_all``, of new documents. What is for nobody is done with, and counts for nothing."""
    delivered = failed = 0
    for news in news_of(database, rights, shelf):
        if news.told is not None:
            try:
                notify(news.told)
            except Exception as error:
                log.warning("somebody was not told of a new document: %s", type(error).__name__)
                failed += 1
                continue
            delivered += 1
        with database.write() as unit:
            unit.notices.told(news.keys)
    return delivered, failed


def document_message(
    kind: str, recipient: str, lines: Sequence[AccessLine], documents: Sequence[DocumentEntry], *, is_secret: bool
) -> dict[str, Any]:
    """What a notifier is given of new documents: whom to tell, of which record, and their names and types. No title
    and no trait. ``is_secret`` as in ``message``: deposited so, or a document is kept from representatives."""
    count = len({one.unique_id for one in documents})
    return {
        "kind": "new document",
        "recipient": {"kind": kind, "identifier": "" if kind == HOLDER else recipient},
        "patient_id": lines[0].patient_id,
        "documents": [
            {"unique_id": one.unique_id, "type": one.type_code.key if one.type_code else ""} for one in documents
        ],
        "from": lines[0].at,
        "to": lines[-1].at,
        "is_secret": is_secret,
        "text_fr": f"{count} nouveau{'x' if count > 1 else ''} document{'s' if count > 1 else ''} dans le dossier.",
        "text_en": f"{count} new document{'s' if count > 1 else ''} in the record.",
    }


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


def give_up(database: Any, begin: int, end: int) -> None:
    """What nobody was told of in time is said in the messages of the process. Notices of new documents before ``end``
    go. Accesses by emergency stay, as not told; those of ``begin`` to ``end`` are counted, each once."""
    with database.read() as unit:
        accesses, news = unit.emergencies.waiting(begin, end), unit.notices.count(end)
    if accesses:
        log.error("%d accesses by emergency whose patient was not told in time: only `carnet notify` tells of them now",
                  accesses)  # fmt: skip
    if news:
        with database.write() as unit:
            unit.notices.give_up(end)
        log.warning("%d notices of new documents could not be delivered in time, and are dropped", news)


def notify_for_ever(settings: Settings, database: Any, rights: Rights, shelf: Shelf) -> None:
    """As long as the worker lives, through the setting emergencies.notifier. What fails stays in the queue, so many
    days; so does everything where there is no notifier."""
    chosen, begin = settings.emergencies, 0
    while True:
        try:
            end = time.time_ns() - chosen.notify_within * DAY
            give_up(database, begin, end)
            begin = end
            if chosen.notifier:
                notify = notifier_of(chosen.notifier)
                deliver_all(database, notify, since=end)
                deliver_news(database, notify, rights, shelf)
        except Exception as error:
            log.error("nobody is told of accesses by emergency and new documents: %s", type(error).__name__)
        time.sleep(chosen.notify_every)
