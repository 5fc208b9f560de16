"""Both services as processes of their own, to be measured, starved and killed.

``Live`` holds a ``World`` whose services run apart, so that each can be stopped and started again alone. What they
write to their error output is kept in ``world.folder/logs`` for the scan of the logs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from carnet.cli import main
from carnet.commands.serve import admin_addresses
from carnet.supervisor import ready_process
from conformance import frames
from conformance.client import Client, Outcome, bytes_part
from tests.world import World
from xds.model import Submission
from xds.wire.exchange import OutgoingPart

ROOT = Path(__file__).resolve().parent.parent
INDISCREET = re.compile(
    r"2790599\d{8}|ESSAI-DUPONT|CAMILLE|19790514|FICTIF|Document d'essai|Alix|<saml|PRIVATE KEY|Traceback|SELECT |"
    r"INSERT |canary-7c1d"
)
"""What a log never holds: patients of these tests, their traits, names, titles, assertions, keys, SQL, stack traces."""
NAMES = ("registry", "repository")


def clean_environment() -> dict[str, str]:
    """Ours, without settings meant for other installations."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CARNET")}
    return kept | {"PYTHONPATH": str(ROOT)}


class Service:
    """One service: gunicorn's master, which we start, and its worker, which it starts."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self._world = world
        self._address = admin_addresses(world.settings)[name]
        self.log = world.folder / "logs" / f"{name}.log"
        self.log.parent.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def master(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *flags: str) -> Service:
        """Start it with these flags of ``carnet serve``. Returns at once."""
        command = [sys.executable, "-m", "carnet", "serve", self.name, "--data", str(self._world.folder), *flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stderr=log, stdout=log, start_new_session=True, env=clean_environment()
            )
        return self

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_ready(self, patience: float = 60.0) -> Service:
        """Wait for a worker of the running master to be ready."""
        deadline = time.monotonic() + patience
        while ready_process(self._address) != self.master:
            assert self.is_running(), f"{self.name} ended: {self.log.read_text('utf-8', 'replace')[-2000:]}"
            assert time.monotonic() < deadline, f"{self.name} is not ready after {patience} s"
            time.sleep(0.05)
        return self

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        try:
            return [int(p) for p in Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()]
        except OSError:
            return []

    def pids(self) -> list[int]:
        return [self.master, *self.workers()]

    def kill_worker(self) -> None:
        """kill -9 of the worker alone; its master starts another."""
        gone = self.workers()
        for pid in gone:
            _kill(pid)
        deadline = time.monotonic() + 30
        while set(gone) & set(self.workers()) or not self.workers():
            assert time.monotonic() < deadline, f"{self.name}: no new worker"
            time.sleep(0.02)

    def kill_master(self) -> None:
        """kill -9 of the master alone, and start another; the worker it leaves behind ends by itself."""
        _kill(self.master)
        self._reap()
        self.start()

    def kill_group(self) -> None:
        """kill -9 of master and worker at one moment, and start again."""
        self.end_at_once()
        self.start()

    def end_at_once(self) -> None:
        if self.is_running():
            os.killpg(self.master, signal.SIGKILL)  # a session of its own: its group holds only what it started
            self._reap()

    def end(self) -> None:
        """Ask it to end; see ``stop``."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.end()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.end_at_once()

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(30)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Live:
    """One installation and its two services, apart."""

    world: World
    services: dict[str, Service] = field(default_factory=dict)

    @classmethod
    def prepare(cls, folder: Path, toml: str = "", **more: Any) -> Live:
        """Make the installation, with two workers a service; nothing runs yet."""
        world = World.prepare(folder, toml, **{"workers": 2} | more)
        return cls(world, {name: Service(name, world) for name in NAMES})

    def start(self, *flags: str) -> Live:
        for service in self.services.values():
            service.start(*flags)
        return self.wait_ready()

    def wait_ready(self) -> Live:
        for service in self.services.values():
            service.wait_ready()
        return self

    def stop(self) -> None:
        for service in self.services.values():
            service.end()
        for service in self.services.values():
            service.stop()

    @property
    def registry(self) -> Service:
        return self.services["registry"]

    @property
    def repository(self) -> Service:
        return self.services["repository"]

    def client(self, who: str = "physician", **changes: Any) -> Client:
        return self.world.client(who, **changes)

    def deposit(self, data: bytes, patient_id: str = "", client: Client | None = None) -> tuple[Submission, Outcome]:
        """Deposit one document of these bytes; the patient's record is opened if none is given."""
        submission = submission_of(data, patient_id or self.world.patient())
        return submission, provide(client or self.client(), submission, data)

    def retrieve(self, submission: Submission, client: Client | None = None) -> bytes:
        """The bytes of its one document; AssertionError when it is not served."""
        entry = submission.entries[0]
        wanted = [(self.world.settings.repository.unique_id, entry.unique_id)]
        outcome, items = (client or self.client()).retrieve(wanted, Bytes, patient_id=entry.patient_id)
        assert outcome.is_success, outcome
        received = items[0].received
        assert isinstance(received, bytes)
        return received

    def check(self, *flags: str) -> dict[str, Any]:
        """``carnet check --json`` with these flags."""
        done = CliRunner().invoke(main, ["check", "--json", "--data", str(self.world.folder), *flags])
        assert done.stdout, done.output
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def assert_agreement(self, *flags: str) -> dict[str, Any]:
        """Registry, repository and files agree, and nothing is left over after a sweep that waits for nobody."""
        report = self.check("--repair", "--grace", "0", "--full", *flags)
        wrong = {k: report[k] for k in ("missing", "damaged", "unknown", "unfinished", "orphans") if report[k]}
        assert report["agree"] and not wrong, wrong
        assert self.staged() == []
        return report

    def staged(self) -> list[str]:
        return sorted(os.listdir(Path(self.world.settings.documents) / "staging"))

    def logs(self) -> str:
        """Everything the services have written so far."""
        return "".join(s.log.read_text("utf-8", "replace") for s in self.services.values() if s.log.exists())


    def assert_discreet_logs(self) -> None:
        """No patient, no name, no secret, no statement and no stack trace in anything the services have written."""
        for number, line in enumerate(self.logs().splitlines(), 1):
            found = INDISCREET.search(line)
            assert found is None, f"line {number} of the logs holds {found.group()!r}: {line[:300]}"


