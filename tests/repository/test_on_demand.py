"""On-demand documents at the repository: made for each caller, kept as snapshots or not. In both domains.

Clause: ITI TF-2 3.43.4.1.3, 3.43.4.2
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from carnet import wiring
from carnet.agreement import compare
from carnet.providers import providers_of
from conformance import frames
from conformance.client import Client
from repository import on_demand_retrieve
from repository.actor import RepositoryActor
from repository.on_demand import Assembled, Enrolment, OnDemandRequest
from repository.registry_link import Asked, Asker, Registered, RegistryUnavailable, SoapRegistryLink
from repository.sweep import sweep
from tests.on_demand_kit import links, offer, offer_of, on_demand_entries, register, retrieve, stable, take
from tests.world import World, codes, contents, unique_ids
from xds.errors import Severity
from xds.model import DocumentEntry, Submission
from xds.model.messages import ReceivedError
from xds.namespaces import (
    APPROVED,
    DEPRECATED,
    IS_SNAPSHOT_OF,
    RESPONSE_FAILURE,
    RESPONSE_PARTIAL,
    RESPONSE_SUCCESS,
    RPLC,
    STABLE,
    WSA_ANONYMOUS,
)
from xds.wire.exchange import Addressing, Endpoint

MASK = "MASQUE_PS^^1.2.250.1.213.1.1.4.13"


@pytest.fixture(params=["here", "plain"])
def either(request: pytest.FixtureRequest) -> World:
    """The French domain and plain IHE."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, World)
    return found


class Fickle:
    """A provider of tests: it does what ``act`` does."""

    name = "summary"

    def __init__(self, act: Callable[[OnDemandRequest], Iterator[bytes]]) -> None:
        self.act = act

    def describe(self, enrolment: Enrolment) -> DocumentEntry:
        raise NotImplementedError

    def assemble(self, request: OnDemandRequest) -> Assembled:
        return Assembled(chunks=self.act(request))


class Hindered(SoapRegistryLink):
    """A link that fails where a test wants it to: ``answers`` by method, an exception or a value."""

    def __init__(self, link: SoapRegistryLink, **answers: object) -> None:
        super().__init__(link._services, link._internal)
        self.answers = answers

    def register(self, submission: Submission, asker: Asker) -> Registered:
        if (answer := self.answers.get("register")) is None:
            return super().register(submission, asker)
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Registered)
        return answer

    def latest(
        self, patient_id: str, most: int, asker: Asker, tell: Callable[[Asked], None]
    ) -> list[DocumentEntry]:
        if isinstance(answer := self.answers.get("latest"), Exception):
            raise answer
        return super().latest(patient_id, most, asker, tell)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., World]]:
    """An installation of its own whose repository is rebuilt as the test wants it."""
    world = World.prepare(tmp_path_factory.mktemp("other")).serve_here()
    assert world.registry is not None
    link = wiring.link_of(world.settings, world.registry.app)
    actor = wiring.repository_actor(world.settings, link)

    def rebuild(answers: dict[str, object] | None = None, **changes: object) -> World:
        changed: RepositoryActor = replace(actor, registry=Hindered(link, **(answers or {})), **changes)
        world.repository = wiring.repository_service(world.settings, changed)
        world._clients.clear()
        return world

    yield rebuild
    world.stop()


def healthy(world: World) -> RepositoryActor:
    """The repository of a world with nothing in its way."""
    assert world.registry is not None
    return wiring.repository_actor(world.settings, wiring.link_of(world.settings, world.registry.app))


def deposit(world: World, patient_id: str, **changes: object) -> DocumentEntry:
    made = frames.valid_submission(world.settings.domain.name, patient_id=patient_id, **changes)
    assert world.deposit(made).is_success
    return made.entries[0]


# -- kept ---------------------------------------------------------------------------------------------------


