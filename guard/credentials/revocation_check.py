"""Has this certificate been taken back? What the lists of the trust folder say, an OCSP responder, fetched lists.

Only asked of a certificate whose chain is accepted already: no address of an unknown certificate is ever called, and
no host the operator has not named. A responder is asked first, then the lists the certificate points to; a list of
the folder counts as they do. One revocation anywhere refuses. When nobody can say anything, ``RevocationRule.down``
decides.

An answer stapled to a client certificate cannot be had: neither Python's TLS nor OpenSSL's server side hands it out.

Clause: RFC 5280 6.3 (lists, deltas); RFC 6960; DMP IGC-Santé (CRL, delta CRL, OCSP)
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from guard.credentials import ocsp_answers as ocsp
from guard.credentials.fetch import Fetch, fetch, is_allowed
from guard.credentials.revocation_lists import (
    NONE_SEEN,
    Edition,
    Revoked,
    edition,
    list_addresses,
    listed,
    read_list,
    signed_by,
)
from xds.wire.turns import give_way

_log = logging.getLogger(__name__)
_MEMORY = 4096
_K = TypeVar("_K")
_V = TypeVar("_V")
LARGEST_LIST = 32 * 1024 * 1024
"""Bytes of one fetched list."""

FETCHED, FAILED, GRACE = "fetched", "failed", "grace"
Tell = Callable[[str, str], None]
"""Told of each answer fetched or not to be had, and of each certificate accepted on an answer that has ended:
(one of the words above, the source and why)."""


class Down(StrEnum):
    """What counts when no current statement about a certificate can be had."""

    REFUSE = "refuse"
    GRACE = "grace"
    """The last good statement, for ``RevocationRule.grace`` beyond its end; told in the audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRule:
    """Times in seconds. Without ``hosts`` nothing is fetched."""

    required: bool = True
    """False: a certificate nothing is said about is believed. For test events."""
    hosts: frozenset[str] = frozenset()
    """``host`` or ``host:port`` of responders and lists that may be called, over plain HTTP."""
    down: Down = Down.REFUSE
    grace: int = 3600
    longest: int = 3600
    """A fetched statement is asked for again after so long, whatever end it names."""
    timeout: float = 3.0
    """For one question, from connecting to the last byte."""
    retry: float = 30.0
    """An address that failed is left alone for so long."""
    needs_nonce: bool = False
    """Refuse OCSP answers that were prepared in advance."""


class Unsaid(Exception):
    """Nothing current says that a certificate is still good."""


class Alarm(Protocol):
    """Heard by everybody who serves beside us and remembers what he was told: somebody has heard something bad."""

    def ring(self) -> None:
        """Never blocks for long."""
        ...

    def rung(self) -> int:
        """How often it was rung, by anybody, ourselves included. Cheap: looked at for every check."""
        ...


class _Fetched(NamedTuple):
    crl: x509.CertificateRevocationList
    again: datetime
    """When its word has ended, and it is fetched anew"""


