"""Registrations straight to a registry: submissions with known ids, what became of them, and proof that a refused
one left nothing behind.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

from conformance import frames
from conformance.client import Found, Outcome
from tests.world import GET_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.errors import Severity
from xds.model import Association, DocumentEntry, Folder, RegistryObject, Submission
from xds.model.messages import ReceivedError
from xds.namespaces import APPROVED, DEPRECATED, HAS_MEMBER, RESPONSE_FAILURE

GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
FIND_SUBMISSION_SETS = "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
GET_DOCUMENTS_AND_ASSOCIATIONS = "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a"
LOGS = frozenset({"access_log", "access_log_head", "assertion_proof", "audit_outbox", "emergency_access"})
TRACE = re.compile(r"trace (\S+)$")


class Desk:
    """Registers for one patient of one world."""

    def __init__(self, world: World, patient_id: str = "") -> None:
        self.world = world
        self.patient_id = patient_id or world.patient()
        self.domain = world.settings.domain.name
        self.repository = world.settings.repository.unique_id

    # -- building -------------------------------------------------------------------------------------
    def submission(self, documents: int = 1, *, folder: bool = False, **changes: Any) -> Submission:
        """A valid submission whose objects have UUIDs, so that the test knows them afterwards."""
        values = {"repository_unique_id": self.repository} | changes
        return with_uuids(
            frames.valid_submission(
                self.domain, documents=documents, folder=folder, patient_id=self.patient_id, **values
            )
        )

    def related(self, kind: str, target: str, **changes: Any) -> Submission:
        """A submission whose one document stands in this relation to ``target``."""
        made = self.submission(**changes)
        made.associations.append(self.link(kind, made.entries[0].entry_uuid, target))
        return made

    def member(self, made: Submission, folder: str, entry: str) -> Association:
        """Put ``entry`` into ``folder`` by this submission; returns the Folder membership."""
        inside = self.link(HAS_MEMBER, folder, entry)
        made.associations += [inside, self.link(HAS_MEMBER, made.submission_set.entry_uuid, inside.entry_uuid)]
        return inside

    @staticmethod
    def link(kind: str, source: str, target: str, **slots: str) -> Association:
        return Association(
            entry_uuid=frames.new_uuid(),
            type=kind,
            source=source,
            target=target,
            slots={name: [value] for name, value in slots.items()},
        )

    # -- sending --------------------------------------------------------------------------------------
    def register(self, made: Submission) -> Submission:
        """Must succeed without a word."""
        outcome = self.world.register(made)
        assert outcome.is_success and not outcome.errors, outcome
        return made

    def new(self, documents: int = 1, *, folder: bool = False, **changes: Any) -> Submission:
        """Register something valid."""
        return self.register(self.submission(documents, folder=folder, **changes))

    def refused(self, made: Submission) -> list[ReceivedError]:
        """Must fail, change nothing but the access log, and say the same trace id there and here."""
        before = content(self.world)
        outcome = self.world.register(made)
        assert outcome.status == RESPONSE_FAILURE and outcome.errors, outcome
        assert content(self.world) == before, "a refused submission has changed the database"
        traces = {match[1] for e in outcome.errors if (match := TRACE.search(e.context))}
        assert len(traces) == 1 and all(e.severity == Severity.ERROR for e in outcome.errors)
        line = self.world.last_lines(1)[-1]
        assert {line.trace_id} == traces and (line.action, line.outcome) == ("deposit", "refused")
        assert line.reason.startswith(tuple(e.code for e in outcome.errors))
        return list(outcome.errors)

    # -- looking --------------------------------------------------------------------------------------
    def entries(self, unique_id: str, level: int = 1) -> list[DocumentEntry]:
        """At metadata level 1 the newest version, unless it is offline."""
        found = self.world.client().query(
            GET_DOCUMENTS,
            [("$XDSDocumentEntryUniqueId", [quote_list([unique_id])]), ("$MetadataLevel", [str(level)])],
            patient_id=self.patient_id,
        )
        return [o for o in found.objects if isinstance(o, DocumentEntry)]

    def status(self, *entry_uuids: str) -> list[str]:
        """``Approved`` or ``Deprecated`` of each version, in the order asked."""
        found = self.world.client().query(
            GET_DOCUMENTS,
            [("$XDSDocumentEntryEntryUUID", [quote_list(entry_uuids)]), ("$MetadataLevel", ["2"])],
            patient_id=self.patient_id,
        )
        states = {o.entry_uuid: getattr(o, "status", "").rpartition(":")[2] for o in found.objects}
        return [states[one] for one in entry_uuids]

    def associations(self, *entry_uuids: str) -> list[Association]:
        found = self.world.client().query(
            GET_ASSOCIATIONS, [("$uuid", [quote_list(entry_uuids)])], patient_id=self.patient_id
        )
        return [o for o in found.objects if isinstance(o, Association)]

    def folder(self, entry_uuid: str) -> Folder:
        """The stored folder; no query of this stage returns one."""
        with self.world._registry_database() as database, database.read() as unit:
            record = unit.record.find(self.patient_id)
            (found,) = unit.registry.folders(record.patient_key, [entry_uuid])
            assert isinstance(found, Folder)
            return found

    def sets(self) -> list[RegistryObject]:
        """The patient's SubmissionSets, newest first."""
        return self.world.client().query(
            FIND_SUBMISSION_SETS,
            [
                ("$XDSSubmissionSetPatientId", [quote(self.patient_id)]),
                ("$XDSSubmissionSetStatus", [quote_list([APPROVED, DEPRECATED])]),
            ],
            patient_id=self.patient_id,
        ).objects