def test_what_is_retrieved_is_kept_registered_and_named(either: World) -> None:
    """The answer names a stable entry that is a snapshot of the on-demand one and has just these bytes.

    Rule: R-180, R-181
    """
    patient_id = either.patient()
    deposit(either, patient_id)
    entry = offer(either, patient_id)
    outcome, item = take(either, patient_id, entry)
    assert not outcome.errors
    assert (item.unique_id, item.repository_unique_id) == (entry.unique_id, entry.repository_unique_id)
    assert item.new_repository_unique_id == either.settings.repository.unique_id
    assert item.new_unique_id not in ("", entry.unique_id)
    assert item.mime_type == entry.mime_type and isinstance(item.received, bytes)
    kept = stable(either, patient_id, item.new_unique_id)
    assert kept is not None and (kept.object_type, kept.status) == (STABLE, APPROVED)
    assert (kept.hash, kept.size) == (hashlib.sha1(item.received).hexdigest(), len(item.received))
    (link,) = [a for a in links(either, patient_id, kept.entry_uuid) if a.type == IS_SNAPSHOT_OF]
    assert (link.source, link.target) == (kept.entry_uuid, entry.entry_uuid)
    assert entry.unique_id not in unique_ids(either.find(patient_id))


def test_one_new_unique_id_is_one_content(either: World) -> None:
    """A snapshot is read again byte for byte, however the record goes on; the next one has another uniqueId.

    Rule: R-183, R-180
    """
    patient_id = either.patient()
    entry = offer(either, patient_id)
    _, first = take(either, patient_id, entry)
    deposit(either, patient_id)
    _, second = take(either, patient_id, entry)
    assert first.new_unique_id != second.new_unique_id and first.received != second.received
    assert retrieve(either, patient_id, [first.new_unique_id]) == [first.received]
    assert retrieve(either, patient_id, [second.new_unique_id]) == [second.received]


def test_a_later_snapshot_replaces_the_former_of_the_same_caller(either: World) -> None:
    """RPLC. Where rights differ a colleague has snapshots of his own; where they do not, all are one line.

    Rule: R-182
    """
    patient_id = either.patient()
    entry = offer(either, patient_id)
    _, first = take(either, patient_id, entry)
    _, colleagues = take(either, patient_id, entry, "colleague")
    _, second = take(either, patient_id, entry)
    old, new = (stable(either, patient_id, i.new_unique_id) for i in (first, second))
    theirs = stable(either, patient_id, colleagues.new_unique_id, "colleague")
    assert old is not None and new is not None and theirs is not None
    assert (old.status, new.status) == (DEPRECATED, APPROVED)
    replaced = [a.target for a in links(either, patient_id, new.entry_uuid) if a.type == RPLC]
    if either.settings.domain.name == "dmp":
        assert replaced == [old.entry_uuid] and theirs.status == APPROVED
    else:
        assert replaced == [theirs.entry_uuid] and theirs.status == DEPRECATED


def test_both_services_log_who_had_it_made(here: World) -> None:
    """The patient reads one read, one search and one deposit; the repository says what was made for what.

    Rule: R-181
    """
    patient_id = here.patient()
    entry = offer(here, patient_id)
    before = len(here.log_of(patient_id))
    _, item = take(here, patient_id, entry)
    lines = here.log_of(patient_id)[before:]
    assert [(line.event, line.action) for line in lines] == [
        ("ITI-43", "read"), ("ITI-18", "search"), ("ITI-42", "deposit"),
    ]
    assert lines[0].documents == (entry.unique_id,) and lines[2].documents == (item.new_unique_id,)
    made = [line for line in here.last_lines(12) if line.reason.startswith("made on demand")]
    assert made[-1].documents == (item.new_unique_id,) and made[-1].trace_id == lines[0].trace_id
    assert entry.unique_id in made[-1].reason and "kept as a snapshot" in made[-1].reason


def test_registry_and_repository_still_agree(here: World) -> None:
    """An on-demand entry has no bytes to miss; its snapshots have theirs."""
    patient_id = here.patient()
    take(here, patient_id, offer(here, patient_id))
    report = compare(wiring.registry_actor(here.settings), healthy(here), full=True)
    assert report.agree and not report.missing


