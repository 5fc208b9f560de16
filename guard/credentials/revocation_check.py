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
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from guard.credentials import ocsp_answers as ocsp
from guard.credentials.fetch import Fetch, fetch, is_allowed
from xds.wire.turns import give_way

_log = logging.getLogger(__name__)
_UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension)
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


class Revoked(Exception):
    """A certificate that was taken back, or that its responder does not know."""


class Unsaid(Exception):
    """Nothing current says that a certificate is still good."""


class _Fetched(NamedTuple):
    crl: x509.CertificateRevocationList
    again: datetime
    """When its word has ended, and it is fetched anew"""


class Revocation:
    """Remembers what it was told. Thread-safe; questions about one address are asked one at a time."""

    def __init__(self, rule: RevocationRule, *, tell: Tell | None = None, fetch: Fetch = fetch) -> None:
        self.rule = rule
        self._tell = tell
        self._fetch = fetch
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._answers: OrderedDict[bytes, ocsp.Answer] = OrderedDict()
        self._lists: OrderedDict[str, _Fetched] = OrderedDict()
        self._last_good: OrderedDict[bytes, datetime] = OrderedDict()
        self._not_before: dict[str, float] = {}
        self.version = 0
        """Grows when a fetched statement changes what was said before."""

    def until(
        self, certificate: x509.Certificate, issuer: x509.Certificate,
        folder: Sequence[x509.CertificateRevocationList], now: datetime,
    ) -> datetime | None:
        """Until when the certificate may be believed, None for ever. Raises Revoked, Unsaid.

        ``issuer`` has signed it; ``folder`` are the lists of the trust folder.
        """
        told = listed(certificate, issuer, folder, now)
        end, is_asked = self._ask(certificate, issuer, folder, now) if self.rule.hosts else (None, False)
        if end is None and told.fresh is not None:
            soon = now + timedelta(seconds=self.rule.retry)
            end = min(told.fresh, soon) if is_asked else told.fresh
        key = certificate.fingerprint(SHA256())
        if end is not None:
            self._remember(self._last_good, key, end)
            return end
        if not self.rule.required:
            return None
        last = max((end for end in (told.stale, self._last_good.get(key)) if end is not None), default=None)
        if self.rule.down is Down.GRACE and last is not None:
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
        places = self._callable(_list_addresses(certificate, x509.CRLDistributionPoints))
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
        places = self._callable(_list_addresses(certificate, x509.CRLDistributionPoints))
        lists = [one for url in places if (one := self._list(url, issuer, now)) is not None]
        if lists:
            deltas = [*_list_addresses(certificate, x509.FreshestCRL)]
            for one in lists:
                deltas += _list_addresses(one.crl, x509.FreshestCRL)
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
            self._say(FETCHED, url)
            if known is not None and known.is_good and not answer.is_good:
                self.version += 1
            self._remember(self._answers, key, answer)
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
            self._say(FETCHED, url)
            if known is not None and known.crl != crl:
                self.version += 1
            again = min(ends, now + timedelta(seconds=self.rule.longest))
            fetched = _Fetched(crl, again)
            self._remember(self._lists, url, fetched)
            return fetched

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

    def _remember(self, memory: OrderedDict[_K, _V], key: _K, value: _V) -> None:
        with self._lock:
            memory[key] = value
            memory.move_to_end(key)
            while len(memory) > _MEMORY:
                memory.popitem(last=False)

    def _one_at_a_time(self, key: str) -> threading.Lock:
        with self._lock:
            if len(self._busy) >= _MEMORY:
                self._busy = {held: lock for held, lock in self._busy.items() if lock.locked()}
            return self._busy.setdefault(key, threading.Lock())


class Listed(NamedTuple):
    """What lists say of a certificate that none of them names: ends of the latest current and of the latest ended."""

    fresh: datetime | None
    stale: datetime | None


