"""Two workers of one registry: what one was told of a card, or was shown, holds for both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conformance.client import Client
from guard.credentials import distinguished_name, vihf
from guard.credentials.cards import Card
from tests.carnet.test_revocation_joined import joined
from tests.faults.test_two_workers import served_by
from tests.live import Live
from tests.world import STRUCTURE, World
from xds.wire.client import FaultReceived

CONNECTIONS = 8


def clients(world: World, who: str, sign: list[bytes] | None = None) -> list[Client]:
    """Each with a connection of its own; the workers share them evenly."""
    made = [(lambda _patient, one=one: one) for one in sign or ()]
    more = [{"sign": one} for one in made] or [{"timeout": 60.0}] * CONNECTIONS
    return [world.client(who, **one) for one in more]


def answers(world: World, patient: str, asking: list[Client]) -> list[str]:
    """Of a query over each connection: "" when it is answered, else the code of the fault."""
    said = []
    for client in asking:
        world._clients["asking"] = client
        world.cards["asking"] = world.cards["physician"]
        try:
            assert world.find(patient, "asking").outcome.is_success
            said.append("")
        except FaultReceived as fault:
            said.append((fault.subcode or fault.code)[1])
    return said


def assert_both_served(live: Live) -> None:
    workers = set(live.registry.workers())
    assert len(workers) == 2 and served_by(live, "registry") == workers


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Live]:
    live = Live.prepare(tmp_path / "data")
    try:
        live.registry.start().wait_ready()
        yield live
    finally:
        live.stop()
    live.assert_discreet_logs()


def test_a_revocation_one_worker_hears_of_ends_what_all_remember(tmp_path: Path) -> None:
    """Both have a card for good, for an hour. It is taken back, and so is another that nobody has asked about: the
    moment that is shown, to whichever worker, the first is refused by both. Step: g
    """
    with joined(tmp_path, longest=3600, workers=2) as here:
        world, card, other = here.live.world, here.card(1), here.card(2)
        world.cards["first"], patient = card, world.patient()
        asking = clients(world, "first")
        assert answers(world, patient, asking) == [""] * CONNECTIONS
        assert_both_served(here.live)
        for one in (card, other):
            here.revoke(one)
        assert answers(world, patient, asking) == [""] * CONNECTIONS, "nobody has heard of it"
        assert here.asker(other)() == "FailedAuthentication"
        assert answers(world, patient, asking) == ["FailedAuthentication"] * CONNECTIONS


def test_one_id_names_one_assertion_for_all_workers(pair: Live) -> None:
    """Another assertion of the same issuer under an ID that was shown to one worker is refused by both; the first is
    taken by both. Step: n
    """
    world, patient = pair.world, pair.world.patient()
    card, moment = world.cards["physician"], datetime.now(UTC) - timedelta(minutes=1)
    of_one_id = [assertion(card, patient, "_one", moment + timedelta(seconds=at)) for at in range(CONNECTIONS + 1)]
    assert answers(world, patient, clients(world, "physician")) == [""] * CONNECTIONS
    assert_both_served(pair)
    assert answers(world, patient, clients(world, "physician", of_one_id[:1])) == [""]
    others = answers(world, patient, clients(world, "physician", of_one_id[1:]))
    assert others == ["FailedAuthentication"] * CONNECTIONS
    again = answers(world, patient, clients(world, "physician", of_one_id[:1] * CONNECTIONS))
    assert again == [""] * CONNECTIONS


def assertion(card: Card, patient: str, identifier: str, moment: datetime) -> bytes:
    says = vihf.for_card(card, structure_id=STRUCTURE, patient_id=patient)
    root = vihf.build(says, distinguished_name.write(card.signature.certificate.subject), now=moment)
    root.set("ID", identifier)
    return vihf.sign(root, card.signature)
