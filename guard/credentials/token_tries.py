"""Three wrong PINs lock a token that would never lock by itself, as SoftHSM does not.

A chip counts wrong PINs and locks. For a token whose keys are made here, and which takes data objects, we count beside
its own counter, in the token: every try is a small public object, made *before* the PIN is looked at and taken away by
the right one. So neither tries at the same time nor a process that dies win another, and it is the token that is
locked, wherever it is used. Tokens without our mark are left alone: their makers count.

Whoever may write to the token without its PIN takes the objects away; nothing outside of a chip can stop that.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pkcs11
from pkcs11 import Attribute, ObjectClass

from guard.credentials.try_counter import PUK_TRIES, TRIES, CardError, CardLocked, WrongPin

_MARK, _TRY, _UNLOCK = "carnet: wrong PINs are counted", "carnet: a PIN was tried", "carnet: a PUK was tried"

PATIENCE = 3.0
"""Seconds to wait for logins of others that are under way."""
LOOKS = 50


def begin(session: Any) -> None:
    """Count from now on, where the token takes data objects."""
    with contextlib.suppress(pkcs11.PKCS11Error):
        if not _found(session, _MARK):
            session.create_object(_data(_MARK))


@contextmanager
def one_try(token: Any, name: str) -> Iterator[None]:
    """Around a login with a PIN. Raises CardLocked, WrongPin with the tries left."""
    locked = (
        f"{name} is locked by {TRIES} wrong PINs, or in use by others at this moment; where it stays so, unlock it "
        "with `carnet card unblock`"
    )
    with _counted(token, _TRY, TRIES, locked):
        yield


@contextmanager
def one_unlock(token: Any, name: str) -> Iterator[None]:
    """Around a login with the PUK, which gives the tries back. Raises CardLocked, WrongPin, and CardError for a token
    that counts by itself."""
    if not _is_counted(token):
        raise CardError(f"{name} counts wrong PINs itself; unlock it with its maker's tool")
    with _counted(token, _UNLOCK, PUK_TRIES, f"{name} is locked for good by wrong PUKs; have it replaced"):
        yield
    with closing(token.open(rw=True)) as session:
        _clear(session, _TRY)


@contextmanager
def _counted(token: Any, label: str, most: int, locked: str) -> Iterator[None]:
    if not _is_counted(token):
        yield
        return
    with closing(token.open(rw=True)) as session:
        mine, left = _begun(session, label, most, locked)
        try:
            yield
        except WrongPin as error:
            told = f"{left} {'tries' if left > 1 else 'try'} left" if left else "it is locked now"
            raise WrongPin(f"{error}; {told}") from error
        except CardError:
            _withdraw(mine)
            raise
        _clear(session, label)


def _begun(session: Any, label: str, most: int, locked: str) -> tuple[Any, int]:
    """Our try, and how many are left after it. Tries of others that are still under way count like wrong ones: they
    are waited for, PATIENCE at most. Raises CardLocked.

    Of those who come at the same moment only who counts no more than ``most`` with his own goes on; the others take
    theirs back before any PIN is looked at, and come again.
    """
    end = time.monotonic() + PATIENCE
    while True:
        if len(_found(session, label)) < most and (mine := _made(session, label)) is not None:
            left = most - len(_found(session, label))
            if left >= 0:
                return mine, left
            _withdraw(mine)
        if time.monotonic() >= end:
            raise CardLocked(locked)
        time.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - so that two do not meet again


def _made(session: Any, label: str) -> Any:
    """None where a right PIN of somebody else has taken it away at once."""
    try:
        return session.create_object(_data(label))
    except pkcs11.ObjectHandleInvalid:
        return None


def _withdraw(one: Any) -> None:
    with contextlib.suppress(pkcs11.ObjectHandleInvalid):  # somebody else has just done so
        one.destroy()


def _is_counted(token: Any) -> bool:
    with closing(token.open()) as session:
        return bool(_found(session, _MARK))


def _found(session: Any, label: str) -> list[Any]:
    """Looked for again where one was taken away by others while we looked; raises when that does not end."""
    for _ in range(LOOKS):
        with contextlib.suppress(pkcs11.ObjectHandleInvalid):
            return list(session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: label}))
        time.sleep(random.uniform(0.002, 0.02))  # noqa: S311 - so that two do not meet again
    raise CardError("the tries of the token cannot be counted: others change them all the time")


def _clear(session: Any, label: str) -> None:
    for one in _found(session, label):
        _withdraw(one)


def _data(label: str) -> dict[Attribute, Any]:
    return {
        Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: False, Attribute.LABEL: label,
        Attribute.APPLICATION: "carnet", Attribute.VALUE: b"1",
    }  # fmt: skip