# -- who sees what --------------------------------------------------------------------------------------------


def test_a_snapshot_shows_nobody_what_only_its_caller_may_see(here: World) -> None:
    """The author of a masked document reads of it in his summary; nobody else does, there or in his snapshot.

    Rule: R-185, R-123
    """
    patient_id = here.patient()
    author = replace(
        frames.an_author(), person=["899700000018^ESSAI^Anne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"]
    )
    made = frames.valid_submission("dmp", patient_id=patient_id, authors=[author])
    made.entries[0].confidentiality_codes.append(wiring.domain_of(here.settings).code("confidentiality_codes", MASK))
    assert here.deposit(made).is_success
    secret = made.entries[0].unique_id.encode()
    entry = offer(here, patient_id)
    _, own = take(here, patient_id, entry)
    _, colleagues = take(here, patient_id, entry, "colleague")
    assert isinstance(own.received, bytes) and isinstance(colleagues.received, bytes)
    assert secret in own.received and secret not in colleagues.received
    kept = stable(here, patient_id, own.new_unique_id)
    assert kept is not None and MASK in {c.key for c in kept.confidentiality_codes}
    outcome, items = here.read(patient_id, [own.new_unique_id], "colleague")
    assert codes(outcome) == {"XDSDocumentUniqueIdError"} and not items
    assert own.new_unique_id not in unique_ids(here.find(patient_id, "colleague"))


def test_what_hides_a_document_from_the_patient_hides_its_summary(here: World) -> None:
    """The two masks exclude each other in this domain: such a summary is given and not kept.

    Rule: R-185, R-184
    """
    patient_id = here.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    hidden = wiring.domain_of(here.settings).code("confidentiality_codes", "INVISIBLE_PATIENT^^1.2.250.1.213.1.1.4.13")
    made.entries[0].confidentiality_codes.append(hidden)
    assert here.deposit(made).is_success
    outcome, item = take(here, patient_id, offer(here, patient_id))
    assert isinstance(item.received, bytes) and made.entries[0].unique_id.encode() in item.received
    assert item.new_unique_id and not item.new_repository_unique_id
    (warning,) = outcome.errors
    assert warning.severity == Severity.WARNING and "not kept" in warning.context
    assert stable(here, patient_id, item.new_unique_id) is None


def test_who_may_not_read_the_type_gets_nothing_made(here: World) -> None:
    """A secretary is refused as for a document that does not exist, and no provider is asked.

    Rule: R-123
    """
    patient_id = here.patient()
    entry = offer(here, patient_id)
    outcome, items = here.read(patient_id, [entry.unique_id], "staff")
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}


def test_a_deprecated_on_demand_entry_gives_no_content(either: World) -> None:
    """Replaced by another on-demand entry, it is refused like a document that does not exist.

    Rule: R-126
    """
    patient_id = either.patient()
    old, made = offer(either, patient_id), offer_of(either, patient_id)
    made.associations.append(frames.relationship(RPLC, made.entries[0].entry_uuid, old.entry_uuid))
    assert register(either, made).is_success
    outcome, items = either.read(patient_id, [old.unique_id])
    assert (outcome.status, codes(outcome), items) == (RESPONSE_FAILURE, {"XDSDocumentUniqueIdError"}, [])
    (new,) = on_demand_entries(either, patient_id, made.entries[0].unique_id)
    take(either, patient_id, new)


def test_a_closed_record_gives_no_content(here: World) -> None:
    """Nothing is made once the record is closed.

    Rule: R-123
    """
    patient_id = here.patient()
    entry = offer(here, patient_id)
    here.close(patient_id)
    outcome, items = here.read(patient_id, [entry.unique_id])
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}


# -- not kept, and failures -------------------------------------------------------------------------------------


