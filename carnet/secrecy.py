"""What a process of ours keeps to itself: no core file, no look into its memory, no PIN in its environment.

Rule: K-08
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource

import click

log = logging.getLogger("carnet.secrecy")

PIN = "CARNET_PIN"
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


def hide_pin() -> None:
    """Take the PIN out of the environment, so that no child gets it and ``/proc`` does not show it.

    The command that runs finds it with ``environment_pin``.
    """
    given = os.environ.get(PIN)
    if given is None:
        return
    _wipe(PIN)
    del os.environ[PIN]
    click.get_current_context().meta[PIN] = given


def environment_pin() -> str | None:
    """The PIN that came by the environment, None when none did."""
    found: str | None = click.get_current_context().meta.get(PIN)
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
