"""ITI-61: what an on-demand entry must and must not say, and who may register one. In both domains.

Clause: ITI TF-2 3.61.4.1.2, 3.61.4.1.3
"""

from __future__ import annotations

from typing import Any

import pytest

from conformance import frames
from conformance.client import Client
from tests.direct import content
from tests.on_demand_kit import offer, offer_of, on_demand_entries, register
from tests.world import World, unique_ids
from xds.check.query_params import quote_list
from xds.ebxml.write import submit_objects_request
from xds.model import DocumentEntry
from xds.namespaces import APPROVED, IS_SNAPSHOT_OF, ON_DEMAND, RESPONSE_SUCCESS, RPLC, STABLE
from xds.wire.client import FaultReceived

METADATA = "XDSRegistryMetadataError"
NOTHING = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


@pytest.fixture(params=["here", "plain"])
def either(request: pytest.FixtureRequest) -> World:
    """The French domain and plain IHE."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, World)
    return found


def refused(world: World, patient_id: str, code: str, rule: str, **changes: Any) -> None:
    """Registering this must fail for this one reason, and change nothing but the access log."""
    made = offer_of(world, patient_id, **changes)
    before = content(world)
    answer = register(world, made)
    assert [e.code for e in answer.errors] == [code] and f"[{rule}]" in answer.errors[0].context, answer
    assert content(world) == before
    line = world.last_lines(1)[-1]
    assert (line.event, line.action, line.outcome) == ("ITI-61", "deposit", "refused")


def test_an_on_demand_entry_is_registered_and_logged(either: World) -> None:
    """It is stored without hash and size, and the patient reads who registered it; legalAuthenticator is welcome.

    Rule: R-130, E-11, I-13, A-1
    """
    patient_id = either.patient()
    entry = offer(either, patient_id)
    assert (entry.object_type, entry.status) == (ON_DEMAND, APPROVED)
    assert (entry.hash, entry.size, entry.creation_time) == ("", None, "")
    assert entry.legal_authenticator and entry.logical_id == entry.entry_uuid and entry.version == 1
    (line,) = [one for one in either.log_of(patient_id) if one.event == "ITI-61"]
    assert (line.action, line.outcome, line.documents) == ("deposit", "success", (entry.unique_id,))


def test_a_stable_entry_is_refused(either: World) -> None:
    """Rule: R-130"""
    stable = {"object_type": STABLE, "creation_time": "20260101", "hash": NOTHING, "size": 0}
    made = offer_of(either, either.patient(), **stable)
    answer = register(either, made)
    assert {e.code for e in answer.errors} == {METADATA} and "[R-130]" in answer.errors[0].context


@pytest.mark.parametrize(
    ("field", "value"), [("creation_time", "20260101"), ("hash", NOTHING), ("size", 0), ("size", 12)]
)
def test_content_that_is_not_there_is_not_described(either: World, field: str, value: Any) -> None:
    """Also a size of 0 is a value.

    Rule: R-131
    """
    refused(either, either.patient(), METADATA, "R-131", **{field: value})


def test_its_repository_is_named(either: World) -> None:
    """Rule: R-132"""
    refused(either, either.patient(), METADATA, "R-132", repository_unique_id="")


def test_the_other_attributes_are_required_as_ever(either: World) -> None:
    """Rule: R-020"""
    refused(either, either.patient(), METADATA, "R-020", source_patient_id="")


def test_a_stable_document_keeps_its_unique_id(either: World) -> None:
    """And an on-demand one may be registered again, as a further entry.

    Rule: R-088
    """
    patient_id = either.patient()
    made = frames.valid_submission(either.settings.domain.name, patient_id=patient_id)
    assert either.deposit(made).is_success
    refused(either, patient_id, "XDSDuplicateUniqueIdInRegistry", "R-088", unique_id=made.entries[0].unique_id)
    entry = offer(either, patient_id)
    assert register(either, offer_of(either, patient_id, unique_id=entry.unique_id)).is_success
    assert len(on_demand_entries(either, patient_id, entry.unique_id)) == 2
    stable = frames.valid_submission(either.settings.domain.name, patient_id=patient_id, unique_id=entry.unique_id)
    outcome = either.deposit(stable)
    assert {e.code for e in outcome.errors} == {"XDSDuplicateUniqueIdInRegistry"}


def test_associations_follow_the_rules_of_every_submission(either: World) -> None:
    """One on-demand entry replaces another; an unknown target and a snapshot that is no stable entry are refused.

    Rule: R-135, R-061, R-074, R-100
    """
    patient_id = either.patient()
    old = offer(either, patient_id)
    made = offer_of(either, patient_id)
    made.associations.append(frames.relationship(RPLC, made.entries[0].entry_uuid, frames.new_uuid()))
    assert [e.code for e in register(either, made).errors] == ["UnresolvedReferenceException"]
    made = offer_of(either, patient_id)
    made.associations.append(frames.relationship(IS_SNAPSHOT_OF, made.entries[0].entry_uuid, old.entry_uuid))
    assert "[R-074]" in register(either, made).errors[0].context
    made = offer_of(either, patient_id)
    made.associations.append(frames.relationship(RPLC, made.entries[0].entry_uuid, old.entry_uuid))
    assert register(either, made).is_success
    assert not on_demand_entries(either, patient_id, old.unique_id)
    assert on_demand_entries(either, patient_id, made.entries[0].unique_id)


def test_queries_leave_it_out_unless_asked(either: World) -> None:
    """By default FindDocuments gives stable entries; the type parameter gives the others, or both.

    Rule: R-187
    """
    patient_id = either.patient()
    made = frames.valid_submission(either.settings.domain.name, patient_id=patient_id)
    assert either.deposit(made).is_success
    entry, stable = offer(either, patient_id), made.entries[0].unique_id
    assert unique_ids(either.find(patient_id)) == [stable]
    assert unique_ids(either.find(patient_id, Type=quote_list((ON_DEMAND,)))) == [entry.unique_id]
    assert set(unique_ids(either.find(patient_id, Type=quote_list((ON_DEMAND, STABLE))))) == {stable, entry.unique_id}


def test_an_unknown_patient_and_a_caller_without_right_are_refused(here: World) -> None:
    """As for every deposit.

    Rule: R-090
    """
    answer = register(here, offer_of(here, here.patient(is_open=False)))
    assert [e.code for e in answer.errors] == ["XDSUnknownPatientId"]


def test_only_our_repositories_register(here: World) -> None:
    """A card alone does not reach ITI-61, at either address; the answer's action has no "Entry".

    Rule: E-01
    """
    patient_id = here.patient()
    with pytest.raises(FaultReceived) as caught:
        here.client().register_on_demand(offer_of(here, patient_id))
    assert caught.value.subcode is not None and caught.value.subcode[1] == "FailedAuthentication"
    assert here.last_lines(1)[-1].reason.startswith("ITI-61 from a peer")


def test_the_answer_says_what_the_framework_calls_it(plain: World) -> None:
    """Where registrations of anyone are taken.

    Rule: E-01
    """
    patient_id = plain.patient()
    client: Client = plain.client()
    assert client.register_on_demand(offer_of(plain, patient_id)).status == RESPONSE_SUCCESS
    answer = client._registry.call(
        "urn:ihe:iti:2010:RegisterOnDemandDocumentEntry",
        [submit_objects_request(offer_of(plain, patient_id))],
        security=client.security(patient_id),
    )
    assert answer.action == "urn:ihe:iti:2010:RegisterOnDemandDocumentResponse"


def test_a_document_yet_to_be_assembled_is_stored_as_it_is(plain: World) -> None:
    """Delayed assembly: a stable entry with size 0 and the SHA-1 of nothing.

    Rule: R-188
    """
    patient_id = plain.patient()
    made = frames.valid_submission("connectathon", patient_id=patient_id, hash=NOTHING, size=0)
    made.entries[0].repository_unique_id = plain.settings.repository.unique_id
    assert plain.register(made).is_success
    (entry,) = plain.find(patient_id).objects
    assert isinstance(entry, DocumentEntry) and (entry.hash, entry.size) == (NOTHING, 0)
