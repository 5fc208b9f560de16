"""Offering on-demand documents and taking them: the entry that the shipped provider describes, registered by ITI-61."""

from __future__ import annotations

from typing import Any

from carnet import wiring
from carnet.commands.on_demand import asker
from carnet.providers import providers_of
from conformance import frames
from conformance.client import Outcome, Retrieved
from repository.on_demand_entries import registration
from repository.registry_link import Registered
from tests.world import Memory, World
from xds.check.query_params import quote_list
from xds.model import Association, DocumentEntry, Submission
from xds.namespaces import ON_DEMAND

GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
NOW = "20260105093000"


def offer_of(world: World, patient_id: str, **changes: Any) -> Submission:
    """A valid ITI-61 submission of this patient's summary; ``changes`` go to its entry."""
    domain = wiring.domain_of(world.settings)
    provider = providers_of(world.settings, domain)["summary"]
    entry = frames.valid_entry(domain, patient_id=patient_id, creation_time="", hash="", size=None)
    made = registration(entry, provider, domain, world.settings.repository.unique_id, NOW)
    for name, value in changes.items():
        setattr(made.entries[0], name, value)
    return made


def register(world: World, made: Submission, who: str = "physician") -> Registered:
    """ITI-61 as our repository sends it, under the card's assertion."""
    link = wiring.link_of(world.settings, world.registry.app if world.registry else None)
    return link.register_on_demand(made, asker(world.client(who), made.submission_set.patient_id))


def offer(world: World, patient_id: str, **changes: Any) -> DocumentEntry:
    """Register the summary of a patient; the entry, with the uniqueId to retrieve it by."""
    made = offer_of(world, patient_id, **changes)
    answer = register(world, made)
    assert answer.is_success and not answer.errors, answer
    (entry,) = on_demand_entries(world, patient_id, made.entries[0].unique_id)
    return entry


def on_demand_entries(world: World, patient_id: str, unique_id: str) -> list[DocumentEntry]:
    found = world.find(patient_id, Type=quote_list((ON_DEMAND,)))
    return [o for o in found.objects if isinstance(o, DocumentEntry) and o.unique_id == unique_id]


def take(world: World, patient_id: str, entry: DocumentEntry, who: str = "physician") -> tuple[Outcome, Retrieved]:
    """Retrieve an on-demand document; it must come."""
    outcome, items = world.read(patient_id, [entry.unique_id], who)
    assert outcome.is_success and len(items) == 1, outcome
    return outcome, items[0]


def retrieve(world: World, patient_id: str, unique_ids: list[str], who: str = "physician") -> list[bytes]:
    """What comes, in the order of the answer."""
    wanted = [(world.settings.repository.unique_id, u) for u in unique_ids]
    _, items = world.client(who).retrieve(wanted, Memory, patient_id=patient_id)
    return [item.received for item in items if isinstance(item.received, bytes)]


def links(world: World, patient_id: str, entry_uuid: str) -> list[Association]:
    """Every association at this entry that the physician finds."""
    found = world.client().query(GET_ASSOCIATIONS, [("$uuid", [quote_list([entry_uuid])])], patient_id=patient_id)
    return [o for o in found.objects if isinstance(o, Association)]


def stable(world: World, patient_id: str, unique_id: str, who: str = "physician") -> DocumentEntry | None:
    found = world.get(patient_id, [unique_id], who).objects
    return next((o for o in found if isinstance(o, DocumentEntry)), None)


