"""What a process of ours keeps to itself: no core file, no look into its memory, no PIN in its environment.

Rule: K-08
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource

import click

from carnet.supervisor import SECRET_VARIABLES

log = logging.getLogger("carnet.secrecy")

_PR_SET_DUMPABLE = 4


def close_process() -> None:
    """No core file of this process, whoever collects them; its memory and environment are the system's alone to read.

    Children of a fork inherit both; a program that is started anew must call this itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        log.debug("this system cannot keep others from looking into the process")


def hide_secrets() -> None:
    """Take PIN and PUK out of the environment, so that no child gets them and ``/proc`` does not show them.

    The command that runs finds them with ``from_environment``.
    """
    for name in SECRET_VARIABLES:
        given = os.environ.get(name)
        if given is not None:
            _wipe(name)
            del os.environ[name]
            click.get_current_context().meta[name] = given


def from_environment(name: str) -> str | None:
    """The PIN or PUK that came by the environment, None when none did."""
    found: str | None = click.get_current_context().meta.get(name)
    return found


def _wipe(name: str) -> None:
    """Overwrite a variable where the system keeps it: to unset it would only forget where it stands."""
    try:
        library = ctypes.CDLL(None)
        library.getenv.restype = ctypes.c_void_p
        address = library.getenv(name.encode())
        if address:
            ctypes.memset(address, 0, len(os.environb[name.encode()]))
    except (OSError, AttributeError):
        log.debug("the environment cannot be overwritten on this system")
