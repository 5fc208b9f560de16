"""What the workers of one service know of each other: processes that share its address and do the same.

The first of them (number 0) also does what a service does once: its jobs, its listeners beside the services, the lines
of its start and end. Numbers are given by the master; a worker that takes a dead one's place takes its number. What is
shared is memory of the master's and a pipe of its making, so a killed worker leaves nothing behind to be found.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Iterable, Iterator, MutableSet
from contextlib import suppress
from pathlib import Path
from struct import Struct

from carnet.shared_replay import SharedReplay

MOST = 4
"""Workers of a service on a machine with more cores, unless the operator wants more."""
_NOTE = Struct("=QI?3x")
"""Of each worker: process id, connections, whether it has ever been up."""
_ENDS = Struct("=d")
"""Of the service: when it was told to end (monotonic seconds), 0 before."""
_TRACE = 16
_PIPE = 1 << 20
_READ = 1 << 16
_SHARE = Path("/sys/fs/cgroup/cpu.max")


def wanted(setting: int) -> int:
    """How many workers a setting means; 0 is one for each core we may use, by affinity and by share of time."""
    return setting or max(1, min(MOST, len(os.sched_getaffinity(0)), _share()))


def _share() -> int:
    """Cores' worth of time a container has (cgroup v2), MOST without a limit."""
    try:
        quota, period = _SHARE.read_text("ascii").split()
        return MOST if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return MOST


class Workers:
    """Made by the master, before the first fork; every worker then says which one it is."""

    def __init__(self, count: int = 1, at_once: int = 1) -> None:
        """``at_once`` is how many exchanges a worker may have under way."""
        self.count = count
        self.number = 0
        self._connections, self._is_up, self._is_in = 0, False, False
        self._master = os.getpid()
        self._notes = mmap.mmap(-1, count * _NOTE.size)
        self._ends = mmap.mmap(-1, _ENDS.size)
        self._has_begun = mmap.mmap(-1, 1)
        self.under_way: MutableSet[str] = set()
        """Trace ids of the exchanges of all workers whose end is not known yet."""
        self.alarm: SharedAlarm | None = None
        """Rung when a worker hears of a revocation."""
        self.replay: SharedReplay | None = None
        """The assertions that were shown to any worker."""
        if count > 1:
            self.alarm, self.replay = SharedAlarm(count), SharedReplay()
            self._traces = self.under_way = SharedTraces(count, at_once)
            self._told, self._telling = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            with suppress(OSError):
                fcntl.fcntl(self._telling, fcntl.F_SETPIPE_SZ, _PIPE)

    @property
    def is_first(self) -> bool:
        return self.number == 0

    def free_number(self, taken: Iterable[int]) -> int:
        """For the next worker. Called by the master."""
        return min(set(range(self.count)) - set(taken), default=self.count - 1)

    def join(self, number: int) -> None:
        """This process is the worker of that number, and nothing of its predecessor is under way any more: so it is
        known by its process id before that is forgotten.
        """
        self.number = number
        if self.alarm is not None:
            self.alarm.own(number)
        self._is_up, self._is_in = self._read(number)[2], True
        self._note()
        if self.count > 1:
            self._traces.own(number)

    def up(self) -> None:
        """This worker serves."""
        self._is_up = True
        self._note()

    def have_been_up(self) -> bool:
        """Whether any worker has ever served."""
        return any(self._read(number)[2] for number in range(self.count))

    def stop(self) -> None:
        """The service is told to end. Called by the master."""
        _ENDS.pack_into(self._ends, 0, time.monotonic())

    def is_ending(self) -> bool:
        """Whether the service ends, and not this worker alone while others serve."""
        return self.count == 1 or bool(_ENDS.unpack(self._ends)[0]) or os.getppid() != self._master

    def begins(self) -> bool:
        """True for the worker that begins the service: one that replaces another while others serve does not."""
        has_begun, self._has_begun[0] = self._has_begun[0], 1
        return self.count == 1 or not has_begun

    def has(self, connections: int) -> None:
        """This worker has so many connections."""
        self._connections = max(0, connections)
        self._note()

    def has_more(self) -> bool:
        """True when another worker has fewer connections than this one."""
        return any(self._read(number)[1] < self._connections for number in range(self.count))

    def missing(self) -> str:
        """"" once every worker has been up, else what is waited for."""
        up = sum(self._read(number)[2] for number in range(self.count))
        return "" if up == self.count else f"{up} of {self.count} workers are up"

    def process_ids(self) -> list[int]:
        """Of all workers; a dead one's until it is replaced."""
        return [pid for number in range(self.count) if (pid := self._read(number)[0])]

    def report(self, line: bytes) -> None:
        """Tell the first worker something, by one line of at most 4096 bytes; lost when nobody reads for long."""
        with suppress(OSError):
            os.write(self._telling, line + b"\n")

    def read_reports(self) -> list[bytes]:
        """What has been told since the last time. For the first worker, one thread at a time."""
        told = b""
        if self.count > 1:
            with suppress(BlockingIOError):
                while data := os.read(self._told, _READ):
                    told += data
        return told.splitlines()

    def wait_alone(self, patience: float) -> None:
        """Until the other workers have ended, for so many seconds since the service was told to end."""
        children = Path(f"/proc/{self._master}/task/{self._master}/children")
        until = _ENDS.unpack(self._ends)[0] + patience
        with suppress(OSError):
            while os.getppid() == self._master and time.monotonic() < until:
                if not {int(one) for one in children.read_text("ascii").split()} - {os.getpid()}:
                    return
                time.sleep(0.02)

    def _read(self, number: int) -> tuple[int, int, bool]:
        found: tuple[int, int, bool] = _NOTE.unpack_from(self._notes, number * _NOTE.size)
        return found

    def _note(self) -> None:
        if self._is_in:
            place = self.number * _NOTE.size
            _NOTE.pack_into(self._notes, place, os.getpid(), self._connections, self._is_up)


