"""Mutations of valid signed envelopes: a refusal, or exactly what was signed. ``make mutations`` does many more."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from lxml import etree

from guard.credentials import signature
from tests.attack import mutations
from tests.attack.mutation_campaign import Bench, Tally, canonical, run_slice


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("mutations"))


def no_tell(done: int) -> None:
    """Tests show no progress."""


def test_messages_are_read_and_written_as_they_are(bench: Bench) -> None:
    """What the mutations start from is the message itself: written again, it is accepted for the same."""
    for base in bench.bases:
        again = mutations.read(base.message).write().encode()
        tally = bench.judge(base, again, base.name)
        assert tally.ends.keys() <= {"accepted", "unchanged"} and not tally.findings


def test_every_kind_of_mutation_touches_every_node(bench: Bench) -> None:
    """Elements, attributes, namespace declarations and texts, inside the assertion and around it."""
    base = bench.bases[0]
    root = mutations.read(base.message)
    touched = {(kind, number) for kind, number, _ in mutations.each(root)}
    for kind in mutations.WORKS:
        assert {number for named, number in touched if named == kind} == set(range(len(mutations.targets(root, kind))))
    assert len(touched) > 150


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mutation_is_refused_or_changes_nothing(bench: Bench, seed: int) -> None:
    """A thousand of each seed: a SoapFault, or the same caller, the same signed bytes and the same SignedInfo.

    Attack: mutated-envelope
    Step: a, b, c, d, e, f, g, h
    """
    first = {1: 0, 2: 4000, 3: 30_000}[seed]
    tally = run_slice(bench, seed, range(first, first + 1000), time.monotonic() + 300, no_tell)
    assert not tally.findings, "\n".join(tally.findings)
    assert tally.count == 1000
    assert tally.ends["accepted"] > 50 and tally.ends["refused at f"] > 50, tally.ends


@pytest.mark.parametrize(
    "number", [8095, 14_976, 15_597, 16_005, 16_875, 17_104, 18_232, 21_515, 21_544, 23_945, 30_841]
)
def test_mutations_that_once_broke_something(bench: Bench, number: int) -> None:
    """Unbound prefixes that a relative namespace excused were a failure of ours and not the sender's.

    Attack: unbound-prefix-excused
    """
    tally = run_slice(bench, 7, range(number, number + 1), time.monotonic() + 60, no_tell)
    assert not tally.findings, tally.findings


def test_the_judge_finds_another_caller_another_proof_and_a_crash(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that finds nothing would prove nothing."""
    base, other = bench.bases[0], bench.bases[2]
    monkeypatch.setattr(bench, "accept", lambda message, peer: other.caller)
    assert [one for one in bench.judge(base, base.message, "x").findings if "caller differs" in one]
    assert [one for one in bench.judge(base, base.message, "x").findings if "not what was signed" in one]

    def crash(message: bytes, peer: bytes) -> None:
        raise KeyError("x")

    monkeypatch.setattr(bench, "accept", crash)
    tally: Tally = bench.judge(base, base.message, "x")
    assert [one for one in tally.findings if "as a claim" not in one] == ["x: crash: KeyError: 'x'"]


def test_the_judge_finds_a_claim_that_says_something_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another caller, and one who is claimed though he is refused, or the reverse."""
    base, other = bench.bases[0], bench.bases[2]
    torn = base.message.replace(b"</wsse:Security>", b"<x/></wsse:Security>")

    def found(message: bytes) -> list[str]:
        return [one for one in bench.judge(base, message, "x").findings if "as a claim" in one]

    assert not found(base.message) and not found(torn)
    monkeypatch.setattr(bench, "as_a_claim", lambda message, peer: other.caller)
    assert len(found(base.message)) == len(found(torn)) == 1


def test_a_verifier_that_does_not_compute_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign itself is spoilt: with the arithmetic left out it must find wrong acceptances, and many."""
    monkeypatch.setattr(signature, "_signed_copy", lambda root, signer, now: (root, b"anything"))
    tally = run_slice(bench, 5, range(6000, 6200), time.monotonic() + 60, no_tell)
    assert len([one for one in tally.findings if "accepted although" in one]) > 50


def test_signed_bytes_are_found_without_the_verifier(bench: Bench) -> None:
    """The judge's own reading of what was signed has the digest that stands in SignedInfo."""
    for base in bench.bases:
        signed, info = canonical(base.caller.assertion)
        value = etree.fromstring(info).findtext(".//{*}DigestValue")
        assert base64.b64encode(hashlib.sha256(signed).digest()).decode() == value