class Revocation:
    """Remembers what it was told. Thread-safe; questions about one address are asked one at a time.

    With an ``alarm`` what good is remembered counts only until somebody has heard something bad: then all ask again.
    Whoever hears it rings once: a certificate that was already bad, and a list that names nothing new, are no
    news. So those who ring each other come to rest after one ring of each.
    """

    def __init__(
        self, rule: RevocationRule, *, tell: Tell | None = None, fetch: Fetch = fetch, alarm: Alarm | None = None
    ) -> None:
        self.rule = rule
        self._tell = tell
        self._fetch = fetch
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._answers: OrderedDict[bytes, ocsp.Answer] = OrderedDict()
        self._lists: OrderedDict[str, _Fetched] = OrderedDict()
        self._last_good: OrderedDict[bytes, datetime] = OrderedDict()
        self._bad: OrderedDict[bytes, datetime] = OrderedDict()
        """Certificates that were taken back when last heard of, and since when we know"""
        self._editions: OrderedDict[str, Edition] = OrderedDict()
        """The newest list seen at each address"""
        self._not_before: dict[str, float] = {}
        self._alarm = alarm
        self._rung = alarm.rung() if alarm is not None else 0
        self._version = self._drops = 0

    @property
    def version(self) -> int:
        """Grows when a fetched statement changes what was said before, here or where our alarm was rung."""
        if self._alarm is not None and self._alarm.rung() != self._rung:
            with self._lock:
                rung = self._alarm.rung()
                if rung != self._rung:
                    self._rung = rung
                    for key in [key for key, one in self._answers.items() if one.is_good]:
                        del self._answers[key]
                    self._lists.clear()
                    self._drops += 1
                    self._version += 1
        return self._version

    def _ring(self) -> None:
        """Something bad was heard here. With an alarm we hear it ourselves, as all do."""
        if self._alarm is not None:
            self._alarm.ring()
            return
        with self._lock:
            self._version += 1

    def until(
        self, certificate: x509.Certificate, issuer: x509.Certificate,
        folder: Sequence[x509.CertificateRevocationList], now: datetime,
    ) -> datetime | None:
        """Until when the certificate may be believed, None for ever. Raises Revoked, Unsaid.

        ``issuer`` has signed it; ``folder`` are the lists of the trust folder.
        """
        key = certificate.fingerprint(SHA256())
        try:
            told = listed(certificate, issuer, folder, now)
            end, is_asked = self._ask(certificate, issuer, folder, now) if self.rule.hosts else (None, False)
        except Revoked:
            self._remember(self._bad, key, now)
            raise
        if end is None and is_asked and key in self._bad:
            raise Revoked(f"revoked when last heard of: {certificate.subject.rfc4514_string()}")
        if end is None and told.fresh is not None:
            soon = now + timedelta(seconds=self.rule.retry)
            end = min(told.fresh, soon) if is_asked else told.fresh
        if end is not None:
            self._bad.pop(key, None)
            self._remember(self._last_good, key, end)
            return end
        if not self.rule.required:
            return None
        last = max((end for end in (told.stale, self._last_good.get(key)) if end is not None), default=None)
        if self.rule.down is Down.GRACE and last is not None and key not in self._bad:
            end = last + timedelta(seconds=self.rule.grace)
            if now < end:
                self._say(GRACE, f"{certificate.subject.rfc4514_string()}: last said good until {last.isoformat()}")
                return min(end, now + timedelta(seconds=self.rule.retry))
        raise Unsaid(
            f"no current revocation list or answer of {issuer.subject.rfc4514_string()} "
            f"about {certificate.subject.rfc4514_string()}"
        )

    def _ask(
        self, certificate: x509.Certificate, issuer: x509.Certificate,
        folder: Sequence[x509.CertificateRevocationList], now: datetime,
    ) -> tuple[datetime | None, bool]:
        """(end of the first statement that can be had elsewhere or None, whether there is anybody to ask).

        Raises Revoked.
        """
        responders = self._callable(ocsp.addresses(certificate))
        places = self._callable(list_addresses(certificate, x509.CRLDistributionPoints))
        for url in responders:
            answer = self._ocsp(url, certificate, issuer, folder, now)
            if answer is not None:
                if not answer.is_good:
                    raise Revoked("revoked" if answer.is_revoked else "unknown to the responder of its authority")
                return answer.until, True
        lists = self._fetched_lists(certificate, issuer, now)
        if not lists:
            return None, bool(responders or places)
        fresh = listed(certificate, issuer, [one.crl for one in lists], now).fresh
        return (None if fresh is None else min(fresh, *(one.again for one in lists))), True

    def statements(
        self, certificate: x509.Certificate, issuer: x509.Certificate,
        folder: Sequence[x509.CertificateRevocationList], now: datetime,
    ) -> tuple[list[bytes], list[x509.CertificateRevocationList]]:
        """What can be had elsewhere about a certificate, to be kept: answers in DER form, or else lists.

        Nothing is judged; ([], []) where nobody may be asked.
        """
        for url in self._callable(ocsp.addresses(certificate)):
            answer = self._ocsp(url, certificate, issuer, folder, now)
            if answer is not None:
                return [answer.der], []
        return [], [one.crl for one in self._fetched_lists(certificate, issuer, now)]

    def _fetched_lists(
        self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
    ) -> list[_Fetched]:
        """The full lists a certificate points to, and their deltas."""
        places = self._callable(list_addresses(certificate, x509.CRLDistributionPoints))
        lists = [one for url in places if (one := self._list(url, issuer, now)) is not None]
        if lists:
            deltas = [*list_addresses(certificate, x509.FreshestCRL)]
            for one in lists:
                deltas += list_addresses(one.crl, x509.FreshestCRL)
            later = [self._list(url, issuer, now) for url in self._callable(dict.fromkeys(deltas))]
            lists += [one for one in later if one is not None]
        return lists

    def _callable(self, urls: Iterable[str]) -> list[str]:
        return [url for url in urls if is_allowed(url, self.rule.hosts)]

    def _ocsp(
        self, url: str, certificate: x509.Certificate, issuer: x509.Certificate,
        folder: Sequence[x509.CertificateRevocationList], now: datetime,
    ) -> ocsp.Answer | None:
        key = certificate.fingerprint(SHA256())
        known = self._answers.get(key)
        if known is not None and now < known.until:
            return known
        give_way()
        with self._one_at_a_time(f"{url} {key.hex()}"):
            known = self._answers.get(key)
            if known is not None and now < known.until:
                return known
            _, drops = self.version, self._drops
            asked, nonce = ocsp.question(certificate, issuer)
            data = self._call(url, asked, ocsp.LARGEST)
            if data is None:
                return None
            try:
                answer = ocsp.read(
                    data, certificate, issuer, nonce, now, needs_nonce=self.rule.needs_nonce,
                    is_unrevoked=lambda responder, at: listed(responder, issuer, folder, at).fresh is not None,
                )
            except (ocsp.OcspUnusable, Revoked) as error:
                self._failed(url, str(error))
                return None
            end = min(answer.until, now + timedelta(seconds=self.rule.longest))
            answer = replace(answer, until=end)
            if answer.is_good:
                self._remember(self._answers, key, answer, drops)
            else:
                is_news = key not in self._bad
                self._remember(self._answers, key, answer)
                self._remember(self._bad, key, now)
                if is_news:
                    self._ring()
            self._say(FETCHED, url)
            return answer

    def _list(self, url: str, issuer: x509.Certificate, now: datetime) -> _Fetched | None:
        known = self._lists.get(url)
        if known is not None and now < known.again:
            return known
        give_way()
        with self._one_at_a_time(url):
            known = self._lists.get(url)
            if known is not None and now < known.again:
                return known
            _, drops = self.version, self._drops
            data = self._call(url, None, LARGEST_LIST)
            if data is None:
                return None
            try:
                crl = read_list(data)
            except ValueError:
                self._failed(url, "not a revocation list")
                return None
            ends = crl.next_update_utc
            if crl.issuer != issuer.subject or not signed_by(crl, issuer):
                self._failed(url, "a list of another authority")
                return None
            if ends is None or now >= ends:
                self._failed(url, "a list that has ended")
                return None
            again = min(ends, now + timedelta(seconds=self.rule.longest))
            fetched = _Fetched(crl, again)
            self._remember(self._lists, url, fetched, drops)
            self._compare(url, crl)
            self._say(FETCHED, url)
            return fetched

    def _compare(self, url: str, crl: x509.CertificateRevocationList) -> None:
        """Ring when a list is newer than all that were seen at its address, and names others.

        One made for each question, or served by turns with an older one, must not ring again and again.
        """
        last, this = self._editions.get(url, NONE_SEEN), edition(crl)
        if this[:2] > last[:2]:
            self._remember(self._editions, url, this)
            if this.named != last.named:
                self._ring()

    def _call(self, url: str, body: bytes | None, limit: int) -> bytes | None:
        """The bytes an address answers, None when it does not, or has not a moment ago."""
        if time.monotonic() < self._not_before.get(url, 0.0):
            return None
        try:
            return self._fetch(url, body, limit, self.rule.timeout)
        except OSError as error:
            self._failed(url, str(error) or type(error).__name__)
            return None

    def _failed(self, url: str, why: str) -> None:
        with self._lock:
            if len(self._not_before) >= _MEMORY:
                self._not_before.clear()
            self._not_before[url] = time.monotonic() + self.rule.retry
        self._say(FAILED, f"{url}: {why[:200]}")

    def _say(self, what: str, detail: str) -> None:
        if what != FETCHED:
            _log.warning("revocation %s: %s", what, detail)
        if self._tell is not None:
            self._tell(what, detail)

    def _remember(self, memory: OrderedDict[_K, _V], key: _K, value: _V, drops: int | None = None) -> None:
        """``drops`` were counted before the question: what was said before the last of them is not kept."""
        with self._lock:
            if drops is not None and drops != self._drops:
                return
            memory[key] = value
            memory.move_to_end(key)
            while len(memory) > _MEMORY:
                memory.popitem(last=False)

    def _one_at_a_time(self, key: str) -> threading.Lock:
        with self._lock:
            if len(self._busy) >= _MEMORY:
                self._busy = {held: lock for held, lock in self._busy.items() if lock.locked()}
            return self._busy.setdefault(key, threading.Lock())


def answers_about(
    below: x509.Certificate, issuer: x509.Certificate, answers: Iterable[bytes],
    crls: list[x509.CertificateRevocationList],
) -> tuple[tuple[bytes, ocsp.KeptAnswer], ...]:
    """Kept answers about a certificate, and what each says. What cannot be believed is passed over: it may be about
    another certificate of the chain."""

    def is_unrevoked(responder: x509.Certificate, moment: datetime) -> bool:
        try:
            return listed(responder, issuer, crls, moment).fresh is not None
        except Revoked:
            return False

    found = []
    for answer in dict.fromkeys(answers):
        with suppress(ocsp.OcspUnusable):
            found.append((answer, ocsp.read_kept(answer, below, issuer, is_unrevoked)))
    return tuple(found)