def with_uuids(made: Submission) -> Submission:
    """Every symbolic id replaced by a new UUID, everywhere."""
    fresh = {o.entry_uuid: frames.new_uuid() for o in made.objects()}
    for item in made.objects():
        item.entry_uuid = fresh[item.entry_uuid]
    made.associations[:] = [
        replace(a, source=fresh.get(a.source, a.source), target=fresh.get(a.target, a.target))
        for a in made.associations
    ]
    return made


def content(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of the registry, the access log apart, in the order in which they lie."""
    with closing(sqlite3.connect(world.settings.registry_database.removeprefix("sqlite:///"))) as database:
        database.text_factory = bytes
        names = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: list(database.execute(f"SELECT * FROM {name}")) for name in names if name not in LOGS}


def the(errors: list[ReceivedError] | Outcome, code: str, rule: str, subject: str, field: str) -> ReceivedError:
    """The one error, which must be the only one, with its object, its field, its rule and its place."""
    found = list(errors.errors) if isinstance(errors, Outcome) else errors
    assert [e.code for e in found] == [code], [f"{e.code}: {e.context}" for e in found]
    (error,) = found
    assert error.context.startswith(f"{subject}, {field}: found "), error.context
    assert f"[{rule}])" in error.context and "(ITI TF-" in error.context, error.context
    assert error.location == f"{subject}/{field}"
    return error


def ask(
    desk: Desk,
    query_id: str,
    *slots: tuple[str, str | list[str]],
    return_type: str = "LeafClass",
    who: str = "physician",
) -> Found:
    """A stored query with raw slots; a string is the one Value of its slot."""
    given = [(name, [value] if isinstance(value, str) else value) for name, value in slots]
    return desk.world.client(who).query(query_id, given, patient_id=desk.patient_id, return_type=return_type)


def ids(found: Found) -> list[str]:
    """entryUUIDs of an answer of either return type, in its order; it must be a success."""
    assert found.outcome.is_success and not found.outcome.errors, found.outcome
    return found.references or [o.entry_uuid for o in found.objects]


def refused(found: Found, code: str, *words: str) -> ReceivedError:
    """The one error of a query; nothing comes with it."""
    assert found.outcome.status == RESPONSE_FAILURE and not found.objects and not found.references
    assert [e.code for e in found.outcome.errors] == [code], found.outcome
    (error,) = found.outcome.errors
    assert error.severity == Severity.ERROR and TRACE.search(error.context) and error.location
    assert all(word in error.context for word in words), error.context
    return error
