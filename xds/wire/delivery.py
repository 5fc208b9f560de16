"""Answers on their way to another address than the one the request came from.

The request is served and done before its answer is handed over here: what is lost here is an answer, never an
effect. The queue is bounded in number, in weight and in time, and lives in memory: it ends with the process.

Clause: ITI TF-2 Appendix V 5
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xds.wire.exchange import OutgoingPart
from xds.wire.faults import ENDPOINT_UNAVAILABLE, RECEIVER, SoapFault
from xds.wire.http import SOAP
from xds.wire.mime import multipart_response
from xds.wire.outcome import place_of
from xds.wire.reply_addresses import ReplyAddresses, Target
from xds.wire.tls import Tls, calling, current

_LOG = logging.getLogger("carnet.wire.delivery")
_WORKERS = 4
_PART_WEIGHT = 256 * 1024
"""Bytes one waiting document counts for: an open file."""
_LONGEST_PAUSE = 60.0
_FAREWELL = 5.0
"""Seconds that answers get to leave when the process ends."""
_READ = 64 * 1024

Replied = Callable[[str, str], None]
"""Transaction name, and ``delivered`` or ``lost``."""


@dataclass(slots=True, eq=False)
class Letter:
    """One answer: a serialised envelope, and parts when it is MTOM. Transaction and trace id are for the log."""

    transaction: str
    trace_id: str
    target: Target
    action: str
    envelope: Sequence[bytes]
    mtom: bool
    parts: Sequence[OutgoingPart] = ()
    due: float = 0.0
    until: float = 0.0
    attempts: int = 0
    weight: int = field(init=False)

    def __post_init__(self) -> None:
        self.weight = sum(map(len, self.envelope)) + len(self.parts) * _PART_WEIGHT


class _Undelivered(Exception):
    """An attempt came to nothing; ``again`` tells whether another one may help."""

    def __init__(self, reason: str, *, again: bool = True):
        self.again = again
        super().__init__(reason)


class Deliveries:
    """The queue of one service and the threads that empty it, started with the first letter.

    ``addresses``  the allow-list
    ``tls``        TLS with our certificate and the authorities a receiver's certificate is checked against
    ``queue``      letters waiting or under way; a request that would need one more is refused before it is served
    ``room``       their weight in bytes above which the same happens; it is overshot by what is being served then
    ``keep``       seconds from the request to the last attempt
    ``pause``      seconds before the second attempt; each further pause is twice as long, 60 at most
    ``timeout``    seconds to connect, and of silence afterwards
    ``rate``       lowest mean rate at which a receiver must take a letter, bytes per second

    One address that is slow or silent holds at most half of the threads; the letters for one that does not answer
    wait without being tried.
    """

    def __init__(
        self, addresses: ReplyAddresses, tls: Tls | None, *, queue: int = 100, room: int = 64 << 20,
        keep: float = 300.0, pause: float = 5.0, timeout: float = 30.0, rate: int = 4096,
        replied: Replied | None = None,
    ) -> None:
        self._addresses = addresses
        self._tls = tls or calling()
        self._queue = queue
        self._room = room
        self._keep = keep
        self._pause = pause
        self._timeout = timeout
        self._rate = rate
        self._replied = replied
        self._changed = threading.Condition()
        self._reserved = 0
        self._weight = 0
        self._waiting: list[Letter] = []
        self._under_way: Counter[str] = Counter()
        self._resting: dict[str, float] = {}
        self._threads: list[threading.Thread] = []
        self._closing = False

    def find(self, address: str) -> Target | None:
        """Where an answer may be sent, None when it may not."""
        return self._addresses.find(address)

    def reserve(self) -> None:
        """Keep a place for an answer to come. Give it back with ``release``, or fill it with ``submit``.

        Raises SoapFault (Receiver, wsa:EndpointUnavailable) when there is none: nothing has been done then.
        """
        with self._changed:
            if self._closing or self._reserved >= self._queue or self._weight >= self._room:
                raise SoapFault(
                    RECEIVER, "Too many answers wait to be delivered: send again later, or with an anonymous ReplyTo",
                    subcode=ENDPOINT_UNAVAILABLE,
                )
            self._reserved += 1

    def release(self) -> None:
        """Give back a place that is not needed."""
        with self._changed:
            self._reserved -= 1
            self._changed.notify_all()

    def submit(self, letter: Letter) -> None:
        """Send a letter soon. The place reserved for it is given back when it is delivered or lost."""
        letter.due = time.monotonic()
        letter.until = letter.due + self._keep
        with self._changed:
            self._weight += letter.weight
            self._waiting.append(letter)
            if len(self._threads) < min(_WORKERS, len(self._waiting) + self._under_way.total()):
                thread = threading.Thread(target=self._work, name="delivery", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()

    def close(self, patience: float = _FAREWELL) -> None:
        """Take no more letters, wait for those that can leave now, and log the loss of the others."""
        now = time.monotonic()
        with self._changed:
            self._closing = True
            lost = [letter for letter in self._waiting if now < self._ready_at(letter) < float("inf")]
            self._waiting = [letter for letter in self._waiting if letter not in lost]
            self._changed.notify_all()
            while (self._waiting or self._under_way.total()) and (left := now + patience - time.monotonic()) > 0:
                self._changed.wait(left)
            lost += self._waiting
            self._waiting = []
        for letter in lost:
            self._settle(letter, "lost", "the service ends")

    # -- the threads -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (letter := self._take()) is not None:
            try:
                self._attempt(letter)
                outcome, reason = "delivered", ""
            except _Undelivered as error:
                outcome, reason = ("again" if error.again else "lost"), str(error)
            except Exception as error:
                outcome, reason = "lost", f"{type(error).__name__} at {place_of(error)}"
            with self._changed:
                self._under_way[letter.target.origin] -= 1
                if outcome == "delivered":
                    self._resting.pop(letter.target.origin, None)
                elif outcome == "again":
                    outcome = self._put_back(letter, reason)
                self._changed.notify_all()
            if outcome != "again":
                self._settle(letter, outcome, reason)

    def _take(self) -> Letter | None:
        """The next letter that may be tried; waits for one. None when there is nothing left to end for."""
        with self._changed:
            while True:
                now = time.monotonic()
                ready = [letter for letter in self._waiting if self._ready_at(letter) <= now]
                if ready:
                    letter = min(ready, key=lambda one: one.due)
                    self._waiting.remove(letter)
                    self._under_way[letter.target.origin] += 1
                    return letter
                if self._closing:
                    return None
                times = [self._ready_at(letter) for letter in self._waiting]
                soonest = min((at for at in times if at != float("inf")), default=None)
                self._changed.wait(None if soonest is None else max(0.0, soonest - now))

    def _ready_at(self, letter: Letter) -> float:
        """When a letter may be tried; a letter whose time is over is ready to be given up."""
        origin = letter.target.origin
        if self._under_way[origin] >= _WORKERS // 2:
            return float("inf")
        return min(max(letter.due, self._resting.get(origin, 0.0)), letter.until)

    def _put_back(self, letter: Letter, reason: str) -> str:
        """Plan another attempt, and rest its address until then; "lost" when no time is left."""
        letter.attempts += 1
        now = time.monotonic()
        letter.due = now + min(self._pause * 2 ** (letter.attempts - 1), _LONGEST_PAUSE)
        if self._closing or letter.due > letter.until:
            return "lost"
        self._resting[letter.target.origin] = max(self._resting.get(letter.target.origin, 0.0), now + self._pause)
        self._waiting.append(letter)
        _LOG.warning(
            "answer of %s, trace %s, not taken by %s: %s; attempt %d, next in %.0f s", letter.transaction,
            letter.trace_id, letter.target.origin, reason, letter.attempts, letter.due - now,
        )
        return "again"

    def _settle(self, letter: Letter, outcome: str, reason: str) -> None:
        """A letter has come to its end: count it, log a loss, give its place back."""
        with self._changed:
            self._reserved -= 1
            self._weight -= letter.weight
            self._changed.notify_all()
        if outcome == "lost":
            _LOG.error(
                "answer of %s, trace %s, lost after %d attempts at %s: %s", letter.transaction, letter.trace_id,
                letter.attempts, letter.target.origin, reason,
            )
        if self._replied is not None:
            self._replied(letter.transaction, outcome)

    # -- one attempt -----------------------------------------------------------------------------------------

    def _attempt(self, letter: Letter) -> None:
        """Post a letter once. Raises _Undelivered unless the receiver answers 2xx; a redirection is not followed."""
        if time.monotonic() >= letter.until:
            raise _Undelivered("its time is over", again=False)
        target = letter.target
        connection: http.client.HTTPConnection
        if target.scheme == "https":
            connection = http.client.HTTPSConnection(
                target.host, target.port, timeout=self._timeout, context=current(self._tls)
            )
        else:
            connection = http.client.HTTPConnection(target.host, target.port, timeout=self._timeout)
        try:
            self._send(connection, letter)
            answer = connection.getresponse()
            answer.read(_READ)
        except (OSError, http.client.HTTPException) as error:
            verified = not isinstance(error, ssl.SSLCertVerificationError)
            raise _Undelivered(_kind(error), again=verified) from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            again = answer.status >= 500 or answer.status in (408, 425, 429)
            raise _Undelivered(f"answered {answer.status}", again=again)

    def _send(self, connection: http.client.HTTPConnection, letter: Letter) -> None:
        if letter.mtom:
            headers, _, blocks = multipart_response(letter.envelope, letter.parts, letter.action)
        else:
            whole = b"".join(letter.envelope)
            media = f'{SOAP}; charset=UTF-8; action="{letter.action}"'
            headers, blocks = [("Content-Type", media), ("Content-Length", str(len(whole)))], iter((whole,))
        connection.putrequest("POST", letter.target.path + letter.target.query)
        for name, value in [*headers, ("X-Trace-Id", letter.trace_id)]:
            connection.putheader(name, value)
        connection.endheaders()
        began, sent = time.monotonic(), 0
        for block in blocks:
            connection.send(block)
            sent += len(block)
            if time.monotonic() - began > self._timeout + sent / self._rate:
                raise TimeoutError


def _kind(error: Exception) -> str:
    """What went wrong, in a word or two."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS refused ({error.reason or 'unknown reason'})"
    return getattr(error, "strerror", None) or type(error).__name__
