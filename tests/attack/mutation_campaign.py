"""Mutations of valid signed envelopes by the hundred thousand: ``make mutations``.

What is accepted must be equal in what was signed: the same ``Caller`` in every field, the same digested bytes, the
same ``SignedInfo``. What is refused must be a ``SoapFault``. As a claim, which is judged before the signature is, the
same message must be refused at the same step, or say the same, unless its signature's value is what is wrong. Anything
else is a finding, and is printed with its seed and number, which do the same to the same node again; keys, names of
assertions and times are new in every run.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lxml import etree

from conformance.hand_signatures import ENVELOPED, EXCLUSIVE, Form, certificate_info, key_value_info, sign
from conformance.negative_assertions import CASES, kit_rule
from conformance.negative_kit import AUDIENCE, Kit, put
from conformance.spoiled_assertions import find
from guard.credentials import vihf
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller
from guard.credentials.cards import Card
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import Pki
from guard.credentials.replay import ReplayMemory
from tests.attack import mutations
from xds.namespaces import DS, WSU
from xds.wire.addressing import request_headers
from xds.wire.faults import SoapFault
from xds.wire.soap12 import open_envelope, write_envelope
from xds.wire.xml import parse

_C14N = {"method": "c14n", "exclusive": True, "with_comments": False}
_BODY = b'<Question xmlns="urn:carnet:example"><About kind="x">one</About><!-- comment --><About>two</About></Question>'


@dataclass(frozen=True, slots=True)
class Base:
    """A valid message, and what it must stay equal to."""

    name: str
    message: bytes
    peer: bytes
    caller: Caller
    signed: bytes
    info: bytes


@dataclass
class Tally:
    """How many ended how."""

    ends: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.ends.update(other.ends)
        self.findings += other.findings

    @property
    def count(self) -> int:
        return self.ends.total()


class Bench:
    """One PKI at one moment, valid messages of its cards, and the judge of what becomes of them."""

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        self.kit = Kit.make(Pki.create(folder / "pki"), folder, clock=lambda: now)
        trust = TrustStore.load(folder / "pki" / "trust", clock=lambda: now, reload_seconds=3600)
        # A memory of IDs would refuse a wrongly accepted assertion as a second one of the same ID, and hide it.
        forgetful = ReplayMemory(capacity=0)
        self.verifier = Verifier(replace(kit_rule(), remember=0), trust, clock=lambda: now, replay=forgetful)
        self.bases = [self._base(*made) for made in _messages(self.kit)]

    def _base(self, name: str, message: bytes, card: Card) -> Base:
        peer = card.authentication.der
        try:
            caller = self.accept(message, peer)
        except SoapFault as fault:
            raise ValueError(f"the valid message ({name}) is refused: {fault.detail}") from None
        signed, info = canonical(caller.assertion)
        return Base(name, message, peer, caller, signed, info)

    def accept(self, message: bytes, peer: bytes) -> Caller:
        """As a service does. Raises SoapFault."""
        envelope = open_envelope(parse(message))
        return self.verifier.authenticate(envelope=envelope.root, security=envelope.security, peer_certificate=peer)

    def accept_leniently(self, message: bytes, peer: bytes) -> Caller | None:
        """Behind a parser that keeps comments, instructions and CDATA: the verifier leans on no other. None when it
        is not well-formed even there."""
        keeping = etree.XMLParser(resolve_entities=False, no_network=True, strip_cdata=False)
        try:
            root = etree.fromstring(message, keeping)
        except (etree.XMLSyntaxError, ValueError):
            return None
        return self.verifier.authenticate(envelope=root, security=None, peer_certificate=peer)

    def as_a_claim(self, message: bytes, peer: bytes) -> Caller:
        """As the repository reads who deposits. Raises SoapFault."""
        envelope = open_envelope(parse(message))
        return self.verifier.claim(envelope=envelope.root, security=envelope.security, peer_certificate=peer)

    def judge(self, base: Base, message: bytes, what: str) -> Tally:
        """The end of one mutation; a finding when it is none of the two allowed."""
        tally = Tally()
        ends: list[str] = []
        tally.findings += [f"{what}: as a claim {wrong}" for wrong in self._disagreement(message, base.peer)]
        for accept in (self.accept, self.accept_leniently):
            try:
                caller = accept(message, base.peer)
                ends.append("not well-formed" if caller is None else "accepted")
                if caller is not None:
                    tally.findings += [f"{what}: accepted although {wrong}" for wrong in differences(base, caller)]
            except SoapFault as fault:
                ends.append(f"refused at {fault.step or 'the wire'}")
            except Exception as error:
                ends.append("crashed")
                tally.findings.append(f"{what}: {accept.__name__}: {type(error).__name__}: {error}")
        unchanged = message == base.message
        tally.ends["unchanged" if unchanged else ends[0] if ends[0] != "refused at the wire" else ends[1]] += 1
        return tally


    def _disagreement(self, message: bytes, peer: bytes) -> Iterator[str]:
        """In what a claim and the verified assertion differ beyond the signature's value."""
        ends: list[Caller | str] = []
        for read in (self.accept, self.as_a_claim):
            try:
                ends.append(replace(read(message, peer), assertion_sha256=""))
            except SoapFault as fault:
                ends.append(fault.step or "the wire")
            except Exception as error:
                ends.append(type(error).__name__)
        verified, claim = ends
        if verified not in ("f", claim):
            yield f"it ends as {claim!r}, verified as {verified!r}"


