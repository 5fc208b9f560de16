"""Three wrong PINs lock a card that is a file, and a PUK unlocks it.

The counter is ``card.p12.tries`` beside the card: it stands in for the one inside a chip. A try is counted *before*
the PIN is looked at and given back when it was right, under a lock of the whole file, so neither tries at the same time
nor a process that dies win another. Once locked, every PIN gets one and the same answer and none is looked at.
Whoever copies or edits the files is not stopped: nothing in a file can do that.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

TRIES, PUK_TRIES = 3, 5
PUK_DIGITS = 8


class CardError(Exception):
    """A card that cannot be used: the text says why and carries no secret."""


class WrongPin(CardError):
    """The PIN does not open the card."""


class CardLocked(CardError):
    """Too many wrong PINs: no PIN opens the card any more."""


@dataclass(frozen=True, slots=True)
class _State:
    """What the counter file holds. ``puk`` is salt and scrypt hash, hexadecimal; "" for a card made without."""

    tries_left: int = TRIES
    puk_tries_left: int = PUK_TRIES
    salt: str = ""
    puk: str = ""


@contextmanager
def one_try(card: Path) -> Iterator[None]:
    """Around the opening of ``card`` with a PIN. Raises CardLocked, WrongPin with the tries left, CardError."""
    with _held(card) as state:
        if state.tries_left <= 0:
            raise CardLocked(f"{card.name} is locked by {TRIES} wrong PINs; unlock it with `carnet card unblock`")
        _write(card, replace(state, tries_left=state.tries_left - 1))
        try:
            yield
        except WrongPin as error:
            left = state.tries_left - 1
            told = f"{left} {'tries' if left > 1 else 'try'} left" if left else "the card is locked now"
            raise WrongPin(f"{error}; {told}") from error
        except CardError:
            _write(card, state)
            raise
        _write(card, replace(state, tries_left=TRIES))


def give_puk(card: Path) -> str:
    """A new PUK for a card just made, known to whoever asked and to nobody else: only its hash is kept."""
    puk = f"{secrets.randbelow(10**PUK_DIGITS):0{PUK_DIGITS}d}"
    salt = secrets.token_bytes(16)
    with _held(card):
        _write(card, _State(salt=salt.hex(), puk=_hash(puk, salt)))
    return puk


def forget(card: Path) -> None:
    """What was counted for an older card of this name does not count for a new one."""
    counter_path(card).unlink(missing_ok=True)


def unblock(card: Path, puk: str) -> None:
    """Give the tries back. Raises WrongPin for a wrong PUK, CardLocked after too many, CardError without a PUK."""
    with _held(card) as state:
        if not state.puk:
            raise CardError(f"{card.name} was made without a PUK: it is replaced, not unlocked")
        if state.puk_tries_left <= 0:
            raise CardLocked(f"{card.name} is locked for good by wrong PUKs; have it replaced")
        left = state.puk_tries_left - 1
        _write(card, replace(state, puk_tries_left=left))
        if not hmac.compare_digest(_hash(puk, bytes.fromhex(state.salt)), state.puk):
            raise WrongPin(f"the PUK is not that of {card.name}; {left} left")
        _write(card, replace(state, tries_left=TRIES, puk_tries_left=PUK_TRIES))


def _hash(puk: str, salt: bytes) -> str:
    return hashlib.scrypt(puk.encode(), salt=salt, n=2**14, r=8, p=1).hex()


def counter_path(card: Path) -> Path:
    """``card.p12`` -> ``card.p12.tries``"""
    return card.with_name(f"{card.name}.tries")


@contextmanager
def _held(card: Path) -> Iterator[_State]:
    """The counter, while nobody else has it: the lock is on the card file itself. Raises CardError."""
    try:
        descriptor = os.open(card, os.O_RDONLY)
    except OSError as error:
        raise CardError(f"card {card.name} cannot be read: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield _read(card)
    finally:
        os.close(descriptor)


def _read(card: Path) -> _State:
    try:
        told = json.loads(counter_path(card).read_text("ascii"))
        state = _State(**told)
        if not all(isinstance(getattr(state, name), int) for name in ("tries_left", "puk_tries_left")):
            raise ValueError("no numbers")
        return state
    except FileNotFoundError:
        return _State()
    except (OSError, ValueError, TypeError) as error:
        raise CardError(f"the counter of wrong PINs of {card.name} cannot be read; the card stays closed") from error


def _write(card: Path, state: _State) -> None:
    """Durable before anything depends on it. Raises CardError: a card whose tries cannot be counted is not opened."""
    file = counter_path(card)
    temporary = file.with_name(f".{file.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            json.dump(asdict(state), out)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        raise CardError(f"wrong PINs of {card.name} cannot be counted: {error.strerror}; it stays closed") from error
