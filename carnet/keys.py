"""The service's own keys: read only when nobody else can, served only when they fit, exchanged while it runs.

A server has a pair, ``registry.pem`` (certificate, then those above it) and ``registry.key``, and beside it a second
one, ``registry.rsa.pem`` and ``registry.rsa.key``: the four suites of TLS 1.2 need RSA, and everybody else is served
faster by the first. The first is also what the service shows where it connects and signs its checkpoints with.

Whoever puts new files in their place needs no restart. Half of them is never served: certificate and key must fit,
every block must be whole, and files younger than a moment are waited for. Until then the pair in memory serves on.

Rule: K-02, K-03. Clause: ITI TF-2 3.19.6; RFC 9325
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from guard.credentials.cards import KeyPair, load_key_pair
from guard.credentials.certificates import TrustError
from xds.wire import tls

log = logging.getLogger("carnet.keys")

LOOK = 1.0
"""Seconds between looks at the files, and the least age of one that is read while we run."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_BEGIN, _END = b"-----BEGIN ", b"-----END "


class KeyTrouble(ValueError):
    """A key or certificate that cannot be used. The text names the file and the remedy, and holds no secret."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Where a certificate (with its chain) and its key lie, both in PEM."""

    certificate: Path
    key: Path

    def read(self) -> KeyPair:
        """Both, once, when they belong together. Raises KeyTrouble."""
        certificates = _certificates(self.certificate)
        key = _private_key(self.key)
        if key.public_key() != certificates[0].public_key():
            raise KeyTrouble(f"{self.key} is not the key of the certificate in {self.certificate}: put both in place")
        return KeyPair(key, certificates[0], tuple(certificates[1:]))


def readable_by_others(file: Path) -> bool:
    """Whether group or others may do anything with a file. Raises OSError."""
    return bool(file.stat().st_mode & _OTHERS)


def server_context(pairs: Sequence[KeyPair], client_anchors: str) -> ssl.SSLContext:
    """For our listeners: a client certificate is asked for, verified against these PEM texts, and not demanded.

    Of two pairs with the same kind of key the first one serves.
    """
    context = tls.listening()
    for pair in reversed(pairs):
        load_key_pair(context, pair)
    context.load_verify_locations(cadata=client_anchors)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


class Following:
    """A TLS context that follows the files it is made of; call it for the one of a new connection. Thread-safe.

    ``make`` builds a context and may raise KeyTrouble, TrustError, OSError, ssl.SSLError: the first time that is the
    caller's, later it is logged once and the context in force stays. ``stamp`` tells one state of the files from
    another; see ``stamp_of``.
    """

    def __init__(self, name: str, make: Callable[[], ssl.SSLContext], stamp: Callable[[], Hashable], *,
                 look: float = LOOK) -> None:  # fmt: skip
        self._name, self._make, self._stamp, self._look = name, make, stamp, look
        self._lock = threading.Lock()
        self._seen = stamp()
        self._context = make()
        self._next_look = time.monotonic() + look
        self.problem = ""
        """Why the files as they are now do not serve; "" when they do."""

    def __call__(self) -> ssl.SSLContext:
        if time.monotonic() >= self._next_look:
            with self._lock:
                if time.monotonic() >= self._next_look:
                    self._next_look = time.monotonic() + self._look
                    self._follow()
        return self._context

    def _follow(self) -> None:
        seen = self._stamp()
        if seen == self._seen or _is_young(seen):
            return
        try:
            made = self._make()
        except (KeyTrouble, TrustError, OSError) as error:
            self.problem = _told(error)
            log.error("%s: the new keys or authorities are not used, the former ones are: %s", self._name, self.problem)
        else:
            if self._stamp() != seen:
                return
            self._context, self.problem = made, ""
            log.warning("%s: new keys or authorities are used from now on", self._name)
        self._seen = seen


FileStamp = tuple[str, int, int, int, int]
"""Path, inode, size, time of content and time of change in nanoseconds; zeros for a file that is not there."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """One state of some files, and of what else counts."""

    files: tuple[FileStamp, ...]
    beside: Hashable = None


def stamp_of(files: Sequence[Path | str], beside: Hashable = None) -> Stamp:
    """The state of these files now."""
    found: list[FileStamp] = []
    for file in files:
        try:
            one = os.stat(file)
        except OSError:
            found.append((str(file), 0, 0, 0, 0))
        else:
            found.append((str(file), one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns))
    return Stamp(tuple(found), beside)


def _is_young(seen: Hashable) -> bool:
    """Whether one of the files has just changed: it may be half written, or its partner not there yet.

    The time of change is the system's own, no copying command sets it. One that lies in the future says nothing.
    """
    if not isinstance(seen, Stamp):
        return False
    now = time.time_ns()
    return any(0 <= now - changed < LOOK * 10**9 for *_, changed in seen.files)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, KeyTrouble | TrustError) else type(error).__name__


def _read(file: Path, *, secret: bool) -> bytes:
    try:
        with file.open("rb") as opened:
            if secret and os.fstat(opened.fileno()).st_mode & _OTHERS:
                mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
                raise KeyTrouble(
                    f"{file} holds a private key and is open to others than its owner (mode {mode:04o}): "
                    f"chmod 600 {file}, or `carnet check --repair`"
                )
            data = opened.read(1 << 20)
    except OSError as error:
        raise KeyTrouble(f"{file} cannot be read: {error.strerror}") from None
    if data.count(_BEGIN) != data.count(_END) or not data.count(_END):
        raise KeyTrouble(f"{file} is not whole, or not PEM")
    return data


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(file, secret=False))
    except KeyTrouble:
        raise
    except ValueError:
        raise KeyTrouble(f"{file} holds no certificate in PEM form") from None


def _private_key(file: Path) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    data = _read(file, secret=True)
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise KeyTrouble(f"{file} is under a password; services start unattended: store it plain, mode 0600") from None
    except ValueError:
        raise KeyTrouble(f"{file} holds no private key in PEM form") from None
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise KeyTrouble(f"{file} holds neither an RSA nor an elliptic-curve key")