def test_what_is_not_kept_leaves_nothing(other: Callable[..., World]) -> None:
    """By setting: a new uniqueId without repository, nothing registered, no bytes left behind.

    Rule: R-184, R-180
    """
    world = other(keeps_snapshots=False)
    patient_id = world.patient()
    entry = offer(world, patient_id)
    (_, first), (_, second) = take(world, patient_id, entry), take(world, patient_id, entry)
    assert first.new_unique_id != second.new_unique_id and first.new_unique_id != entry.unique_id
    assert first.new_repository_unique_id == second.new_repository_unique_id == ""
    outcome, items = world.read(patient_id, [first.new_unique_id])
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}
    assert unique_ids(world.find(patient_id)) == []
    assert not [p for p in Path(world.settings.documents).rglob("*") if p.is_file()]


@pytest.mark.parametrize("address", ["", WSA_ANONYMOUS, "https://elsewhere.test/answers"])
def test_an_answer_that_may_be_sent_again_can_be_read_again(other: Callable[..., World], address: str) -> None:
    """To another address: the bytes stay for the sweep. On the connection: they go at once.

    Rule: R-184, T-13
    """
    actor = healthy(other())
    upload = actor.documents.begin()
    upload.write(b"made once")
    asked = Addressing(action="", reply_to=Endpoint(address) if address else None)
    exchange, request = SimpleNamespace(addressing=asked), SimpleNamespace(unique_id="2.25.1")
    made = on_demand_retrieve._passing(actor, exchange, request, upload.finish())  # type: ignore[arg-type]
    assert b"".join(made.chunks()) == b"made once"
    if address.startswith("https"):
        assert b"".join(made.chunks()) == b"made once"
        assert sweep(actor, -1.0).orphans == 1
    with pytest.raises(FileNotFoundError):
        made.chunks()


def test_a_refused_snapshot_is_given_and_not_kept(other: Callable[..., World]) -> None:
    """The content comes whole with a warning; rows and bytes are withdrawn as after a refused deposit.

    Rule: R-184, A-5
    """
    refusal = Registered(False, (ReceivedError("XDSRegistryError", "no right"),))
    world = other({"register": refusal})
    patient_id = world.patient()
    outcome, item = take(world, patient_id, offer(world, patient_id))
    assert outcome.status == RESPONSE_SUCCESS and not item.new_repository_unique_id and item.new_unique_id
    assert isinstance(item.received, bytes) and item.received.endswith(b"</ClinicalDocument>")
    assert [e.severity for e in outcome.errors] == [Severity.WARNING]
    assert not [p for p in Path(world.settings.documents).rglob("*") if p.is_file()]


@pytest.mark.parametrize("outcome_unknown", [True, False])
def test_without_the_registrys_answer_nothing_is_given(other: Callable[..., World], outcome_unknown: bool) -> None:
    """A snapshot is registered before it is answered; its bytes stay only while it may have been.

    Rule: R-181, A-6
    """
    world = other({"register": RegistryUnavailable("silence", outcome_unknown=outcome_unknown)})
    patient_id = world.patient()
    outcome, items = world.read(patient_id, [offer(world, patient_id).unique_id])
    assert (outcome.status, codes(outcome), items) == (RESPONSE_FAILURE, {"XDSRepositoryError"}, [])
    left = [p for p in Path(world.settings.documents).rglob("*") if p.is_file()]
    assert bool(left) is outcome_unknown
    assert sweep(healthy(world), -1.0).removed == len(left)


def test_a_crash_before_the_registration_leaves_nothing_to_see(other: Callable[..., World]) -> None:
    """Bytes and row are durable, nobody can see them, and the sweep removes both.

    Rule: R-181, A-5
    """
    world = other({"register": KeyboardInterrupt()})
    patient_id = world.patient()
    entry = offer(world, patient_id)
    with pytest.raises(KeyboardInterrupt):
        world.read(patient_id, [entry.unique_id])
    actor = healthy(world)
    with actor.database.read() as unit:
        (row,) = unit.documents.unsettled(actor.clock() + 1)
    assert b"".join(actor.documents.open(row.key)) and unique_ids(world.find(patient_id)) == []
    assert sweep(actor, -1.0).removed == 1
    assert not [p for p in Path(world.settings.documents).rglob("*") if p.is_file()]


