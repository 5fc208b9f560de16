"""What an unexpected failure becomes: a finding for the peer, a place in the code for the log."""

from __future__ import annotations

import errno
import traceback

from xds.errors import ErrorCode, Finding
from xds.wire.exchange import Transaction

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def exhausted(error: BaseException) -> bool:
    """True when a resource ran out: disk, quota, file handles, memory."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def refusal_for(error: BaseException, transaction: Transaction) -> Finding:
    """The finding that answers an understood request after an unexpected error; says nothing about its cause.

    XDSRepositoryOutOfResources or XDSRegistryOutOfResources when a resource ran out, XDSRepositoryBusy or
    XDSRegistryBusy when a lock or a connection was not to be had in time, else the internal error code of the actor.

    Rule: R-054
    Clause: ITI TF-3 4.2.4.1
    """
    repository = transaction.internal_error is ErrorCode.XDSRepositoryError
    if isinstance(error, TimeoutError):
        code = ErrorCode.XDSRepositoryBusy if repository else ErrorCode.XDSRegistryBusy
        return Finding(
            code=code, subject=transaction.name, found="more work than this service can do now",
            expected="a later attempt", clause="ITI TF-3 4.2.4.1",
        )
    if not exhausted(error):
        return Finding(
            code=transaction.internal_error, subject=transaction.name, found="an unexpected failure of this service",
            expected="a later attempt; if it fails again, tell its operator the trace", clause="ITI TF-3 4.2.4.1",
        )
    code = ErrorCode.XDSRepositoryOutOfResources if repository else ErrorCode.XDSRegistryOutOfResources
    return Finding(
        code=code, subject=transaction.name, found="no storage left", expected="a later attempt",
        clause="ITI TF-3 4.2.4.1",
    )


def place_of(error: BaseException) -> str:
    """Where an error arose and what caused it, without any message text."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    path = " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames)
    cause = error.__cause__
    return f"{path} caused by {type(cause).__name__}" if cause is not None else path
