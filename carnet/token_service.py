"""The token service put together: settings, keys and engine to an actor, the actor to a service."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from functools import partial
from pathlib import Path

import guard.tokens.app
import storage
from carnet import gate, node, openid_provider, wiring
from carnet.acceptance import credential_rule, trust_of
from carnet.admin import Meter
from carnet.affinity import domain_of
from carnet.keys import KeyTrouble
from carnet.log_keeper import LogKeeper
from carnet.records import Describe
from carnet.refusals import fault_logger
from carnet.settings import Settings
from guard.audit import access_log
from guard.credentials import vihf, vouched
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller
from guard.credentials.cards import KeyPair
from guard.credentials.openid import IssuerKeys, LoginRule, LoginVerifier
from guard.credentials.replay import ReplayKey
from guard.credentials.rule import CredentialRule, Required
from guard.tokens.actor import TokensActor
from guard.tokens.cancel import forget, publish
from xds.domain import AffinityDomain
from xds.ebxml import schema
from xds.model import Code
from xds.wire import tls
from xds.wire.exchange import Exchange
from xds.wire.pace import paced
from xds.wire.service import SoapService

log = logging.getLogger("carnet.tokens")

PUBLISH_EVERY, FORGET_EVERY = 5.0, 600.0
"""Seconds between two writings of the list of cancelled tokens, and between two looks for what has ended."""
_ACTIONS = {
    "Issue": access_log.TOKEN_ISSUED, "Validate": access_log.TOKEN_EXAMINED, "Cancel": access_log.TOKEN_CANCELLED,
}


def signer_of(settings: Settings) -> KeyPair:
    """The key that signs. Raises KeyTrouble with the remedy."""
    files = node.signer_files(settings)
    if not files.certificate.is_file():
        raise KeyTrouble(f"no {files.certificate}: run `carnet init --if-missing`, or set tokens.certificate")
    return files.read()


def actor_of(settings: Settings, meter: Meter) -> TokensActor:
    """Raises ValueError and OSError for settings that cannot work."""
    domain = domain_of(settings)
    rule = asked_rule(settings, domain)
    database = storage.open_tokens(settings.tokens_database)
    trust = trust_of(settings, domain, gate.revocation_teller(database, gate.TOKENS_NODE, meter))
    chosen = settings.tokens
    return TokensActor(
        database=database,
        rule=rule,
        verifier=Verifier(rule, trust, cancelled=gate.cancelled_tokens(settings, rule)),
        trust=trust,
        signer=signer_of(settings),
        purposes=_purposes(settings, domain),
        audiences=tuple(chosen.audiences or sorted(rule.audiences)),
        lifetime=chosen.lifetime,
        publish=partial(write_cancelled, settings.cancelled_tokens),
        logins=logins_of(settings),
        logins_once=chosen.login_once,
        login_class=chosen.login_class if ":" in chosen.login_class else vihf.CLASSES + chosen.login_class,
    )


def asked_rule(settings: Settings, domain: AffinityDomain) -> CredentialRule:
    """What an assertion must be where one is asked for, whatever the services ask for now."""
    rule = credential_rule(settings, domain)
    if rule.required is Required.ASSERTION:
        return rule
    forced = settings.model_copy(update={"domain": settings.domain.model_copy(update={"credentials": "assertion"})})
    return credential_rule(forced, domain)


def _purposes(settings: Settings, domain: AffinityDomain) -> tuple[Code, ...]:
    """The usual one first."""
    listed = domain.credentials.purposes
    keys = settings.credentials.purposes or list(listed)
    parted = ((key, *key.partition("^^")) for key in keys)
    return tuple(Code(code, scheme, listed.get(key, "")) for key, code, _, scheme in parted)


def logins_of(settings: Settings) -> LoginVerifier | None:
    """None where no issuer is set. Raises ValueError, OSError."""
    chosen = settings.tokens
    if not chosen.issuer:
        return None
    if not chosen.keys:
        raise ValueError("tokens.issuer needs tokens.keys, the issuer's keys (JWKS): an https address or a file")
    context = provider_tls(settings)
    openid_provider.is_address(chosen.keys)
    asks = bool(chosen.userinfo) and openid_provider.is_address(chosen.userinfo)
    if chosen.userinfo and not asks:
        raise ValueError("tokens.userinfo is no https address")
    rule = LoginRule(
        issuer=chosen.issuer,
        clients=frozenset((client, structure) for client, _, structure in (c.rpartition("=") for c in chosen.clients)),
        acr=frozenset(chosen.acr),
        clock_skew=settings.credentials.clock_skew,
        max_age=chosen.login_age,
    )
    keys = IssuerKeys(lambda: openid_provider.read(chosen.keys, context), keep=chosen.keys_kept)
    userinfo = (lambda token: openid_provider.ask(chosen.userinfo, context, token)) if asks else None
    return LoginVerifier(rule, keys, userinfo=userinfo)


def provider_tls(settings: Settings) -> ssl.SSLContext:
    """What the issuer of logins is asked with: its authorities are named, or ours."""
    return tls.calling(settings.tokens.provider_ca or settings.pki / "trust" / "ca.pem")


def write_cancelled(file: Path, keys: list[ReplayKey]) -> None:
    """The list the services look at: whole at every moment, and left alone when it says the same. Raises OSError."""
    data = vouched.listed(keys)
    if file.is_file() and file.read_bytes() == data:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with new.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


def token_service(settings: Settings) -> wiring.Service:
    """The token service as a WSGI application. Everybody connects with a certificate, in every domain."""
    meter = Meter()
    actor = actor_of(settings, meter)
    domain = domain_of(settings)
    peers = Verifier(CredentialRule(required=Required.TLS), actor.trust)

    def authenticate(exchange: Exchange) -> Caller:
        return peers.authenticate(envelope=exchange.envelope, security=None, peer_certificate=exchange.peer.certificate)

    app = SoapService(
        transactions=guard.tokens.app.transactions(actor),
        paths=guard.tokens.app.PATHS,
        authenticate=authenticate,
        admit=lambda peer: peers.admit(peer.certificate),
        limits=wiring.limits_of(settings),
        validate=schema.validate,
        on_fault=fault_logger(actor.database, gate.TOKENS_NODE, _named),
        describe=described(settings.tokens_url),
        title=f"Carnet token service, domain {domain.name}",
        peer_of=wiring.peer_of,
        observe=paced(meter.observe),
    )
    sender = wiring.audit_sender(settings, gate.TOKENS_NODE, actor.database, meter)
    keeper = LogKeeper(settings, gate.TOKENS_NODE, actor.database, failed=meter.log_failure)
    meter.watch_keys(settings, gate.TOKENS_NODE)

    def background() -> None:
        threading.Thread(target=sender.run, name="audit", daemon=True).start()
        threading.Thread(target=keeper.run, name="log", daemon=True).start()
        threading.Thread(target=node.Calendar(settings, gate.TOKENS_NODE).run, name="calendar", daemon=True).start()
        _look_after(actor)

    return wiring.Service(
        app,
        meter,
        ready=lambda: wiring.reads(actor.database),
        background=background,
        began=lambda: _begin(actor),
        ended=lambda: wiring.end(actor.database, gate.TOKENS_NODE, sender, keeper),
    )


def _named(exchange: Exchange) -> tuple[str, str]:
    verb = exchange.addressing.action.rpartition("/")[2]
    return f"WS-Trust {verb}", _ACTIONS[verb]


def _begin(actor: TokensActor) -> None:
    """The line of the start, and a list of cancelled tokens: while there is none no token of ours is believed."""
    wiring.note(actor.database, gate.TOKENS_NODE, started=True)
    publish(actor)


def _look_after(actor: TokensActor) -> None:
    """Write the list again and again, so that what another process took back is in it; forget what has ended."""
    forget_at = 0.0
    while True:
        try:
            publish(actor)
            if time.monotonic() >= forget_at:
                forget_at = time.monotonic() + FORGET_EVERY
                forget(actor)
        except Exception as error:
            log.error("the list of cancelled tokens is not looked after: %s", type(error).__name__)
        time.sleep(PUBLISH_EVERY)


def described(base_url: str) -> Describe:
    """Answers ``?wsdl`` and ``?xsd=name``."""

    def describe(path: str, query: str) -> tuple[str, bytes] | None:
        name, _, value = query.partition("=")
        endpoint = base_url + path
        document = schema.wsdl("tokens", endpoint) if name.lower() == "wsdl" else schema.xsd(value, endpoint)
        return None if document is None else ("text/xml; charset=utf-8", document)

    return describe
