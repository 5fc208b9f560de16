"""Two workers a service: they share the work and the log, and one goes on while the other is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from carnet.bench import messages
from guard.audit.access_log import STARTED, STOPPED
from tests.live import Live, a_document, provide, submission_of
from tests.world import STRUCTURE, unique_ids
from xds.wire.client import PeerUnreachable


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Live]:
    live = Live.prepare(tmp_path / "data")
    try:
        yield live.start()
    finally:
        live.stop()
    live.assert_discreet_logs()


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def metrics(live: Live, name: str) -> dict[str, float]:
    """Series to value, of one service."""
    port = getattr(live.world.settings, name).admin_port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def rows(live: Live, name: str, statement: str) -> list[tuple[str, ...]]:
    database = getattr(live.world.settings, f"{name}_database").removeprefix("sqlite:///")
    opened = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return opened.execute(statement).fetchall()
    finally:
        opened.close()


def served_by(live: Live, name: str) -> set[int]:
    """Process ids of those who have written lines of deposits."""
    table = "audit_outbox" if name == "registry" else "repository_audit_outbox"
    told = [json.loads(row[0]) for row in rows(live, name, f"SELECT particulars FROM {table}")]
    return {int(one["process"].partition("@")[0]) for one in told if one.get("process") and not one.get("row")}


def deposits(live: Live, patient_id: str, count: int, at_once: int) -> list[str]:
    """Deposit so many documents over so many connections; the uniqueIds of those that succeeded."""

    def some(_number: int) -> list[str]:
        client, done = live.client(timeout=60), []
        for _ in range(count // at_once):
            data = a_document()
            submission = submission_of(data, patient_id)
            with suppress(PeerUnreachable):  # its worker was killed
                if provide(client, submission, data).is_success:
                    done.append(submission.entries[0].unique_id)
        return done

    with ThreadPoolExecutor(at_once) as pool:
        return [one for found in pool.map(some, range(at_once)) for one in found]


def test_both_workers_serve_and_write_one_log(pair: Live) -> None:
    """Connections are shared, no deposit is lost, the chain of each log holds, and figures are of both workers."""
    patient_id = pair.world.patient()
    stored = deposits(pair, patient_id, 48, 8)
    assert len(stored) == 48
    for name, service in pair.services.items():
        assert len(service.workers()) == 2
        assert served_by(pair, name) >= set(service.workers()), name
    assert sorted(unique_ids(pair.world.find(patient_id))) == sorted(stored)
    assert metrics(pair, "repository")['carnet_requests_total{outcome="answered",transaction="ITI-41"}'] == 48
    assert metrics(pair, "registry")['carnet_requests_total{outcome="answered",transaction="ITI-42"}'] == 48
    assert metrics(pair, "registry")["carnet_workers"] == 2
    pair.assert_agreement()
    pair.stop()
    for name in pair.services:
        table = "access_log" if name == "registry" else "repository_access_log"
        acts = [row[0] for row in rows(pair, name, f"SELECT action FROM {table} ORDER BY number")]
        assert (acts.count(STARTED), acts.count(STOPPED)) == (1, 1)
        assert (acts[0], acts[-1]) == (STARTED, STOPPED), "the last line is that of the end"


@pytest.mark.parametrize("which", [0, 1])
def test_one_worker_goes_on_while_the_other_is_killed(pair: Live, which: int) -> None:
    """kill -9 of one worker of each service amid deposits: what was acknowledged is there, the killed one is replaced,
    and the figures come back with the first.
    """
    patient_id = pair.world.patient()
    before = {name: service.workers() for name, service in pair.services.items()}
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(deposits, pair, patient_id, 40, 4)
        eventually(lambda: len(rows(pair, "registry", "SELECT 1 FROM document_entry")) > 4)
        for pids in before.values():
            os.kill(pids[which], signal.SIGKILL)
        stored = work.result(120)
    for name, service in pair.services.items():
        eventually(lambda service=service: len(service.workers()) == 2)  # type: ignore[misc]
        assert before[name][1 - which] in service.workers() and before[name][which] not in service.workers()
    pair.wait_ready()
    assert len(stored) >= 20, "the other half had no reason to fail"
    assert set(stored) <= set(unique_ids(pair.world.find(patient_id)))
    eventually(lambda: metrics(pair, "registry").get("carnet_workers") == 2)
    assert len(deposits(pair, patient_id, 8, 4)) == 8
    pair.assert_agreement()


def test_a_hang_up_changes_nothing(pair: Live) -> None:
    """SIGHUP starts no second set of workers; it is said in the log what it is not needed for."""
    before = {name: service.workers() for name, service in pair.services.items()}
    for service in pair.services.values():
        os.kill(service.master, signal.SIGHUP)
    eventually(lambda: pair.logs().count("SIGUSR2 change nothing") == 2)
    assert pair.deposit(a_document())[1].is_success
    assert {name: service.workers() for name, service in pair.services.items()} == before


def numbered(live: Live, name: str) -> list[int]:
    """Process ids of the workers of one service, the first one first: it answers for the others."""
    port = getattr(live.world.settings, name).admin_port
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
              if int(line.split()[1].rpartition(":")[2], 16) == port and line.split()[3] == "0A"}
    pids = getattr(live, name).workers()
    return sorted(pids, key=lambda pid: not (open_files(pid) & {f"socket:[{inode}]" for inode in inodes}))


def open_files(pid: int) -> set[str]:
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(one))
    return found


def test_the_workers_of_a_service_queue_at_one_place(pair: Live) -> None:
    """Every one of them, once it has written."""
    deposits(pair, pair.world.patient(), 8, 4)
    for name, service in pair.services.items():
        for pid in service.workers():
            assert str(pair.world.folder / f"{name}.writers") in open_files(pid)


def test_a_worker_that_ends_alone_is_replaced_at_once(pair: Live) -> None:
    """The first one, asked to end by itself: the service has neither ended nor begun, and says so."""
    first, second = numbered(pair, "registry")
    os.kill(first, signal.SIGTERM)
    eventually(lambda: first not in pair.registry.workers() and len(pair.registry.workers()) == 2)
    pair.wait_ready()
    assert second in pair.registry.workers()
    assert len(deposits(pair, pair.world.patient(), 8, 4)) == 8
    acts = [row[0] for row in rows(pair, "registry", "SELECT action FROM access_log")]
    assert (acts.count(STARTED), acts.count(STOPPED)) == (1, 0)


def test_a_worker_that_cannot_begin_leaves_the_others_alone(pair: Live) -> None:
    """The trust folder is spoiled while a worker is replaced: the other serves on; once mended, both do."""
    anchors = pair.world.folder / "pki" / "trust" / "ca.pem"
    good = anchors.read_bytes()
    first, second = numbered(pair, "repository")
    anchors.write_bytes(b"-----BEGIN CERTIFICATE-----\nspoiled\n")
    os.kill(second, signal.SIGKILL)
    eventually(lambda: "a worker cannot begin" in pair.repository.log.read_text("utf-8"))
    anchors.write_bytes(good)
    assert first in pair.repository.workers()
    eventually(lambda: len(pair.repository.workers()) == 2 and "carnet_workers" in str(metrics(pair, "repository")))
    assert first in pair.repository.workers()
    eventually(lambda: len(deposits(pair, pair.world.patient(), 4, 2)) == 4)


def test_the_last_line_waits_for_the_last_request(pair: Live) -> None:
    """A deposit is half sent to the second worker when the service is told to end: it is finished, and the end of the
    service stands behind it in the log, signed.
    """
    patient_id = pair.world.patient()
    card = pair.world.cards["physician"]
    port = pair.world.settings.repository.port
    request = messages.deposit(messages.Sender(card, STRUCTURE, patient_id), f"2.25.{uuid.uuid4().int >> 10}")
    second = numbered(pair, "repository")[1]
    context = card.tls_context(pair.world.folder / "pki" / "trust" / "ca.pem")
    held = []
    for _ in range(4):
        held.append(context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"))
        held[-1].sendall(request[:4000])
    ours = next(one for one in held if connection_of(one, second))
    for one in held:
        if one is not ours:
            one.close()
    time.sleep(0.5)
    pair.repository.end()
    time.sleep(2.0)
    ours.sendall(request[4000:])
    answer = b""
    while b"RegistryResponse" not in answer or b"ResponseStatusType:" not in answer:
        data = ours.recv(1 << 16)
        assert data, answer[:500]
        answer += data
    assert b"ResponseStatusType:Success" in answer
    pair.repository.stop()
    acts = [row[0] for row in rows(pair, "repository", "SELECT action FROM repository_access_log ORDER BY number")]
    assert acts[-1] == STOPPED and "deposit" in " ".join(acts)


def connection_of(ours: socket.socket, pid: int) -> bool:
    """Whether that process has the other end of a connection over IPv4."""
    mine, remote = f":{ours.getsockname()[1]:04X}", f":{ours.getpeername()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(remote) and fields[2].endswith(mine):
            return f"socket:[{fields[9]}]" in open_files(pid)
    return False
