"""Engines to actors, actors to services. The only place that knows all rooms.

Each ``build_*`` runs in the worker process that will serve, after the fork.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import record.td.app
import registry.app
import repository.app
import storage
from carnet import node
from carnet.acceptance import author_rule, takes_direct_registration, trust_of
from carnet.admin import Meter, Reporter
from carnet.affinity import domain_of, domain_source, policy_of
from carnet.audit_sender import AuditSender, Became, Outgoing, unchanged
from carnet.feeds import feed_rules, identity_sources, patient_feed
from carnet.gate import REGISTRY_NODE, REPOSITORY_NODE, TOKENS_NODE, SoftwareGate, revocation_teller, verifier_of
from carnet.keys import Following
from carnet.log_keeper import LogKeeper, emergency_notice, notices_waiting
from carnet.mllp import PatientFeed
from carnet.node import Calendar
from carnet.notices import notify_for_ever
from carnet.providers import providers_of
from carnet.records import described_records, describer, record_services, validate
from carnet.refusals import fault_logger, refusal_logger
from carnet.replies import deliveries_of
from carnet.retention import retain_for_ever
from carnet.settings import Settings
from carnet.syslog import Header, SyslogChannel
from carnet.workers import Workers
from guard.audit import access_log, atna
from guard.audit.particulars import process_id
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller
from registry import iti44_patient_feed_v3
from registry.actor import RegistryActor
from registry.shelf import Shelf
from repository import deposit
from repository.actor import RepositoryActor
from repository.digests import sinks
from repository.erase import erase
from repository.registry_link import RegistryUnavailable, SoapRegistryLink
from repository.sweep import sweep
from xds.ebxml import schema
from xds.errors import Actor
from xds.limits import Limits
from xds.wire.client import LocalTransport, SoapClient
from xds.wire.exchange import Exchange, Peer
from xds.wire.faults import FAILED_AUTHENTICATION, security_fault
from xds.wire.pace import paced
from xds.wire.service import SoapService

log = logging.getLogger("carnet.wiring")

REGISTRATIONS = {
    "urn:ihe:iti:2007:RegisterDocumentSet-b": "ITI-42",
    "urn:ihe:iti:2010:RegisterOnDemandDocumentEntry": "ITI-61",
}
"""Actions that only our own repositories may send, unless the registry takes direct registrations."""
LAST_WORDS = 3.0
"""Seconds a service that ends gives its last audit messages."""


ALONE = Workers()
"""One process that serves, and is the first."""


class AuditDatabase(Protocol):
    """Either actor's database, as far as its access log and its outbox are concerned."""

    def read(self) -> Any: ...

    def write(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Service:
    """One actor ready to be served.

    ``began`` and ``ended`` write the lines of start and stop; ``background`` runs in a thread as long as it serves.
    """

    app: SoapService
    meter: Meter
    ready: Callable[[], str]
    background: Callable[[], None]
    began: Callable[[], None]
    ended: Callable[[], None]
    feed: PatientFeed | None = None


def meter_of(workers: Workers) -> Meter:
    return Meter() if workers.is_first else Reporter(workers)


def writers_of(settings: Settings, name: str, workers: Workers) -> Path | None:
    """Where the workers of a service queue for its database; None for one alone, who queues with nobody."""
    return settings.data / f"{name}.writers" if workers.count > 1 else None


def limits_of(settings: Settings) -> Limits:
    return Limits(**settings.limits.model_dump())


def peer_of(environ: dict[str, Any]) -> Peer:
    """Address and verified certificate of the connection a request came on."""
    connection = environ.get("gunicorn.socket")
    certificate = connection.getpeercert(True) if isinstance(connection, ssl.SSLSocket) else None
    return Peer(address=environ.get("REMOTE_ADDR", ""), certificate=certificate)


# -- registry ------------------------------------------------------------------------------------------


def registry_actor(settings: Settings, workers: Workers = ALONE) -> RegistryActor:
    source = domain_source(settings)
    any_repository = source.current.any_repository and not settings.registry.repositories
    return RegistryActor(
        database=storage.open_registry(settings.registry_database, writers_of(settings, REGISTRY_NODE, workers)),
        domains=source,
        policy=policy_of(settings, source.current),
        repositories=frozenset() if any_repository else settings.known_repositories,
        max_results=settings.registry.max_results,
        feed=feed_rules(settings),
        author_rule=author_rule(settings, source.current),
    )


def registry_service(settings: Settings, actor: RegistryActor | None = None, workers: Workers = ALONE) -> Service:
    """The registry as a WSGI application."""
    actor = actor or registry_actor(settings, workers)
    meter = meter_of(workers)
    database: Any = actor.database
    tell = revocation_teller(database, REGISTRY_NODE, meter)
    verifier = verifier_of(settings, actor.domain, database.replay, tell, workers.alarm, workers.replay)
    feed = patient_feed(settings, actor, verifier, meter) if settings.registry.mllp_port else None

    meter.watch_codes(actor.domains)
    records = record_services(settings, actor)
    app = SoapService(
        transactions=[
            *registry.app.transactions(actor), *(record.td.app.transactions(records) if records else ()),
        ],
        paths=registry.app.PATHS | (record.td.app.PATHS if records else {}),
        authenticate=_asks_the_registry(settings, actor, verifier, SoftwareGate(settings, actor.domain, meter)),
        admit=lambda peer: verifier.admit(peer.certificate),
        begin_part=None,
        limits=limits_of(settings),
        validate=validate,
        on_fault=fault_logger(actor.database, "registry"),
        on_refused=refusal_logger(actor.database),
        describe=described_records(settings.registry_url, describer(Actor.REGISTRY, settings.registry_url)),
        title="Carnet document registry",
        is_ours=lambda peer: verifier.is_node(peer.certificate),
        deliveries=deliveries_of(settings, node.pair_files(settings, REGISTRY_NODE), meter),
        peer_of=peer_of,
        observe=paced(meter.observe),
        blocks=emergency_notice,
    )
    sender = audit_sender(settings, REGISTRY_NODE, actor.database, meter)
    keeper = LogKeeper(
        settings, REGISTRY_NODE, actor.database, watches=True, tell=meter.emergency_alert, failed=meter.log_failure
    )

    meter.watch_keys(settings, REGISTRY_NODE)

    def background() -> None:
        if not workers.is_first:
            return
        threading.Thread(target=keeper.run, name="log", daemon=True).start()
        threading.Thread(target=sender.run, name="audit", daemon=True).start()
        threading.Thread(target=Calendar(settings, REGISTRY_NODE).run, name="calendar", daemon=True).start()
        told = partial(notify_for_ever, settings, actor.database, actor.policy, Shelf.of(actor))
        threading.Thread(target=told, name="notices", daemon=True).start()
        retain_for_ever(settings, actor.database, other_logs(settings))

    meter.watch_notices(lambda: notices_waiting(actor.database))
    return Service(
        app,
        meter,
        ready=lambda: reads(actor.database),
        background=background,
        began=lambda: note(actor.database, REGISTRY_NODE, started=True),
        ended=lambda: end(actor.database, REGISTRY_NODE, sender, keeper),
        feed=feed,
    )


def _asks_the_registry(
    settings: Settings, actor: RegistryActor, verifier: Verifier, software: SoftwareGate
) -> Callable[[Exchange], Caller]:
    """Who may ask the registry what: each kind of caller at his door. The function raises SoapFault for others."""
    is_direct = takes_direct_registration(settings, actor.domain)
    sources = identity_sources(settings, actor.domain)

    def authenticate(exchange: Exchange) -> Caller:
        action = exchange.addressing.action
        from_node = verifier.is_node(exchange.peer.certificate)
        if exchange.endpoint.startswith("/internal/") and not from_node:
            raise security_fault(FAILED_AUTHENTICATION, "not one of our nodes", "node")
        if exchange.body.tag in iti44_patient_feed_v3.BODIES:
            return verifier.authenticate_system(exchange.peer.certificate, sources)
        if action.endswith((":Reconcile", ":Erasures")):
            return verifier.authenticate_node(exchange.peer.certificate)
        if from_node and action.endswith(":DeleteDocumentSet"):
            return verifier.authenticate_node(exchange.peer.certificate)
        if action in REGISTRATIONS and not from_node and not is_direct:
            detail = f"{REGISTRATIONS[action]} from a peer that is not one of our repositories"
            raise security_fault(FAILED_AUTHENTICATION, detail, "node")
        if verifier.is_node(exchange.on_behalf):
            raise security_fault(FAILED_AUTHENTICATION, "a node acts on behalf of a node", "node")
        own = None if action.endswith(":RetrieveDecision") else exchange.peer.certificate
        caller = verifier.authenticate(
            envelope=exchange.envelope, security=exchange.security, peer_certificate=exchange.on_behalf or own,
            trace_id=exchange.trace_id,
        )
        return software.check(caller, exchange.transaction)

    return authenticate


# -- repository ----------------------------------------------------------------------------------------


def link_of(settings: Settings, local: SoapService | None = None) -> SoapRegistryLink:
    """Over HTTPS with the repository's own certificate, or straight into a registry of this process."""
    if local is not None:
        own = node.pair_files(settings, REPOSITORY_NODE).certificate
        certificate = ssl.PEM_cert_to_DER_cert(_first_certificate(own))
        peer = Peer(address="local", certificate=certificate)
        return SoapRegistryLink(
            LocalTransport(local, peer, "https://localhost/services/registry"),
            LocalTransport(local, peer, "https://localhost/internal/registry"),
        )
    tls = node.client_tls(
        "link to the registry", node.pair_files(settings, REPOSITORY_NODE), settings.pki / "trust" / "ca.pem"
    )
    base, timeout = settings.registry_url, settings.repository.registry_timeout
    limits = limits_of(settings)
    return SoapRegistryLink(
        SoapClient(f"{base}/services/registry", tls, timeout=timeout, limits=limits),
        SoapClient(f"{base}/internal/registry", tls, timeout=timeout, limits=limits),
    )


def _first_certificate(file: Path) -> str:
    end = "-----END CERTIFICATE-----"
    return file.read_text("ascii").split(end, 1)[0] + end


def repository_actor(
    settings: Settings, link: SoapRegistryLink | None = None, workers: Workers = ALONE
) -> RepositoryActor:
    source = domain_source(settings)
    return RepositoryActor(
        unique_id=settings.repository.unique_id,
        database=storage.open_repository(
            settings.repository_database, writers_of(settings, REPOSITORY_NODE, workers)
        ),
        documents=storage.open_documents(settings.documents),
        registry=link or link_of(settings),
        domains=source,
        policy=policy_of(settings, source.current),
        max_documents=settings.repository.max_documents,
        providers=providers_of(settings, domain_of(settings)),
        keeps_snapshots=settings.repository.keep_snapshots,
        trust=trust_of(settings, source.current, alarm=workers.alarm),
        author_rule=author_rule(settings, source.current),
        cda_rule=settings.repository.cda,
        sources=frozenset(settings.repository.sources),
        under_way=workers.under_way,
    )


def repository_service(
    settings: Settings, actor: RepositoryActor | None = None, workers: Workers = ALONE
) -> Service:
    """The repository as a WSGI application."""
    actor = actor or repository_actor(settings, workers=workers)
    meter = meter_of(workers)
    database: Any = actor.database
    tell = revocation_teller(database, REPOSITORY_NODE, meter)
    verifier = verifier_of(settings, actor.domain, database.replay, tell, workers.alarm, workers.replay)
    software = SoftwareGate(settings, actor.domain, meter)

    def authenticate(exchange: Exchange) -> Caller:
        if exchange.addressing.action.endswith(":RemoveDocuments") and verifier.is_node(exchange.peer.certificate):
            return verifier.authenticate_node(exchange.peer.certificate)
        caller = verifier.authenticate(
            envelope=exchange.envelope, security=exchange.security, peer_certificate=exchange.peer.certificate,
            trace_id=exchange.trace_id,
        )
        return software.check(caller, exchange.transaction)

    def claim(exchange: Exchange) -> Caller:
        caller = verifier.claim(
            envelope=exchange.envelope, security=exchange.security, peer_certificate=exchange.peer.certificate,
            trace_id=exchange.trace_id,
        )
        return software.check(caller, exchange.transaction)

    meter.watch_codes(actor.domains)
    app = SoapService(
        transactions=repository.app.transactions(actor),
        paths=repository.app.PATHS,
        authenticate=authenticate,
        claim=claim,
        admit=lambda peer: verifier.admit(peer.certificate),
        begin_part=actor.documents.begin,
        foresee=sinks(actor.documents),
        limits=limits_of(settings),
        validate=schema.validate,
        on_fault=fault_logger(actor.database, "repository"),
        on_refused=refusal_logger(actor.database),
        describe=describer(Actor.REPOSITORY, settings.repository_url),
        title="Carnet document repository",
        deliveries=deliveries_of(settings, node.pair_files(settings, REPOSITORY_NODE), meter),
        peer_of=peer_of,
        observe=paced(meter.observe),
        blocks=emergency_notice,
    )
    sender = audit_sender(
        settings, REPOSITORY_NODE, actor.database, meter, workers, actor.under_way, partial(deposit.became, actor)
    )
    keeper = LogKeeper(settings, REPOSITORY_NODE, actor.database, failed=meter.log_failure)
    meter.watch_keys(settings, REPOSITORY_NODE)

    def background() -> None:
        if not workers.is_first:
            _refresh_for_ever(settings, actor)
        threading.Thread(target=sender.run, name="audit", daemon=True).start()
        threading.Thread(target=keeper.run, name="log", daemon=True).start()
        threading.Thread(target=Calendar(settings, REPOSITORY_NODE).run, name="calendar", daemon=True).start()
        _sweep_for_ever(settings, actor)

    return Service(
        app,
        meter,
        ready=lambda: reads(actor.database),
        background=background,
        began=lambda: note(actor.database, REPOSITORY_NODE, started=True),
        ended=lambda: end(actor.database, REPOSITORY_NODE, sender, keeper),
    )


def _refresh_for_ever(settings: Settings, actor: RepositoryActor) -> NoReturn:
    """The first worker sweeps: what another is still receiving must not look old to it."""
    while True:
        time.sleep(min(settings.repository.sweep_every, settings.repository.grace / 4))
        try:
            actor.documents.refresh_staging()
        except OSError as error:
            log.error("what is being received cannot be marked: %s", type(error).__name__)


def _sweep_for_ever(settings: Settings, actor: RepositoryActor) -> None:
    """Sweep at start and then every so often, as long as the worker lives."""
    while True:
        try:
            if erased := erase(actor):
                log.warning("erased %s documents of destroyed records", erased)
            done = sweep(actor, settings.repository.grace)
            if done.removed or done.orphans or done.staged:
                log.warning("swept %s unregistered, %s orphaned, %s staged", done.removed, done.orphans, done.staged)
        except RegistryUnavailable as error:
            log.info("sweep postponed: %s", error)
        except Exception:
            log.exception("sweep failed")
        time.sleep(settings.repository.sweep_every)


# -- audit ---------------------------------------------------------------------------------------------


def audit_node(settings: Settings) -> atna.Node:
    """How this installation names itself in audit messages."""
    at_registry = f"{settings.registry_url}/services/registry"
    at_repository = f"{settings.repository_url}/services/repository"
    return atna.Node(
        source_id=settings.audit.source_id,
        site=settings.audit.site,
        forwards=dict.fromkeys(("ITI-18", "ITI-42", "ITI-51", "ITI-61", "ITI-62"), at_registry)
        | dict.fromkeys(("ITI-41", "ITI-43", "ITI-86"), at_repository),
        endpoints={
            REGISTRY_NODE: settings.registry_url, REPOSITORY_NODE: settings.repository_url,
            TOKENS_NODE: settings.tokens_url,
        },
    )


def audit_sender(
    settings: Settings, name: str, database: AuditDatabase, meter: Meter, workers: Workers = ALONE,
    under_way: Collection[str] = (), became: Became = unchanged,
) -> AuditSender:
    """The sender of one service's outbox. Raises OSError when a key or certificate it needs cannot be read."""
    chosen = settings.audit
    outgoing = Outgoing(
        actor=name,
        node=audit_node(settings),
        header=Header(socket.gethostname(), chosen.app_name, str(os.getpid()), chosen.facility),
        under_way=under_way,
        became=became,
        processes=lambda: [process_id(pid) for pid in (os.getpid(), *workers.process_ids())],
        hold=settings.repository.registry_timeout + 10,
        retention=chosen.retention,
        tell=meter.audit,
    )
    channel = None
    if chosen.syslog_host:
        channel = SyslogChannel(chosen.syslog_host, chosen.syslog_port, syslog_tls(settings, name))
    return AuditSender(database, outgoing, channel)


def syslog_tls(settings: Settings, name: str) -> Following:
    """Mutual TLS with the receiver; ``anchors`` may hold its authority or its very certificate.

    Clause: ITI TF-2 3.19.6, 3.20.4.1.2
    """
    chosen = settings.audit

    def finish(context: ssl.SSLContext) -> None:
        context.check_hostname = chosen.verify_host
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    anchors = chosen.anchors or settings.pki / "trust" / "ca.pem"
    return node.client_tls("audit messages", node.audit_files(settings, name), anchors, finish)


def note(database: AuditDatabase, name: str, *, started: bool) -> None:
    """A service that cannot log does not start."""
    with database.write() as unit:
        unit.audit.append(access_log.service_act(name, started=started))


def end(database: AuditDatabase, name: str, sender: AuditSender, keeper: LogKeeper) -> None:
    try:
        note(database, name, started=False)
    except Exception as error:
        log.error("the end of the service is not in its log: %s", type(error).__name__)
    keeper.stop()
    sender.stop(LAST_WORDS)


def other_logs(settings: Settings) -> list[Callable[[], Any]]:
    """What opens the databases that hold traces of records, beside the registry's."""
    return [
        partial(storage.open_repository, settings.repository_database),
        partial(storage.open_tokens, settings.tokens_database),
    ]


# -- shared --------------------------------------------------------------------------------------------


def reads(database: Any) -> str:
    """ "" when the database answers, else what is wrong."""
    try:
        with database.read() as unit:
            next(unit.audit.read_latest(1), None)
    except Exception as error:
        return type(error).__name__
    return ""
