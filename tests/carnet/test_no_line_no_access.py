"""No decision without its line: whatever keeps a line from being written, nothing is shown and nothing changes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import registry.app
import repository.app
from carnet import wiring
from conformance import frames
from conformance.client import MULTI_PATIENT_QUERY
from record import lifecycle
from storage.audit import SqlAuditStore
from tests.direct import content
from tests.feed import Feed, adt, cx, v3
from tests.on_demand_kit import offer_of, register
from tests.registry.test_iti44_feed import ADD, sent
from tests.updating import Shelf, titled
from tests.world import GET_DOCUMENTS, OPERATOR, World, contents
from xds.check.query_params import quote_list
from xds.namespaces import RESPONSE_SUCCESS
from xds.wire.client import FaultReceived

FAILURES = {
    "disk full": OSError(errno.ENOSPC, "no space left for the database"),
    "locked": TimeoutError("the database is busy with another process"),
    "broken": RuntimeError("a failing append"),
}


class Case:
    """A record with one document, and everything that may be asked of it."""

    def __init__(self, world: World) -> None:
        self.desk = Shelf(world)
        self.world = world
        self.made = frames.valid_submission(self.desk.domain, patient_id=self.desk.patient_id)
        assert world.deposit(self.made).is_success
        (self.entry,) = self.desk.entries(self.made.entries[0].unique_id)
        self.update = updates_of(self)
        self.next = frames.valid_submission(self.desk.domain, patient_id=self.desk.patient_id)
        self.direct = self.desk.submission()
        self.offer = offer_of(world, self.desk.patient_id)
        self.doomed = [made.entry_uuid for made in self.desk.new().objects()]
        self.restricted = updates_of(self)
        self.feed = Feed(world)
        self.unknown = self.feed.new_id()

    def state(self) -> Any:
        documents = Path(self.world.settings.documents) / "kept"
        return content(self.world), sorted(p.name for p in documents.rglob("*") if p.is_file())

    def query(self, action: str = "") -> Any:
        named = {"action": action} if action else {}
        query_id = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f" if action else GET_DOCUMENTS
        slots = [("$XDSDocumentEntryUniqueId", [quote_list([self.entry.unique_id])])]
        if action:
            slots = [
                ("$XDSDocumentEntryPatientId", [quote_list([self.desk.patient_id])]),
                ("$XDSDocumentEntryStatus", [quote_list(["urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"])]),
            ]
        found = self.world.client().query(query_id, slots, patient_id=self.desk.patient_id, **named)
        return found.outcome.status, found.objects

    def read(self) -> Any:
        outcome, items = self.world.read(self.desk.patient_id, [self.entry.unique_id])
        return outcome.status, items

    def remove_bytes(self) -> Any:
        return self.world.client().remove_documents([(self.desk.repository, self.entry.unique_id)]).status, []


def updates_of(case: Case) -> Any:
    return case.desk.update_of(case.entry.entry_uuid, title=titled("Autre"))


ASKED: dict[str, Callable[[Case], Any]] = {
    "ITI-18": Case.query,
    "ITI-51": lambda case: case.query(MULTI_PATIENT_QUERY),
    "ITI-41": lambda case: (case.world.deposit(case.next, contents(case.next)).status, []),
    "ITI-43": Case.read,
    "retrieve decision": Case.read,
    "ITI-57": lambda case: (case.desk.send(case.update).status, []),
    "ITI-92": lambda case: (case.desk.send(case.restricted, restricted=True).status, []),
    "ITI-62": lambda case: (case.world.client().remove_metadata(case.doomed).status, []),
    "ITI-86": Case.remove_bytes,
    "ITI-42": lambda case: (case.world.register(case.direct).status, []),
    "ITI-61": lambda case: (RESPONSE_SUCCESS if register(case.world, case.offer).is_success else "refused", []),
    "ITI-44": lambda case: (sent(case.world, v3(ADD, case.unknown))[0], []),
    "ITI-8": lambda case: (case.feed.send(adt("A04", cx(case.unknown))).code, []),
}
SUCCESS = {RESPONSE_SUCCESS, "AA", "CA"}
SILENT = {"reconcile", "erasures"}
"""Verbs that are no access: our own repository asks what became of its deposit, and what it has to erase."""


def test_every_transaction_is_here(plain: World) -> None:
    """A transaction that is added is asked as well. Rule: J-05"""
    served = {t.name for t in registry.app.transactions(wiring.registry_actor(plain.settings))}
    served |= {t.name for t in repository.app.transactions(wiring.repository_actor(plain.settings))}
    assert {name.split(" (")[0] for name in served} <= set(ASKED) | SILENT


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("name", ASKED)
def test_nothing_happens_that_cannot_be_logged(
    plain: World, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    """No success, no object, no document, and both databases and the documents as they were. Rule: J-05"""
    case = Case(plain)
    before = case.state()
    monkeypatch.setattr(SqlAuditStore, "_insert", _failing(FAILURES[what]))
    try:
        status, shown = ASKED[name](case)
    except FaultReceived:
        status, shown = "fault", []
    assert status not in SUCCESS and not shown, status
    monkeypatch.undo()
    assert case.state() == before
    status, shown = ASKED[name](case)
    assert status in SUCCESS, f"{name} is no valid request: the test proves nothing ({status})"


def _failing(error: Exception) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("what", FAILURES)
def test_no_record_is_opened_that_cannot_be_logged(
    here: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Acts on records obey the same rule. Rule: J-05"""
    before = content(here)
    monkeypatch.setattr(SqlAuditStore, "_insert", _failing(FAILURES[what]))
    patient_id = frames.a_patient_id("dmp", "279059988880001")
    with (
        here._registry_database() as database,
        pytest.raises(type(FAILURES[what])),
        database.write() as unit,
    ):
        lifecycle.open_record(unit, patient_id, by=OPERATOR, consent="essai", check_key=False)
    monkeypatch.undo()
    assert content(here) == before
