"""The doors an assertion does not open: every fault of a certificate at each, and every fault of an assertion that is
sent to the token service to be judged.

Together with ``test_credential_faults`` this is the whole table: every fault at every endpoint of every service.

Step: d, e, f, g, i, j, k, l, m, o
Rule: W-10
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from lxml import etree

import guard.tokens.app
from conformance.negative_assertions import CASES
from conformance.negative_kit import MESSAGE, Kit, parse
from conformance.token_client import TokenClient, Verdict
from guard.credentials.pki import Pki
from guard.credentials.token import ASSERTION
from tests.attack.test_assertions import STEPS
from tests.attack.test_credential_faults import (
    AT_THE_DOOR,
    CERTIFICATE_ALONE,
    MALFORMED,
    NOBODY,
    OWN,
    WHO,
    Endpoint,
    _der,
    application_of,
    clause_of,
    credentials,
    empty,
    envelope,
    kit,
    lines,
    pki,
    prepared,
    reissued,
    request,
    state,
    world,
)
from tests.world import World
from xds.wire.client import FaultReceived, LocalTransport
from xds.wire.exchange import Peer

__all__ = ["credentials", "kit", "pki", "prepared", "world"]

TOKENS = [("tokens", path, name) for path, names in guard.tokens.app.PATHS.items() for name in sorted(names)]
ADDRESS = "https://localhost/services/tokens"
USE = {"n", "tls", "software"}
"""Steps about the use of an assertion, which is not judged where it is sent to be judged."""


def certificates(kit: Kit, pki: Pki) -> dict[str, bytes | None]:
    """Every certificate nobody believes, as the connection would show it."""
    changed = {
        "of tomorrow": reissued("tls", tls=True, days=1), "of the past": reissued("tls", tls=True, days=-4000),
        "of a production product": reissued("tls", tls=True, category=0x00),
        "of no product": reissued("tls", tls=True, category=None),
    }
    return {
        "none": None, "revoked": _der(kit.disconnected), "expired": _der(kit.expired),
        "of a stranger": _der(kit.foreign), "of the signature key": kit.card.signature.der,
        "unreadable": b"\x30\x03\x02\x01\x00",
        **{name: fault.make(kit, pki)[1] for name, fault in changed.items()},
    }


@pytest.mark.parametrize(("service", "path", "name"), CERTIFICATE_ALONE + TOKENS)
def test_every_certificate_fault_where_no_assertion_is_asked_for(
    world: World, kit: Kit, pki: Pki, service: str, path: str, name: str
) -> None:
    """One answer for all, HTTP 400, one line with its step, nothing stored; at doors for sources and nodes a good card
    gets the same."""
    before, wrong = state(world), []
    spoiled = certificates(kit, pki)
    if service != "tokens":
        spoiled |= {"of a card": _der(kit.card), "of a structure": _der(kit.structure)}
    served = application_of(world, service).app._by_path[path].values()
    endpoints = [Endpoint(service, path, transaction) for transaction in served if transaction.name == name]
    assert endpoints
    for (fault, peer), endpoint in product(spoiled.items(), endpoints):
        answer = request(world, endpoint, envelope(endpoint, [empty(endpoint)]), peer)
        told = [clause for clause, _ in lines(world).get(answer.trace_id, [])]
        if (answer.status, answer.subcode, answer.reason, told) != (400, WHO, NOBODY, [clause_of("tls")]):
            wrong.append((fault, endpoint.transaction.action, answer, told))
    assert not wrong
    assert state(world) == before


def test_the_table_leaves_no_endpoint_out() -> None:
    """What an assertion does not open is here, the token service included."""
    assert {name for _, _, name in CERTIFICATE_ALONE} == {"ITI-44", "reconcile", "erasures"}
    assert {name for _, _, name in TOKENS} == {"WS-Trust Issue", "WS-Trust Validate", "WS-Trust Cancel"}


def test_every_fault_of_an_assertion_sent_to_be_judged(
    world: World, kit: Kit, credentials: dict[str, tuple[bytes, bytes]]
) -> None:
    """Validate says invalid, in the words of a fault; what is only about an assertion's use is valid. Rule: W-10"""
    transport = LocalTransport(application_of(world, "tokens").app, Peer("127.0.0.1", _der(kit.other)), ADDRESS)
    wrong, judged = [], 0
    for fault, assertion, step in assertions(kit, credentials):
        judged += 1
        try:
            found = TokenClient(transport).validate(assertion)
        except FaultReceived as refused:
            found = Verdict(False, refused.reason)
        is_good = step in USE and fault != "personforstructure"  # whose physician has no specialty, too
        if found.is_valid is not is_good or bool(found.reason) is found.is_valid:
            wrong.append((fault, step, found))
    assert not wrong
    assert judged > 120


def assertions(kit: Kit, credentials: dict[str, tuple[bytes, bytes]]) -> Iterator[tuple[str, bytes, str]]:
    """(fault, assertion, step) of every case whose message carries one assertion that can be taken out of it."""
    for name, case in CASES.items():
        if case.fault is None or name in MALFORMED | AT_THE_DOOR or STEPS[name] in ("b", "c"):
            continue
        found = list(parse(case.spoil(MESSAGE, kit)).iter(ASSERTION))
        if len(found) == 1:
            yield name, etree.tostring(found[0], with_tail=False), STEPS[name]
    for name, (assertion, _) in credentials.items():
        yield name, assertion, OWN[name].step