def failing(request: OnDemandRequest) -> Iterator[bytes]:
    yield b"<half"
    raise LookupError("ESSAI-DUPONT must not be told")


def asking(request: OnDemandRequest) -> Iterator[bytes]:
    yield str(request.documents(1)).encode()


@pytest.mark.parametrize("act", [failing, asking])
def test_a_provider_that_fails_refuses_its_own_document_only(
    other: Callable[..., World], act: Callable[[OnDemandRequest], Iterator[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """What else was asked for comes; the reason is not told, and nothing half made stays.

    Rule: R-186
    """
    away = RegistryUnavailable("silence", outcome_unknown=False)
    world = other({"latest": away}, providers={"summary": Fickle(act)})
    patient_id = world.patient()
    entry = offer(world, patient_id)
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert world.deposit(made).is_success
    outcome, items = world.read(patient_id, [entry.unique_id, made.entries[0].unique_id])
    assert outcome.status == RESPONSE_PARTIAL and codes(outcome) == {"XDSRepositoryError"}
    assert [i.received for i in items] == list(contents(made).values())
    assert outcome.errors[0].location == entry.unique_id
    assert "ESSAI-DUPONT" not in str(outcome) + caplog.text
    staging = Path(world.settings.documents) / "staging"
    assert not list(staging.iterdir())


def test_an_entry_of_no_provider_is_refused(other: Callable[..., World]) -> None:
    """Rule: R-186"""
    world = other(providers={})
    patient_id = world.patient()
    outcome, items = world.read(patient_id, [offer(world, patient_id).unique_id])
    assert not items and codes(outcome) == {"XDSRepositoryError"} and "provider" in outcome.errors[0].context


def test_a_large_document_goes_through_the_store(other: Callable[..., World]) -> None:
    """What a provider yields is never joined: chunks to the store, chunks from the store.

    Rule: R-183
    """
    world = other(providers={"summary": Fickle(lambda request: iter([b"x" * (1 << 20)] * 5))})
    patient_id = world.patient()
    _, item = take(world, patient_id, offer(world, patient_id))
    assert item.received == b"x" * (5 << 20)


@pytest.mark.parametrize(
    "place", ["repository.on_demand_summary", "nowhere:Class", "repository.on_demand_summary:Nothing", "json:dumps"]
)
def test_a_setting_that_names_no_provider_is_misuse(here: World, place: str) -> None:
    """The message names the setting and the value."""
    repository = here.settings.repository.model_copy(update={"on_demand": [place]})
    settings = here.settings.model_copy(update={"repository": repository})
    with pytest.raises(ValueError, match=r"repository\.on_demand"):
        providers_of(settings, wiring.domain_of(settings))


def test_two_providers_of_one_name_are_misuse(here: World) -> None:
    """An entry must say who makes its document."""
    twice = here.settings.repository.model_copy(update={"on_demand": here.settings.repository.on_demand * 2})
    settings = here.settings.model_copy(update={"repository": twice})
    with pytest.raises(ValueError, match="'summary'"):
        providers_of(settings, wiring.domain_of(settings))


def test_over_tls_and_two_processes(live: World) -> None:
    """The whole round between real processes: ITI-61, ITI-43, ITI-18, ITI-42, and the snapshot read again.

    Rule: R-181, R-183
    """
    patient_id = live.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert live.deposit(made).is_success
    entry = offer(live, patient_id)
    _, item = take(live, patient_id, entry)
    assert isinstance(item.received, bytes) and made.entries[0].unique_id.encode() in item.received
    kept = stable(live, patient_id, item.new_unique_id)
    assert kept is not None and kept.hash == hashlib.sha1(item.received).hexdigest()
    assert retrieve(live, patient_id, [item.new_unique_id]) == [item.received]
    client: Client = live.client()
    assert client.card is live.cards["physician"]
