"""ITI-41: who verifies the credential. The registry, before it registers; the repository where it answers alone.

Clause: ITI TF-2 3.40.4.1.3, 3.41.4.1.3
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import storage
from carnet import wiring
from conformance import frames
from conformance.client import Outcome
from guard.audit.store import AccessLine
from repository.actor import RepositoryActor
from repository.registry_link import Asker, Registered, RegistryUnavailable, SoapRegistryLink
from repository.sweep import sweep
from tests.world import World, bytes_part, codes, contents
from xds.ebxml.write import provide_and_register_request
from xds.model import Submission
from xds.wire.client import FaultReceived
from xds.wire.faults import FAILED_AUTHENTICATION, FAILED_CHECK

PROVIDE = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"


class Link(SoapRegistryLink):
    """The real one, before or after whose answer something happens."""

    def __init__(self, real: SoapRegistryLink, before: Exception | None = None, after: Exception | None = None):
        super().__init__(real._services, real._internal)
        self.before, self.after, self.asked = before, after, 0

    def register(self, submission: Submission, asker: Asker) -> Registered:
        self.asked += 1
        if self.before is not None:
            raise self.before
        answer = super().register(submission, asker)
        if self.after is not None:
            raise self.after
        return answer


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[World, Link]]]:
    """An installation of its own whose way to the registry is as the test wants it."""
    world = World.prepare(tmp_path_factory.mktemp("other")).serve_here()
    assert world.registry is not None
    real = wiring.link_of(world.settings, world.registry.app)
    actor = wiring.repository_actor(world.settings, real)

    def rebuild(**failures: Exception) -> tuple[World, Link]:
        link = Link(real, **failures)
        world.repository = wiring.repository_service(world.settings, replace(actor, registry=link))
        world._clients.clear()
        return world, link

    yield rebuild
    world.stop()


def actor_of(world: World) -> RepositoryActor:
    assert world.registry is not None
    return wiring.repository_actor(world.settings, wiring.link_of(world.settings, world.registry.app))


def spoiled(world: World, patient_id: str, who: str = "physician") -> bytes:
    """A security header whose assertion says what is right, under a signature that is not."""
    security = world.client(who).security(patient_id)
    return security.replace(b"SignatureValue>", b"SignatureValue>AAAA", 1)


def provide(world: World, made: Submission, security: bytes, who: str = "physician") -> Outcome:
    parts = [(name, bytes_part(data, f"{name}@test", "text/xml")) for name, data in contents(made).items()]
    return world.client(who).provide(made, parts, security=security)


def refused(world: World, made: Submission, security: bytes, who: str = "physician") -> FaultReceived:
    with pytest.raises(FaultReceived) as caught:
        provide(world, made, security, who)
    return caught.value


def files(world: World) -> list[Path]:
    return [p for p in Path(world.settings.documents).rglob("*") if p.is_file()]


def rows(world: World, made: Submission) -> int:
    with closing(storage.open_repository(world.settings.repository_database)) as database, database.read() as unit:
        return sum(len(list(unit.documents.find(e.unique_id))) for e in made.entries)


def told(world: World, trace_id: str) -> list[AccessLine]:
    """The repository's lines of one trace whose audit messages are sent."""
    with closing(storage.open_repository(world.settings.repository_database)) as database, database.read() as unit:
        return [line for _, line in unit.outbox.latest(50) if line.trace_id == trace_id]


def test_the_registry_refuses_and_nothing_stays(here: World) -> None:
    """One fault, the cause in both logs, no row, no byte; the audit is told of a refusal and of nobody's deposit.

    Step: f
    """
    patient_id = here.patient()
    made, before = frames.valid_submission("dmp", patient_id=patient_id), set(files(here))
    fault = refused(here, made, spoiled(here, patient_id))
    assert fault.subcode == FAILED_CHECK
    assert (set(files(here)), rows(here, made)) == (before, 0)
    lines = [line for line in here.last_lines(5) if line.trace_id == fault.trace_id]
    assert {(line.event, line.action) for line in lines if line.caller_id == ""} == {
        ("registry", "refused login"), ("ITI-41", "deposit"), ("repository", "refused login"),
    }
    messages = told(here, fault.trace_id)
    assert sorted((line.action, line.outcome, line.caller_id) for line in messages) == [
        ("deposit", "refused", ""), ("refused login", "refused", ""),
    ]
    assert all(not line.particulars.user for line in messages)
    assert here.find(patient_id).objects == []


def test_an_accepted_deposit_names_the_caller_in_both_logs(here: World) -> None:
    """The repository's line and its message say who deposited; the signed bytes are with the registry's line."""
    patient_id = here.patient()
    assert here.deposit(frames.valid_submission("dmp", patient_id=patient_id)).is_success
    line = here.log_of(patient_id)[-1]
    (message,) = told(here, line.trace_id)
    assert line.caller_id == message.caller_id and line.caller_id
    assert line.assertion_id == message.assertion_id and line.assertion_sha256
    assert line.caller_id in message.particulars.user


