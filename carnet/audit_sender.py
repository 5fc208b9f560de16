"""Sends the audit messages of one service from its outbox, as long as the service lives.

The request path only adds rows; messages are built here, after the fact. A row is marked when the receiver has its
message, so an outage, a restart or a kill delays messages and may repeat some, and loses none.

Clause: ITI TF-2 3.20.4.1.1 (store and send later)
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from carnet.syslog import Header
from guard.audit import atna
from guard.audit.particulars import process_id
from guard.audit.store import AccessLine
from storage.audit import Key

log = logging.getLogger("carnet.audit")

BATCH = 500
"""Lines handed over at once."""
BATCH_BYTES = 8 << 20
POLL = 0.5
"""Seconds between looks at an empty outbox."""
LONGEST_PAUSE = 60.0
"""Seconds between attempts at a receiver that does not answer; the first pause is POLL, each next one twice as long."""
TIDY_EVERY, COUNT_EVERY = 60.0, 5.0
DAY = 86_400 * 10**9
"""In nanoseconds."""
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


class Channel(Protocol):
    """See ``carnet.syslog.SyslogChannel``."""

    def send(self, frames: list[bytes]) -> None: ...

    def close(self) -> None: ...


class AuditDatabase(Protocol):
    """Either actor's database, as far as its outbox is concerned."""

    def read(self) -> Any: ...

    def write(self) -> Any: ...


Became = Callable[[AccessLine], AccessLine | None]


def unchanged(line: AccessLine) -> AccessLine:
    return line


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What one sender sends, and how it says so.

    ``actor`` is the service whose outbox it is. ``under_way`` are trace ids of exchanges whose end is not known yet, of
    the ``processes`` that serve now; those of another process are over ``hold`` seconds after their line, and what
    ``became`` of them is told: the line, another in its place, or None for later. ``retention`` is in days.
    ``tell`` gets how many wait, the age of the oldest in seconds, how many went, and whether an attempt failed.
    """

    actor: str
    node: atna.Node
    header: Header
    under_way: Collection[str] = ()
    processes: Callable[[], Collection[str]] = lambda: (process_id(),)
    became: Became = unchanged
    hold: float = 60.0
    retention: int = 30
    tell: Callable[[int, float, int, bool], None] = lambda _waiting, _age, _sent, _failed: None


class AuditSender:
    """``channel`` None: nothing is sent, rows older than the retention go all the same."""

    def __init__(self, database: AuditDatabase, outgoing: Outgoing, channel: Channel | None) -> None:
        self._database, self._outgoing, self._channel = database, outgoing, channel
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._tidy_at = self._count_at = 0.0

    def run(self) -> None:
        """Send until ``stop``; then once more, briefly."""
        pause = POLL
        while not self._stopping.is_set():
            try:
                more = self.step() >= BATCH
                more = self._tidy() or more
                pause = POLL
            except Exception as error:
                log.warning("audit messages wait: %s", _told(error))
                self._tell(0, failed=True)
                more, pause = False, min(LONGEST_PAUSE, pause * 2)
            if not more:
                self._stopping.wait(pause)
        try:
            self.step()
        except Exception as error:
            log.warning("audit messages wait for the next start: %s", _told(error))
        finally:
            if self._channel is not None:
                self._channel.close()
            self._done.set()

    def stop(self, patience: float) -> None:
        """End ``run`` and wait so many seconds for what is left to be sent."""
        self._stopping.set()
        self._done.wait(patience)

    def step(self) -> int:
        """Hand one batch over; returns how many lines. Raises OSError when the receiver does not take it."""
        if self._channel is None:
            return 0
        began, busy = time.time_ns(), frozenset(self._outgoing.under_way)
        serving = self._outgoing.processes()
        with self._database.read() as unit:
            waiting = unit.outbox.waiting(BATCH)
        ready = [
            (key, ended) for key, line in waiting
            if (ended := self._as_it_ended(key, line, began, busy, serving)) is not None
        ]
        frames, told, silent = self._frames(ready)
        if frames:
            self._channel.send(frames)
        if told or silent:
            with self._database.write() as unit:
                unit.outbox.hand_over(told)
                unit.outbox.pass_over(silent)
        self._tell(len(frames), failed=False)
        return len(told) + len(silent)

    def _as_it_ended(
        self, key: Key, line: AccessLine, began: int, busy: Collection[str], serving: Collection[str]
    ) -> AccessLine | None:
        """A deposit is logged before the registry is asked; its message waits until the answer is known.

        A line older than the look at ``under_way`` is of an exchange that was in it or had ended, and what ended
        otherwise has marked its row by then.
        """
        if line.particulars.sent_on != "ITI-42" or line.outcome != "success":
            return line
        if line.particulars.process in serving:
            return line if key.number < began and key.trace_id not in busy else None
        return self._outgoing.became(line) if key.number < began - int(self._outgoing.hold * 1e9) else None

    def _frames(self, ready: list[tuple[Key, AccessLine]]) -> tuple[list[bytes], list[Key], list[Key]]:
        """Messages of at most BATCH_BYTES, the rows they tell of, and the rows that have no message."""
        out, size = self._outgoing, 0
        frames: list[bytes] = []
        told: list[Key] = []
        silent: list[Key] = []
        keys = iter(key for key, _ in ready)
        for group in atna.grouped(line for _, line in ready):
            of_group = [next(keys) for _ in group]
            try:
                made = [
                    out.header.frame(m.at, DECLARATION + m.xml, is_success=m.is_success)
                    for m in atna.messages(group, out.node, out.actor)
                ]
            except Exception as error:
                log.error("no audit message can be made of trace %s: %s", of_group[0].trace_id, type(error).__name__)
                made = []
            size += sum(map(len, made))
            if size > BATCH_BYTES and frames:
                break
            frames += made
            (told if made else silent).extend(of_group)
        return frames, told, silent

    def _tidy(self) -> bool:
        """Forget what is older than the retention, now and then; True when there is more to forget."""
        if time.monotonic() < self._tidy_at:
            return False
        before = time.time_ns() - self._outgoing.retention * DAY
        with self._database.write() as unit:
            gone = unit.outbox.forget(before, unsent=self._channel is None)
        if not gone:
            self._tidy_at = time.monotonic() + TIDY_EVERY
        return bool(gone)

    def _tell(self, sent: int, *, failed: bool) -> None:
        if not (sent or failed) and time.monotonic() < self._count_at:
            return
        try:
            with self._database.read() as unit:
                waiting, oldest = unit.outbox.depth()
        except Exception as error:
            log.warning("the outbox cannot be counted: %s", _told(error))
            return
        self._count_at = time.monotonic() + COUNT_EVERY
        age = max(0.0, (time.time_ns() - oldest) / 1e9) if oldest else 0.0
        self._outgoing.tell(waiting, age, sent, failed)


def _told(error: Exception) -> str:
    """Type and, for an error of the system, its reason: no address, statement or value."""
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
    else:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number and number > 0 else ""
    return f"{type(error).__name__} {reason}".strip()