class SharedAlarm:
    """``guard.credentials.revocation_check.Alarm`` of the workers: each counts its own rings, so that none is lost.
    Thread-safe.
    """

    def __init__(self, workers: int) -> None:
        self._rings = memoryview(mmap.mmap(-1, workers * 8)).cast("Q")
        self._lock = threading.Lock()
        self.own(0)

    def own(self, number: int) -> None:
        """This process is the worker of that number."""
        self._number = number

    def ring(self) -> None:
        with self._lock:
            self._rings[self._number] += 1

    def rung(self) -> int:
        return sum(self._rings)


class SharedTraces(MutableSet[str]):
    """Trace ids (32 hex digits) that every worker sees, each in a place of its worker. Thread-safe.

    An id stands here before the row that names it is committed, so whoever has read the row reads the whole id.
    """

    def __init__(self, workers: int, places: int) -> None:
        self._size = places * _TRACE
        self._memory = mmap.mmap(-1, workers * self._size)
        self._lock = threading.Lock()
        self.own(0)

    def own(self, number: int) -> None:
        """This process writes the places of that worker, which are free."""
        self._start = number * self._size
        self._memory[self._start : self._start + self._size] = bytes(self._size)
        self._free = list(range(self._start, self._start + self._size, _TRACE))
        self._mine: dict[str, int] = {}

    def add(self, value: str) -> None:
        with self._lock:
            if value not in self._mine:
                place = self._mine[value] = self._free.pop()
                self._memory[place : place + _TRACE] = bytes.fromhex(value)

    def discard(self, value: str) -> None:
        with self._lock:
            place = self._mine.pop(value, None)
            if place is not None:
                self._memory[place : place + _TRACE] = bytes(_TRACE)
                self._free.append(place)

    def __iter__(self) -> Iterator[str]:
        everything = bytes(self._memory)
        found = (everything[place : place + _TRACE] for place in range(0, len(everything), _TRACE))
        return (one.hex() for one in found if any(one))

    def __contains__(self, value: object) -> bool:
        return any(one == value for one in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
