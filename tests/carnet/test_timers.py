"""What a running registry does without being asked: traces end, patients are told. Nothing depends on a timer outside.

Clause: DMP EX_AIR-100; CSP L1111-17 I
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import storage
from carnet import log_keeper
from carnet.retention import expire, retain_once
from conformance import frames
from guard.credentials import vihf
from tests.world import OPERATOR, STRUCTURE, World

LONG_AGO = "2014-01-01T00:00:00.000Z"


def closed_long_ago(world: World) -> str:
    """A record with a document and a look at it, closed and past its keeping."""
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert world.deposit(made).is_success
    assert world.read(patient_id, [made.entries[0].unique_id])[0].is_success
    world.close(patient_id)
    with world._registry_database() as database, database.write() as unit:
        record = unit.record.find(patient_id)
        assert record is not None
        unit.record.update(replace(record, closed_at=LONG_AGO))
    return patient_id


def traces(world: World, patient_id: str) -> int:
    """Lines in both logs that name this patient."""
    return sum(line.patient_id == patient_id for line in world.last_lines(5000))


def until(happened: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happened():
            return True
        time.sleep(0.2)
    return happened()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("CARNET__REPOSITORY__SWEEP_EVERY", "0.3")
    told = tmp_path / "told"
    script = tmp_path / "tell"
    script.write_text(f"#!/bin/sh\ncat >> {told}\necho >> {told}\n")
    script.chmod(0o700)
    world = World.prepare(
        tmp_path / "data",
        f'[record]\nretention_every = 0.3\nscrub_every = 0.3\n[emergencies]\nnotifier = "{script}"\n'
        "notify_every = 0.3\n",
    )
    yield world
    world.stop()


def test_served_it_looks_after_itself(own: World, tmp_path: Path) -> None:
    """Over TLS, real processes: the old record, its documents and its traces go, the patient of an emergency is told,
    once; the chain of both logs holds. Rule: J-04, U-03, D-10"""
    own.serve_processes()
    old, patient_id = closed_long_ago(own), own.patient()
    client = own.client("colleague", purpose=vihf.BREAK_GLASS, purpose_reason="inconscient", structure_id=STRUCTURE)
    assert client.query(
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
        [("$XDSDocumentEntryPatientId", [f"'{patient_id}'"]),
         ("$XDSDocumentEntryStatus", ["('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"])],
        patient_id=patient_id,
    ).outcome.is_success
    told = tmp_path / "told"
    assert until(told.is_file)
    assert until(lambda: traces(own, old) == 0, 90), "the traces of a record closed in 2014 are still there"
    own.stop()
    (message,) = [json.loads(line) for line in told.read_text().splitlines() if line]
    assert message["patient_id"] == patient_id and message["reason"] == "inconscient"
    for name, opener, url in (
        ("registry", storage.open_registry, own.settings.registry_database),
        ("repository", storage.open_repository, own.settings.repository_database),
    ):
        database = opener(url)
        assert log_keeper.verify(own.settings, name, database).flaws == []
        database.close()


def test_traces_wait_for_the_destruction_and_for_the_other_log(own: World) -> None:
    """While a repository still has bytes to erase, or cannot be opened, nothing of the registry's traces goes."""
    own.serve_here()
    patient_id = closed_long_ago(own)
    settings = own.settings

    def repository() -> Any:
        return storage.open_repository(settings.repository_database)

    def unreachable() -> Any:
        raise OSError(2, "no such database")

    with own._registry_database() as registry:
        retain_once(settings, registry)
        before = traces(own, patient_id)
        assert before > 4 and expire(settings, registry, [repository], OPERATOR) == (0, 0)
        with registry.write() as unit:
            unit.record.erased(unit.record.erasures(settings.repository.unique_id, 10))
        retain_once(settings, registry)
        with pytest.raises(OSError, match="no such database"):
            expire(settings, registry, [unreachable], OPERATOR)
        assert traces(own, patient_id) > before
        records, lines = expire(settings, registry, [repository], OPERATOR)
        assert records == 1 and lines > before
        assert traces(own, patient_id) == 0 and expire(settings, registry, [repository], OPERATOR) == (0, 0)