@contextmanager
def served(folder: Path, toml: str = "", *flags: str) -> Iterator[Live]:
    """An installation with both services ready, stopped at the end; then its logs are read."""
    live = Live.prepare(folder, toml)
    try:
        yield live.start(*flags)
    finally:
        live.stop()
    live.assert_discreet_logs()


class Bytes:
    """A sink that keeps the bytes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, chunk: bytes | memoryview) -> None:
        self._pieces.append(bytes(chunk))

    def finish(self) -> bytes:
        return b"".join(self._pieces)

    def abort(self) -> None:
        self._pieces.clear()


def a_document(size: int = 0) -> bytes:
    """Bytes that occur once, of at least ``size``."""
    mark = f"<essai>{uuid.uuid4()}</essai>\r\n".encode()
    return mark + b"\xef\xbb\xbf" + os.urandom(max(0, size - len(mark) - 3))


def submission_of(data: bytes, patient_id: str, **changes: Any) -> Submission:
    """A submission of one document of these bytes."""
    values = {"hash": hashlib.sha1(data, usedforsecurity=False).hexdigest(), "size": len(data)}
    return frames.valid_submission("dmp", patient_id=patient_id, **values | changes)


def provide(client: Client, submission: Submission, data: bytes | OutgoingPart) -> Outcome:
    """ITI-41 of a submission with one document."""
    part = data if isinstance(data, OutgoingPart) else bytes_part(data, "document@test", "text/xml")
    return client.provide(submission, [(submission.entries[0].entry_uuid, part)])


class Memory:
    """Growth of the memory of processes while something runs, from the peak the kernel keeps for each."""

    def __init__(self, pids: list[int]) -> None:
        self._before = {}
        for pid in pids:
            with suppress(PermissionError):  # only root may; else the peak is that since the start
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts again at the present size
            self._before[pid] = _status(pid, "VmRSS")

    def growth(self) -> dict[int, int]:
        """Bytes at the peak above the size at the start, by process id. A process must not have ended."""
        return {pid: _status(pid, "VmHWM") - before for pid, before in self._before.items()}


def memory_of(pid: int) -> int:
    """Bytes a process has in memory now."""
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} for process {pid}")