def listed(
    certificate: x509.Certificate, issuer: x509.Certificate, lists: Iterable[x509.CertificateRevocationList],
    now: datetime,
) -> Listed:
    """Raises Revoked when one names it, a later delta that lifts a hold apart.

    A delta only adds to what a full list says, and keeps that list current for as long as it is itself.
    """
    mine = [crl for crl in lists if crl.issuer == issuer.subject and signed_by(crl, issuer)]
    deltas = [crl for crl in mine if _delta_of(crl) is not None]
    for crl in mine:
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is None or _reason(entry) is x509.ReasonFlags.remove_from_crl:
            continue
        if _reason(entry) is not x509.ReasonFlags.certificate_hold or not _is_lifted(certificate, crl, deltas):
            raise Revoked(f"revoked: {certificate.subject.rfc4514_string()}")
    fresh = stale = None
    for crl in mine:
        if crl.next_update_utc is None or not silence_counts(crl, certificate):
            continue
        if crl.last_update_utc > now + ocsp.TOLERANCE:
            continue
        ends = max((crl.next_update_utc, *_kept_current(crl, deltas, certificate)))
        if now < ends:
            fresh = ends if fresh is None else max(fresh, ends)
        else:
            stale = ends if stale is None else max(stale, ends)
    return Listed(fresh, stale)


def read_list(data: bytes) -> x509.CertificateRevocationList:
    """A revocation list in PEM or DER. Raises ValueError."""
    return x509.load_pem_x509_crl(data) if b"-----BEGIN" in data[:4096] else x509.load_der_x509_crl(data)


def signed_by(signed: x509.Certificate | x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether that authority's key made the signature."""
    try:
        if isinstance(signed, x509.Certificate):
            signed.verify_directly_issued_by(issuer)
            return True
        key = issuer.public_key()
        return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and signed.is_signature_valid(key)
    except _UNREADABLE:
        return False


def silence_counts(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether a certificate that this list does not name was not revoked when it was made."""
    return _delta_of(crl) is None and _covers(crl, certificate)


def lists_about(
    below: x509.Certificate, issuer: x509.Certificate, crls: Iterable[x509.CertificateRevocationList]
) -> tuple[tuple[x509.CertificateRevocationList, bool], ...]:
    """The lists of its authority, and whether their silence means a thing about the certificate."""
    return tuple(
        (crl, silence_counts(crl, below)) for crl in crls if crl.issuer == issuer.subject and signed_by(crl, issuer)
    )


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


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None


def _is_lifted(
    certificate: x509.Certificate, crl: x509.CertificateRevocationList,
    deltas: Iterable[x509.CertificateRevocationList],
) -> bool:
    """Whether a delta made after that list takes the certificate off it. Clause: RFC 5280 5.3.1"""
    for delta in deltas:
        entry = delta.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and _reason(entry) is x509.ReasonFlags.remove_from_crl:
            return delta.last_update_utc > crl.last_update_utc
    return False


def _kept_current(
    crl: x509.CertificateRevocationList, deltas: Iterable[x509.CertificateRevocationList],
    certificate: x509.Certificate,
) -> list[datetime]:
    """Ends of the deltas that go with a full list. Clause: RFC 5280 5.2.4"""
    number = _number(crl)
    found = []
    for delta in deltas:
        base, its = _delta_of(delta), _number(delta)
        if number is None or base is None or its is None or delta.next_update_utc is None:
            continue
        if base <= number < its and _covers(delta, certificate):
            found.append(delta.next_update_utc)
    return found


def _delta_of(crl: x509.CertificateRevocationList) -> int | None:
    """Number of the list a delta adds to; None for a full list."""
    try:
        return crl.extensions.get_extension_for_class(x509.DeltaCRLIndicator).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _covers(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether silence of this list means something: a partial one only ever adds revocations."""
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.IssuingDistributionPoint):
            outside = value.only_contains_user_certs if is_authority else value.only_contains_ca_certs
            if outside or value.indirect_crl or value.only_contains_attribute_certs or value.only_some_reasons:
                return False
        elif extension.critical and not isinstance(value, x509.DeltaCRLIndicator):
            return False
    return True


def _list_addresses(
    holder: x509.Certificate | x509.CertificateRevocationList,
    kind: type[x509.CRLDistributionPoints] | type[x509.FreshestCRL],
) -> list[str]:
    """Addresses of the lists that a certificate, or a list, points to."""
    try:
        points = holder.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return []
    return [
        name.value for point in points for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier) and point.reasons is None and point.crl_issuer is None
    ]
