"""Identity feeds: what the operator has settled, who may feed, and the handler the MLLP listener calls."""

from __future__ import annotations

import time

from carnet.admin import Meter
from carnet.mllp import PatientFeed
from carnet.settings import Settings
from guard.audit import access_log
from guard.audit.particulars import Particulars, process_id
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller, Mode
from registry import iti8_patient_feed
from registry.actor import FeedRules, RegistryActor
from xds.domain import AffinityDomain
from xds.wire.exchange import Peer


def feed_rules(settings: Settings) -> FeedRules:
    """Raises ValueError for a namespace that is not written NAMESPACE&OID&ISO."""
    namespaces = {}
    for text in settings.registry.authority_namespaces:
        name, oid, kind = ([*text.split("&"), "", ""])[:3]
        if not name or not oid.replace(".", "").isdigit() or kind != "ISO":
            raise ValueError(f"registry.authority_namespaces: {text!r} is not NAMESPACE&OID&ISO")
        namespaces[name] = oid
    return FeedRules(
        namespaces=namespaces,
        senders=frozenset(settings.registry.identity_senders),
        may_merge=settings.registry.feed_merges,
        device_id=settings.registry.device_id,
    )


def identity_sources(settings: Settings, domain: AffinityDomain) -> frozenset[str] | None:
    """Who may feed identities; None for every accepted certificate. Nobody, where a record needs consent."""
    named = frozenset(settings.registry.identity_sources)
    return named if named or domain.record_needs_consent else None


def patient_feed(settings: Settings, actor: RegistryActor, verifier: Verifier, meter: Meter) -> PatientFeed:
    """The handler of ITI-8. Raises ValueError where the domain does not allow the listener that is asked for."""
    sources = identity_sources(settings, actor.domain)
    if not settings.registry.mllp_tls and actor.domain.credentials.required:
        raise ValueError(f"domain {actor.domain.name} knows its callers: registry.mllp_tls cannot be false")

    def admit(peer: Peer) -> Caller:
        if not settings.registry.mllp_tls:
            return Caller(identifier="", mode=Mode.OFF)
        return verifier.authenticate_system(peer.certificate, sources)

    def refused(address: str, reason: str) -> None:
        line = access_log.login_refused(
            trace_id="", event=iti8_patient_feed.NAME, peer=address, reason=reason, clause="ITI TF-2 3.19",
            particulars=Particulars(row="node authentication", process=process_id()),
        )
        with actor.database.write() as unit:
            unit.audit.append(line)

    def receive(message: bytes, caller: Caller, peer: Peer) -> bytes:
        began = time.perf_counter()
        answer = iti8_patient_feed.receive(actor, message, caller, peer)
        outcome = "answered" if b"\rMSA|AA|" in answer else "refused"
        meter.observe(iti8_patient_feed.NAME, outcome, time.perf_counter() - began)
        return answer

    return PatientFeed(receive=receive, admit=admit, refused=refused)
