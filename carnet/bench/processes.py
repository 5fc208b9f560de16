"""Child processes of a measurement: orders and answers in lines of JSON, processor time and memory from /proc."""

from __future__ import annotations

import json
import os
import platform
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from carnet.supervisor import clean_environment

LIBRARIES = ("lxml", "signxml", "cryptography", "SQLAlchemy", "gunicorn")
_TICK = os.sysconf("SC_CLK_TCK")


class ChildFailed(Exception):
    """A process of the measurement ended or reported a failure."""


class Child:
    """A Python module of ours in a process of its own; ends when its standard input is closed.

    A PIN goes with the order to prepare, through a pipe: the environment of a process can be read from outside.
    """

    def __init__(self, module: str, pin: str = ""):
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=clean_environment(),
        )
        self._secret = {"pin": pin} if pin else {}
        self.pid = self._process.pid
        self._name = module

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """One order, one answer. Raises ChildFailed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if "prepare" in order:
            order = {"prepare": {**order["prepare"], **self._secret}}
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ChildFailed(f"{self._name} has ended: {error}") from error
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"{self._name} ended with status {self._process.wait()}; see its messages above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildFailed(f"{self._name}: {answer['error']}")
        return answer

    def stop(self) -> None:
        """Ask it to end, then insist."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def child(module: str, pin: str = "") -> Iterator[Child]:
    started = Child(module, pin)
    try:
        yield started
    finally:
        started.stop()


# -- processor time and memory ---------------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """A process and its children: a service is a watching process and those that work."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text("ascii").split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time, user and system, of a process and its children, in steps of 10 ms; 0 without /proc."""
    total = 0.0
    for one in family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / _TICK
    return total


def memory(pid: int) -> dict[int, tuple[int, int]]:
    """Resident memory now and at its highest (bytes) of each process of the family; zeros without /proc."""
    return {one: _memory_of(one) for one in family(pid)}


def _memory_of(pid: int) -> tuple[int, int]:
    sizes = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            name, _, value = line.partition(":")
            if name in sizes:
                sizes[name] = int(value.split()[0]) * 1024
    return sizes["VmRSS"], sizes["VmHWM"]


def forget_highest(pid: int) -> None:
    """Begin the highest resident memory of a family anew from what it is now (Linux)."""
    for one in family(pid):
        with suppress(OSError):
            Path(f"/proc/{one}/clear_refs").write_text("5", "ascii")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "python": platform.python_version(), "system": platform.platform(), "processor": model, "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2), "openssl": ssl.OPENSSL_VERSION,
        **{name: version(name) for name in LIBRARIES},
    }
