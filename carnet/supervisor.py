"""Both services under one parent: started together, restarted when one dies, ended together.

Clause: design, section 5 (two services, two processes)
"""

from __future__ import annotations

import ctypes
import logging
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

log = logging.getLogger("carnet.supervisor")

PR_SET_PDEATHSIG = 1
STOP_PATIENCE = 35.0
"""Seconds a service has to finish its requests before it is killed; above gunicorn's graceful time-out."""


def _die_with_parent() -> None:
    """In the child, before exec: end when the supervisor ends, however it ended (Linux)."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        log.debug("no parent-death signal on this system")


class Supervisor:
    """Runs ``carnet serve NAME`` for each name until ``stop`` or a signal."""

    def __init__(self, data: Path, names: Sequence[str], flags: Sequence[str] = ()):
        self._data, self._names, self._flags = data, names, tuple(flags)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._stopping = False

    def start(self) -> None:
        """Start every service; returns at once, see ``wait_ready``."""
        for name in self._names:
            self._spawn(name)

    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    def _spawn(self, name: str) -> None:
        command = [sys.executable, "-m", "carnet", "serve", name, "--data", str(self._data), *self._flags]
        self._children[name] = subprocess.Popen(command, preexec_fn=_die_with_parent, start_new_session=True)
        self._started[name] = time.monotonic()

    def run(self) -> int:
        """Watch until a signal asks to stop; a service that dies is started again. Returns the exit status."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        while not self._stopping:
            for name, child in self._children.items():
                status = child.poll()
                if status is None:
                    continue
                if time.monotonic() - self._started[name] < 2.0:
                    log.error("%s ended at once with status %s; giving up", name, status)
                    self.stop()
                    return 1
                log.warning("%s ended with status %s; starting it again", name, status)
                self._spawn(name)
            time.sleep(0.2)
        self.stop()
        return 0

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def stop(self) -> None:
        """End every service, politely first. May be repeated."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_PATIENCE
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def wait_ready(self, addresses: Sequence[str], patience: float = 30.0) -> None:
        """Wait until every admin address answers 200 on /readyz.

        Raises RuntimeError when a service ends or the patience (seconds) does.
        """
        deadline = time.monotonic() + patience
        waiting = list(addresses)
        while waiting:
            for name, child in self._children.items():
                if child.poll() is not None:
                    raise RuntimeError(f"{name} ended with status {child.returncode}; see its messages above")
            waiting = [a for a in waiting if not is_ready(a)]
            if waiting and time.monotonic() > deadline:
                raise RuntimeError(f"not ready after {patience:.0f} s: {', '.join(waiting)}")
            if waiting:
                time.sleep(0.1)


def is_ready(address: str) -> bool:
    """True when ``address``/readyz answers 200."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
