"""Both services under one parent: started together, restarted when one dies, ended together.

Two services are two processes, so that one can be restarted, moved or read about alone.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

log = logging.getLogger("carnet.supervisor")

SECRET_VARIABLES = ("CARNET_PIN", "CARNET_PUK")
PR_SET_PDEATHSIG = 1
QUICK, QUICK_DEATHS = 2.0, 5
"""A service that ends within so many seconds of its start, more often than this in a row, is given up."""
STOP_PATIENCE = 35.0
"""Seconds a service has to finish its requests before it is killed; above gunicorn's graceful time-out."""


def clean_environment() -> dict[str, str]:
    """The environment of a process we start: without the secrets that were given to us."""
    return {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}


def die_with_parent() -> None:
    """Called by a supervised process: end when the supervisor ends, however it ended (Linux)."""
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
        self._quick_deaths: Counter[str] = Counter()
        self._stopping = False

    def start(self) -> None:
        """Start every service; returns at once, see ``wait_ready``."""
        for name in self._names:
            self._spawn(name)

    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    def _spawn(self, name: str) -> None:
        place = ["--data", str(self._data), "--supervised"]
        command = [sys.executable, "-m", "carnet", "serve", name, *place, *self._flags]
        self._children[name] = subprocess.Popen(command, start_new_session=True, env=clean_environment())
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
                is_quick = time.monotonic() - self._started[name] < QUICK
                self._quick_deaths[name] = self._quick_deaths[name] + 1 if is_quick else 0
                if self._quick_deaths[name] > QUICK_DEATHS:
                    log.error("%s keeps ending at once, now with status %s; giving up", name, status)
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

    def wait_ready(self, addresses: Mapping[str, str], patience: float = 30.0) -> None:
        """Wait until the admin address of each service (name to address) says that our process is ready.

        Raises RuntimeError when a service ends or the patience (seconds) does.
        """
        deadline = time.monotonic() + patience
        waiting = dict(addresses)
        while waiting:
            for name, child in self._children.items():
                if child.poll() is not None:
                    raise RuntimeError(f"{name} ended with status {child.returncode}; see its messages above")
            waiting = {n: a for n, a in waiting.items() if ready_process(a) != self._children[n].pid}
            if waiting and time.monotonic() > deadline:
                raise RuntimeError(f"not ready after {patience:.0f} s: {', '.join(waiting.values())}")
            if waiting:
                time.sleep(0.1)


def ready_process(address: str) -> int:
    """Process id of the service that is ready at this admin address (``http://…``), 0 when none is."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
            return int(json.load(answer)["pid"])
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return 0


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