def differences(base: Base, caller: Caller) -> Iterator[str]:
    """In what an accepted caller is not the one who signed; the bytes kept for proof are compared as they were
    signed, not as they were written."""
    if replace(caller, assertion=b"") != replace(base.caller, assertion=b""):
        yield f"the caller differs: {caller}"
    signed, info = canonical(caller.assertion)
    if signed != base.signed:
        yield "what is kept for proof is not what was signed"
    if info != base.info:
        yield "SignedInfo is another"


def canonical(assertion: bytes) -> tuple[bytes, bytes]:
    """What the two digests of a signed assertion are made of, found without the code under test."""
    root = etree.fromstring(assertion, etree.XMLParser(resolve_entities=False, remove_comments=True))
    (signature,) = root.findall(f"{{{DS}}}Signature")
    info = signature.find(f"{{{DS}}}SignedInfo")
    assert info is not None
    lists = [found.get("PrefixList", "").split() for found in info.iter(f"{{{EXCLUSIVE}}}InclusiveNamespaces")]
    signed_info = etree.tostring(info, **_C14N)
    tail, before = signature.tail or "", signature.getprevious()
    if before is not None:
        before.tail = (before.tail or "") + tail
    root.remove(signature)
    return etree.tostring(root, **_C14N, inclusive_ns_prefixes=lists[0] if lists else None), signed_info


def _messages(kit: Kit) -> Iterator[tuple[str, bytes, Card]]:
    """Valid messages that differ in key, mode, form of signature and surroundings."""
    rich = kit.build(lifetime=timedelta(minutes=50), audiences=(AUDIENCE, "urn:other"))
    data = etree.SubElement(find(rich, "Subject"), rich.tag.replace("Assertion", "SubjectConfirmation"))
    data.set("Method", vihf.BEARER)
    yield "person, RSA", _envelope(kit.sign(rich)), kit.card
    plain = kit.sign(kit.build(None, kit.other), kit.other.signature)
    stamp = (
        f'<wsu:Timestamp xmlns:wsu="{WSU}" wsu:Id="t"><wsu:Created>2026-01-01T00:00:00Z</wsu:Created></wsu:Timestamp>'
    )
    yield "person, P-256, with a time stamp", _envelope(stamp.encode() + plain), kit.other
    yield "structure, P-256", CASES["good_structure"].spoil(_envelope(), kit), kit.structure
    root, pair = kit.build(), kit.card.signature
    info = certificate_info(pair.certificate, kit.other.signature.certificate)
    info.append(key_value_info(pair.key)[0])
    sign(root, pair.key, info, Form(transforms=(ENVELOPED, EXCLUSIVE + "WithComments")))
    yield "two certificates, a key value, with comments", _envelope(etree.tostring(root)), kit.card


def _envelope(*tokens: bytes) -> bytes:
    headers = request_headers(
        "urn:carnet:example", "urn:uuid:5f9b2d1c-7d0b-4a0e-9a53-2f4f7a1d6a11", "https://localhost/"
    )
    message = b"".join(write_envelope(headers, [_BODY]))
    return put(message, *(vihf.security_header(token) for token in tokens))


def run_slice(bench: Bench, seed: int, numbers: range, until: float, tell: Callable[[int], object]) -> Tally:
    """The mutations of these numbers, until time is up. The first ones are each work on each node once."""
    tally = Tally()
    singles = [(base, *one) for base in bench.bases for one in mutations.each(mutations.read(base.message))]
    for done, number in enumerate(numbers):
        if done % 500 == 0:
            tell(done)
            if time.monotonic() > until:
                break
        name = f"{seed}:{number}"
        if number < len(singles):
            base, kind, place, work = singles[number]
            what = f"{work.__name__} of {kind} {place}"
            message = mutations.mutate_node(base.message, kind, place, work, name)
        else:
            base = bench.bases[number % len(bench.bases)]
            what, message = mutations.mutate(base.message, name)
        tally.add(bench.judge(base, message, f"{name} ({base.name}; {what})"))
    return tally


def _work(seed: int, count: int, share: int, shares: int, until: float) -> Tally:
    """One process's share."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        return run_slice(Bench(Path(folder)), seed, range(share, count, shares), until, functools.partial(_tell, share))


def _tell(share: int, done: int) -> None:
    print(f"process {share}: {done} mutations", file=sys.stderr, flush=True)


def main() -> int:
    """Exit status 0: every mutation ended as it must; 1: a finding, or not all of them done in time."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", 1)[0], epilog="example: make mutations COUNT=100000 SEED=1"
    )
    parser.add_argument("--count", type=int, default=100_000, help="mutations (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=60, help="longest time (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    given = parser.parse_args()
    began, until = time.monotonic(), time.monotonic() + given.minutes * 60
    tally = Tally()
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
        shares = range(given.processes)
        for job in [pool.submit(_work, given.seed, given.count, share, given.processes, until) for share in shares]:
            tally.add(job.result())
    facts = {
        "seed": given.seed,
        "mutations": tally.count,
        "seconds": round(time.monotonic() - began),
        "ends": dict(tally.ends.most_common()),
        "findings": tally.findings,
    }
    if given.json:
        print(json.dumps(facts, indent=2))
    else:
        print(f"{tally.count} mutations of seed {given.seed} in {facts['seconds']} s")
        print("\n".join(f"{number:>9}  {end}" for end, number in tally.ends.most_common()))
        print("\n".join(tally.findings) or "no finding")
    return int(bool(tally.findings) or tally.count < given.count)


if __name__ == "__main__":
    sys.exit(main())
