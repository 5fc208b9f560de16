"""ITI-41: who verifies the credential. The registry, before it registers; the repository where it answers alone.

Clause: ITI TF-2 3.40.4.1.3, 3.41.4.1.3
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from lxml import etree

import storage
from carnet import wiring
from carnet.audit_sender import AuditSender, Outgoing
from carnet.syslog import Header
from conformance import frames
from conformance.client import Outcome
from guard.audit.access_log import CLAIMED, in_words
from guard.audit.particulars import process_id
from guard.audit.store import AccessLine
from repository import deposit
from repository.actor import RepositoryActor
from repository.registry_link import Asker, Registered, RegistryUnavailable, SoapRegistryLink
from repository.sweep import sweep
from tests.world import World, bytes_part, codes, contents
from xds.ebxml.write import provide_and_register_request
from xds.model import Submission
from xds.wire.client import FaultReceived
from xds.wire.exchange import Exchange
from xds.wire.faults import FAILED_AUTHENTICATION, FAILED_CHECK, RECEIVER, SENDER

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
    assert sorted((line.event, line.action, line.outcome, line.reason == CLAIMED) for line in lines) == [
        ("ITI-41", "deposit", "refused", False), ("ITI-41", "deposit", "success", True),
        ("registry", "refused login", "refused", False), ("repository", "refused login", "refused", False),
    ]
    assert [line.reason for line in lines if line.caller_id] == [CLAIMED]
    assert next(line.reason for line in lines if line.event == "repository").startswith("signature: "), "the cause"
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
    assert message.reason == CLAIMED and "selon son identification" in in_words(message)


@pytest.mark.parametrize("spoil", ["hash", "schema", "document", "include"])
def test_no_finding_is_told_to_whom_nobody_has_verified(
    other: Callable[..., tuple[World, Link]], spoil: str
) -> None:
    """What the repository refuses by itself it tells after its own verification; the registry hears of none of it.

    Step: f
    """
    world, link = other()
    before = files(world)
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    client = world.client()
    body = provide_and_register_request(made, [(e.entry_uuid, "d@test") for e in made.entries])
    content = bytes_part(frames.content(1), "d@test", "text/xml")
    if spoil == "hash":
        content = bytes_part(b"another document", "d@test", "text/xml")
    elif spoil == "schema":
        body = [piece.replace(b"<rim:ExtrinsicObject ", b"<rim:ExtrinsicObject invented='1' ") for piece in body]
    elif spoil == "document":
        content = bytes_part(frames.content(1), "nobody@test", "text/xml")
    else:
        more = b'href="cid:d@test"><x xmlns="urn:x"/></xop:Include>'
        body = [piece.replace(b'href="cid:d@test"/>', more) for piece in body]

    def send(security: bytes) -> Outcome | FaultReceived:
        try:
            answer = client._repository.call(PROVIDE, body, mtom=True, parts=[content], security=security)
        except FaultReceived as fault:
            return fault
        return Outcome(answer.body.get("status", ""), ())

    good = send(client.security(patient_id))
    if spoil == "include":
        assert isinstance(good, FaultReceived) and "xop:Include" in str(good)
    else:
        assert isinstance(good, Outcome) and good.status.endswith(":Failure")
    bad = send(spoiled(world, patient_id))
    assert isinstance(bad, FaultReceived) and bad.subcode == FAILED_CHECK
    assert (link.asked, files(world)) == (0, before)
    assert [line.action for line in told(world, bad.trace_id)] == ["refused login"]


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
    before = len(files(world))
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    fault = refused(world, made, spoiled(world, patient_id))
    assert fault.subcode == FAILED_CHECK
    assert rows(world, made) == len(files(world)) - before == int(outcome_unknown)
    assert all(line.caller_id == "" for line in told(world, fault.trace_id))
    assert codes(provide(world, made, world.client().security(patient_id))) == {"XDSRegistryNotAvailable"}
    assert sweep(actor_of(world), -1.0).removed == 2 * int(outcome_unknown)
    assert len(files(world)) == before


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


@pytest.mark.parametrize("answer", [FaultReceived(RECEIVER, None, "no", 500, ""), RuntimeError("ours")])
def test_a_failure_while_the_registry_is_asked_vouches_for_nobody(
    other: Callable[..., tuple[World, Link]], answer: Exception
) -> None:
    """Whatever goes wrong then, who sent a bad signature hears of that alone, and no message tells his claim."""
    world, _ = other(before=answer)
    before = files(world)
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    fault = refused(world, made, spoiled(world, patient_id))
    assert fault.subcode == FAILED_CHECK
    assert [line.caller_id for line in told(world, fault.trace_id)] == ["", ""]
    sweep(actor_of(world), -1.0)
    assert (rows(world, made), files(world)) == (0, before)


def test_an_answer_of_another_kind_is_none(other: Callable[..., tuple[World, Link]]) -> None:
    """What is no RegistryResponse vouches for nobody, and may have registered anything.

    Rule: A-6
    """
    world, link = other()
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)

    class Elsewhere:
        def call(self, *_args: object, **_more: object) -> SimpleNamespace:
            return SimpleNamespace(body=etree.fromstring("<whatever/>"))

    link._services = Elsewhere()  # type: ignore[assignment]
    assert refused(world, made, spoiled(world, patient_id)).subcode == FAILED_CHECK
    assert codes(provide(world, made, world.client().security(patient_id))) == {"XDSRegistryNotAvailable"}
    assert sweep(actor_of(world), -1.0).removed == 2


class Killed(BaseException):
    """Stands for the end of the process: nothing is written after it."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_dead_process_left_is_told_once_the_registry_has_been_asked(
    other: Callable[..., tuple[World, Link]], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The audit hears of a deposit by name when the registry has it, and of a refused one by nobody when it has not.

    Rule: A-5
    """
    world, _ = other(**{when: Killed()})
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    security = world.client().security(patient_id) if when == "after" else spoiled(world, patient_id)
    monkeypatch.setattr(deposit, "_withdraw", lambda *_, **__: None)
    with pytest.raises(Killed):
        provide(world, made, security)
    actor = actor_of(world)
    with actor.database.read() as unit:
        line = next(line for _, line in unit.outbox.latest(1))
    assert line.outcome == "success" and line.reason == CLAIMED and line.particulars.process == process_id()
    assert deposit.became(actor, line) is None
    sweep(actor, -1.0)
    known = deposit.became(actor, line)
    assert known is not None
    if when == "after":
        assert known == line and line.caller_id
    else:
        said = (known.outcome, known.caller_id, known.caller_name, known.structure_id, known.particulars.user)
        assert said == ("refused", "", "", "", "")


def test_the_sender_tells_what_became_of_the_lines_of_the_dead(other: Callable[..., tuple[World, Link]]) -> None:
    """Not before it is known, and then as it is."""
    world, _ = other()
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert provide(world, made, world.client().security(patient_id)).is_success
    sent: list[bytes] = []
    answers: list[AccessLine | None] = [None]
    channel = SimpleNamespace(send=sent.extend, close=lambda: None)
    actor = actor_of(world)
    sender = AuditSender(
        actor.database,
        Outgoing(
            actor="repository", node=wiring.audit_node(world.settings), header=Header("host", "carnet", "1", 10),
            hold=-1.0, processes=lambda: ["another"], became=lambda line: answers[0] and replace(line, caller_id=""),
        ),
        channel,
    )
    sender.step()
    trace = f"{made.submission_set.unique_id}".encode()
    assert not [frame for frame in sent if trace in frame]
    answers[0] = AccessLine(at="", trace_id="", event="", action="", outcome="")
    sender.step()
    assert [frame for frame in sent if trace in frame]


@pytest.mark.parametrize("domain", ["dmp", "connectathon"])
def test_what_binds_no_connection_is_verified_before_anything_is_kept(
    domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under plain XUA any connection may show any assertion, so nobody is named for his word alone."""
    world = World.prepare(
        tmp_path / "data", f'[domain]\nname = "{domain}"\ncredentials = "assertion"\n',
        registry='repositories = ["1.2.250.1.999.1.1"]',
    ).serve_here()
    seen: list[bool] = []
    real = deposit.keep

    def keep(actor: RepositoryActor, exchange: Exchange, *rest: object, **more: object) -> deposit.Kept:
        seen.append(exchange.claimant.is_claim)
        return real(actor, exchange, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(deposit, "keep", keep)
    patient_id = world.patient()
    assert world.deposit(frames.valid_submission(domain, patient_id=patient_id)).is_success
    assert seen == [domain == "dmp"]


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


def test_what_serves_once_serves_at_one_door(strict: World) -> None:
    """A set that the repository refuses by itself has used the assertion up, too.

    Step: n
    """
    strict._clients.clear()
    patient_id = strict.patient()
    security = strict.client().security(patient_id)
    wrong = frames.valid_submission("dmp", patient_id=patient_id)
    wrong.entries[0].hash = "0" * 40
    assert not provide(strict, wrong, security).is_success
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert refused(strict, made, security).subcode == FAILED_AUTHENTICATION


def test_a_registry_that_refuses_us_or_him_is_no_answer(other: Callable[..., tuple[World, Link]]) -> None:
    """To a deposit and to a snapshot alike: who was refused is for our own verification to find, so a caller who is
    accepted here is not told that his credential is bad.

    Rule: A-6, R-184
    """
    world, link = other()

    class Refusing:
        def call(self, *_args: object, **_more: object) -> object:
            raise FaultReceived(SENDER, FAILED_AUTHENTICATION, "no", 400, "")

    link._services = Refusing()  # type: ignore[assignment]
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    for register in (SoapRegistryLink.register, SoapRegistryLink.register_on_demand):
        with pytest.raises(RegistryUnavailable) as caught:
            register(link, made, Asker(b"", None, ""))
        assert not caught.value.outcome_unknown
    assert codes(provide(world, made, world.client().security(patient_id))) == {"XDSRegistryNotAvailable"}
    assert rows(world, made) == 0


def test_whom_the_registry_has_vouched_for_is_named_where_it_refuses_the_set(here: World) -> None:
    """It verified him before it judged the metadata, so the line of the refusal says who he is."""
    patient_id = here.patient(is_open=False)
    outcome = here.deposit(frames.valid_submission("dmp", patient_id=patient_id))
    assert not outcome.is_success
    trace = outcome.errors[0].context.rpartition("trace ")[2]
    (line,) = told(here, trace)
    assert (line.action, line.outcome) == ("deposit", "refused")
    assert line.caller_id and line.caller_id in line.particulars.user
