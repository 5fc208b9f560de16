"""A registry that is away, or hears and never answers: the source is told so, nothing is lost, a repeat succeeds."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carnet.node import pair_files
from carnet.wiring import REGISTRY_NODE
from conformance.client import Outcome
from tests.live import Live, a_document, provide, submission_of
from tests.world import codes, unique_ids

PATIENCE = 2.0
"""Seconds the repository of these tests waits for its registry."""


class DeafRegistry:
    """Takes connections with the registry's certificate, reads, and says nothing."""

    def __init__(self, live: Live) -> None:
        settings = live.world.settings
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = pair_files(settings, REGISTRY_NODE)
        self._context.load_cert_chain(files.certificate, files.key)
        self._listener = socket.create_server(("127.0.0.1", settings.registry.port))
        self.heard = b""
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._context.wrap_socket(self._listener.accept()[0], server_side=True)
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: ssl.SSLSocket) -> None:
        try:
            while data := connection.recv(65536):
                self.heard += data
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    made = Live.prepare(tmp_path_factory.mktemp("down") / "data", f"registry_timeout = {PATIENCE}\n")
    try:
        yield made.start()
    finally:
        made.stop()
    made.assert_discreet_logs()


def held(live: Live) -> list[str]:
    """Files of kept documents."""
    return [p.name for p in (Path(live.world.settings.documents) / "kept").rglob("*") if p.is_file()]


def text(outcome: Outcome) -> str:
    return " ".join(e.context for e in outcome.errors)


def test_a_registry_that_is_away(live: Live) -> None:
    """XDSRegistryNotAvailable, no document kept, and the same deposit succeeds later. Rule: A-5, A-6"""
    data = a_document(50_000)
    submission = submission_of(data, live.world.patient())
    before = held(live)
    live.registry.stop()
    try:
        outcome = provide(live.client(), submission, data)
        assert codes(outcome) == {"XDSRegistryNotAvailable"} and "nothing was stored" in text(outcome)
        assert held(live) == before and live.staged() == []
        wanted = [(live.world.settings.repository.unique_id, submission.entries[0].unique_id)]
        refused, items = live.client().retrieve(wanted, lambda: pytest.fail("sent"), patient_id="")
        assert not refused.is_success and not items
    finally:
        live.registry.start().wait_ready()
    assert provide(live.client(), submission, data).is_success
    assert live.retrieve(submission) == data
    live.assert_agreement()


def test_a_registry_killed_and_started_under_kept_connections(live: Live) -> None:
    """The repository's kept connections to the old process do no harm: the first deposit afterwards succeeds."""
    for _ in range(3):
        _, outcome = live.deposit(a_document(100))
        assert outcome.is_success
    live.registry.kill_group()
    live.registry.wait_ready()
    for _ in range(3):
        _, outcome = live.deposit(a_document(100))
        assert outcome.is_success, outcome


def test_a_registry_that_never_answers(live: Live) -> None:
    """Bounded by registry_timeout; the outcome is unknown, so the bytes wait for the sweep. Rule: A-5, A-6"""
    data = a_document(50_000)
    submission = submission_of(data, live.world.patient())
    before = held(live)
    live.registry.stop()
    deaf = DeafRegistry(live)
    try:
        began = time.monotonic()
        outcome = provide(live.client(), submission, data)
        assert time.monotonic() - began > PATIENCE * 0.9
        assert codes(outcome) == {"XDSRegistryNotAvailable"} and "outcome is unknown" in text(outcome)
        assert submission.entries[0].unique_id.encode() in deaf.heard
        assert len(held(live)) == len(before) + 1
    finally:
        deaf.close()
        live.registry.start().wait_ready()
    assert submission.entries[0].unique_id not in unique_ids(live.world.find(submission.submission_set.patient_id))
    assert live.check("--full")["unfinished"] == 1
    live.assert_agreement()
    assert held(live) == before
    assert provide(live.client(), submission, data).is_success
    assert live.retrieve(submission) == data


def test_a_registration_whose_answer_was_lost(live: Live) -> None:
    """Registered, though the repository never learned it: the document stays, and a repeat is told so. Rule: A-5"""
    data = a_document(3_000)
    submission = submission_of(data, live.world.patient())
    stopped = live.registry.workers()
    assert stopped, "no worker to be stopped"
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)  # it hears, and does the work only after the repository has given up
    try:
        outcome = provide(live.client(), submission, data)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert codes(outcome) == {"XDSRegistryNotAvailable"}
    deadline = time.monotonic() + 10
    patient_id = submission.submission_set.patient_id
    while not unique_ids(live.world.find(patient_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    visible = unique_ids(live.world.find(patient_id))
    again = provide(live.client(), submission, data)
    if visible:
        assert codes(again) == {"XDSDuplicateUniqueIdInRegistry"}
    else:
        assert again.is_success
    assert live.retrieve(submission) == data
    live.assert_agreement()
    assert live.retrieve(submission) == data
