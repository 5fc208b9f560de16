"""The histories of ``fixtures/histories``, played against both services.

Clause: ITI TF-2 3.41.4.1.3, 3.57.4.1.3, 3.62.4.1.3, 3.86.4.1.3
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import frames, updates
from conformance.client import Outcome
from registry.iti62_remove_metadata import everything_of
from tests.updating import Shelf, titled
from tests.world import World, codes
from xds.model import DocumentEntry
from xds.namespaces import APND, APPROVED, DEPRECATED, RPLC

FOLDER = Path(__file__).resolve().parent.parent.parent / "fixtures" / "histories"
HISTORIES = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.toml"))}


class Play:
    """One history in one record."""

    def __init__(self, world: World):
        self.desk = Shelf(world)
        self.world = world
        self.stored: dict[str, DocumentEntry] = {}
        self.last: Callable[[], Outcome] = lambda: pytest.fail("a history does not begin with a repetition")

    def step(self, do: str, *, of: str = "", name: str = "", refused: str = "", **more: Any) -> None:
        known = self.stored.get(of)
        if do != "repeat":
            self.last = getattr(self, f"_{do.replace(' ', '_')}")(known, **more)
        outcome = self.last()
        assert refused in codes(outcome) if refused else outcome.is_success, f"{do} {of} {name}: {outcome}"
        if name and not refused:
            if do in ("update", "correct"):
                assert known is not None
                self.stored[name] = self.desk.versions(known.logical_id)[-1]
            else:
                self.stored[name] = self.desk.entries(self.unique_id)[-1]

    def _deposit(self, _: object, *, folder: bool = False, kind: str = "", target: str = "") -> Callable[[], Outcome]:
        data = frames.new_oid().encode()
        made = frames.valid_submission(
            self.desk.domain, folder=folder, patient_id=self.desk.patient_id, size=len(data),
            hash=hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        )
        if kind:
            made.associations.append(frames.relationship(kind, made.entries[0].entry_uuid, target))
        self.unique_id = made.entries[0].unique_id
        return lambda: self.world.deposit(made, {made.entries[0].entry_uuid: data})

    def _replace(self, known: DocumentEntry) -> Callable[[], Outcome]:
        return self._deposit(None, kind=RPLC, target=known.entry_uuid)

    def _append(self, known: DocumentEntry) -> Callable[[], Outcome]:
        return self._deposit(None, kind=APND, target=known.entry_uuid)

    def _update(self, known: DocumentEntry, *, restricted: bool = False) -> Callable[[], Outcome]:
        made = updates.update_of(self.desk.domain, known, title=titled("Corrigé"))
        return lambda: self.world.client().update(made, restricted=restricted)

    def _correct(self, known: DocumentEntry) -> Callable[[], Outcome]:
        return self._update(known, restricted=True)

    def _deprecate(self, known: DocumentEntry) -> Callable[[], Outcome]:
        return self._status(known, APPROVED, DEPRECATED)

    def _approve(self, known: DocumentEntry) -> Callable[[], Outcome]:
        return self._status(known, DEPRECATED, APPROVED)

    def _status(self, known: DocumentEntry, original: str, new: str) -> Callable[[], Outcome]:
        made = self.desk.empty()
        updates.new_status(made, known.entry_uuid, original, new)
        return lambda: self.world.client().update(made)

    def _remove_metadata(self, known: DocumentEntry, *, alone: bool = False) -> Callable[[], Outcome]:
        objects = [known.entry_uuid]
        if not alone:
            with self.world._registry_database() as database, database.read() as unit:
                objects = everything_of(unit.registry, [known.unique_id])
        return lambda: self.world.client().remove_metadata(objects)

    def _remove_document(self, known: DocumentEntry) -> Callable[[], Outcome]:
        return lambda: self.world.client().remove_documents([(self.desk.repository, known.unique_id)])


@pytest.mark.parametrize("name", HISTORIES)
def test_the_history_ends_as_it_should(plain: World, name: str) -> None:
    """Every step as told, then every status, and what can be read.

    Rule: A-1, R-108, L-01, L-05, L-06, L-07, L-09
    """
    history = HISTORIES[name]
    play = Play(plain)
    for step in history["step"]:
        play.step(**step)
    for which, expected in history["expect"].items():
        found = play.desk.found("EntryUUID", play.stored[which].entry_uuid)
        assert [e.status.rpartition(":")[2] for e in found] == ([] if expected == "gone" else [expected]), which
    for which, is_readable in (("readable", True), ("unreadable", False)):
        for one in history.get(which, ()):
            outcome, _ = plain.read(play.desk.patient_id, [play.stored[one].unique_id])
            assert outcome.is_success is is_readable, (one, outcome)


def test_every_history_is_told_in_words() -> None:
    """A title, steps, and an end."""
    assert len(HISTORIES) >= 6
    assert all(h["title"] and h["step"] and h["expect"] for h in HISTORIES.values())