@pytest.mark.parametrize("spoil", ["hash", "schema", "document"])
def test_no_finding_is_told_to_whom_nobody_has_verified(
    other: Callable[..., tuple[World, Link]], spoil: str
) -> None:
    """What the repository refuses by itself it tells after its own verification; the registry hears of none of it.

    Step: f
    """
    world, link = other()
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    client = world.client()
    body = provide_and_register_request(made, [(e.entry_uuid, "d@test") for e in made.entries])
    content = bytes_part(frames.content(1), "d@test", "text/xml")
    if spoil == "hash":
        content = bytes_part(b"another document", "d@test", "text/xml")
    elif spoil == "schema":
        body = [piece.replace(b"<rim:ExtrinsicObject ", b"<rim:ExtrinsicObject invented='1' ") for piece in body]
    else:
        content = bytes_part(frames.content(1), "nobody@test", "text/xml")

    def send(security: bytes) -> Outcome | FaultReceived:
        try:
            answer = client._repository.call(PROVIDE, body, mtom=True, parts=[content], security=security)
        except FaultReceived as fault:
            return fault
        return Outcome(answer.body.get("status", ""), ())

    good = send(client.security(patient_id))
    assert isinstance(good, Outcome) and good.status.endswith(":Failure")
    bad = send(spoiled(world, patient_id))
    assert isinstance(bad, FaultReceived) and bad.subcode == FAILED_CHECK
    assert (link.asked, files(world)) == (0, [])


def test_nobody_claims_to_be_another_than_who_connects(other: Callable[..., tuple[World, Link]]) -> None:
    """The repository compares connection and claim itself; what it says of them depends on the signature, as ever.

    Step: tls
    """
    world, link = other()
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    signed = world.client("colleague").security(patient_id)
    assert refused(world, made, signed, "physician").subcode == FAILED_AUTHENTICATION
    assert refused(world, made, spoiled(world, patient_id, "colleague"), "physician").subcode == FAILED_CHECK
    assert (link.asked, rows(world, made)) == (0, 0)


@pytest.mark.parametrize("outcome_unknown", [True, False])
def test_a_silent_registry_verifies_nobody(
    other: Callable[..., tuple[World, Link]], outcome_unknown: bool
) -> None:
    """Then the repository does, before it says so; what the registry may have is left to the sweep, which asks it.

    Rule: A-6
    Step: f
    """
    world, _ = other(before=RegistryUnavailable("silence", outcome_unknown=outcome_unknown))
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    fault = refused(world, made, spoiled(world, patient_id))
    assert fault.subcode == FAILED_CHECK
    assert rows(world, made) == len(files(world)) == int(outcome_unknown)
    assert all(line.caller_id == "" for line in told(world, fault.trace_id))
    assert codes(provide(world, made, world.client().security(patient_id))) == {"XDSRegistryNotAvailable"}
    assert sweep(actor_of(world), -1.0).removed == 2 * int(outcome_unknown)
    assert files(world) == []


def test_what_was_registered_before_the_answer_was_lost_stays(other: Callable[..., tuple[World, Link]]) -> None:
    """An answer that never came is no reason to remove a document that is registered.

    Rule: A-6
    """
    world, _ = other(after=RegistryUnavailable("lost", outcome_unknown=True))
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert codes(provide(world, made, world.client().security(patient_id))) == {"XDSRegistryNotAvailable"}
    assert sweep(actor_of(world), -1.0).removed == 0
    assert rows(world, made) == 1 and len(world.find(patient_id).objects) == 1


def test_a_claim_that_is_remembered_is_no_credential(here: World) -> None:
    """An assertion the repository let pass as a claim is verified when it is asked for anything it answers itself.

    Step: f
    """
    patient_id = here.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    security = spoiled(here, patient_id)
    assert refused(here, made, security).subcode == FAILED_CHECK
    with pytest.raises(FaultReceived) as caught:
        here.client().retrieve([("1.2.3", "9.8.7")], lambda: None, security=security)  # type: ignore[arg-type, return-value]
    assert caught.value.subcode == FAILED_CHECK
    made.entries[0].hash = "0" * 40
    assert refused(here, made, security).subcode == FAILED_CHECK


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An installation where an assertion serves once."""
    return World.prepare(tmp_path_factory.mktemp("strict") / "data", '[credentials]\nreplay = "strict"').serve_here()


def test_an_assertion_deposits_once_where_it_serves_once(strict: World) -> None:
    """Shown to the registry, it is used up for a second deposit; nothing of that stays.

    Step: n
    """
    patient_id = strict.patient()
    security = strict.client().security(patient_id)
    assert provide(strict, frames.valid_submission("dmp", patient_id=patient_id), security).is_success
    again = frames.valid_submission("dmp", patient_id=patient_id)
    before = set(files(strict))
    fault = refused(strict, again, security)
    assert fault.subcode == FAILED_AUTHENTICATION
    assert (set(files(strict)), rows(strict, again)) == (before, 0)
    strict._clients.clear()
    assert len(strict.find(patient_id).objects) == 1
