"""The verifier: from a message and its TLS certificate to a ``Caller``, or to a fault.

The steps carry the letters used in tests and in the audit:

====  =====================================================================  =======================================
tls   the peer shows a TLS client certificate that is believed                FailedAuthentication
a     hardened parsing, done by the wire layer                                (no security fault)
b, c  exactly one assertion, at its place; no other kind of token             InvalidSecurity, UnsupportedSecurityToken
d     the assertion alone, in a tree of its own, valid against the schema     InvalidSecurityToken
e     the form of its signature                                               FailedCheck, UnsupportedAlgorithm
g     the signing certificate; the issuer's name; who signed for whom         FailedAuthentication
f, h  the signature; from here on only the signed copy is read                FailedCheck
i j k version, times, conditions, audience                                    InvalidSecurityToken, MessageExpired, ...
l m   subject, authentication                                                 InvalidSecurityToken, FailedAuthentication
n     replay                                                                  FailedAuthentication
o     attributes                                                              InvalidSecurityToken
tls   the TLS certificate belongs to whom the assertion speaks for            FailedAuthentication
====  =====================================================================  =======================================

Step g stands before f: a key is used only once its certificate is accepted. Step p, what the caller may do, is not
decided here. Until the signature is verified a refusal says no more than its code; what then disagrees among the
caller's own claims is told to him with both values.

Clause: ITI TF-2 3.40.4.1.3; DMP VIHF 3.0, 4.0
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from lxml import etree

from guard.credentials import attributes, distinguished_name, portal, signature, statements, token, vihf, vouched
from guard.credentials.attributes import Attributes
from guard.credentials.caller import Caller, Mode
from guard.credentials.certificates import Accepted, CertificateRefused, Clock, TrustStore, Use, utc_now
from guard.credentials.identity import Kind
from guard.credentials.replay import ReplayKey, ReplayMemory, ReplayStore
from guard.credentials.rule import CredentialRule, Replay, Required
from guard.credentials.statements import Times
from guard.credentials.token import text
from guard.credentials.vouched import CancelledTokens
from xds.model.codes import Code
from xds.namespaces import SAML
from xds.wire.faults import FAILED_AUTHENTICATION, INVALID_SECURITY_TOKEN, SoapFault, claim_fault, security_fault

CLAIMS = 256
"""Claims remembered at most: whoever holds a certificate for TLS can make up any number."""
_INTERNAL_TO_STRUCTURE = {"1": "0", "3": "1", "4": "2", "5": "3", "6": "4"}
"""First digit of PS_IdNat given by a structure -> first digit of that structure's Struct_IdNat."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """A verified assertion, or a claim, worth remembering until ``until`` while the trust folder does not change."""

    caller: Caller
    until: datetime
    one_time: bool
    generation: int
    sha256: str
    """Of the signed bytes; "" of a claim, whose signature nobody here has verified."""
    is_token_service: bool


_Memory = OrderedDict[tuple[str, str], _Verified]
"""By SHA-256 of the assertion as it came, and of the certificate of the connection."""


class Verifier:
    """Applies one credential rule. Thread-safe; make one per process and share it.

    ``trusted_nodes`` names our own systems, by SHA-256 of their certificate (64 hexadecimal digits) or by the common
    name of a server certificate: they may forward the assertion of somebody else, and call internal transactions.
    ``cancelled`` is asked about assertions of the rule's token services; None where these take no token back.
    """

    def __init__(
        self,
        rule: CredentialRule,
        trust: TrustStore,
        *,
        trusted_nodes: frozenset[str] = frozenset(),
        clock: Clock = utc_now,
        replay: ReplayStore | None = None,
        cancelled: CancelledTokens | None = None,
        once: ReplayStore | None = None,
    ):
        """``once`` counts what may be shown once only, for all processes of a service; default: ``replay``, which
        remembers what else was shown, by default in this process alone.
        """
        self._rule = rule
        self._trust = trust
        self._nodes = trusted_nodes
        self._clock = clock
        self._replay: ReplayStore = replay or ReplayMemory()
        self._cancelled = cancelled
        self._once: ReplayStore = once or self._replay
        self._lock = threading.Lock()
        self._verified: _Memory = OrderedDict()
        self._claimed: _Memory = OrderedDict()

    def authenticate(
        self, *, envelope: etree._Element, security: etree._Element | None, peer_certificate: bytes | None,
        trace_id: str = "",
    ) -> Caller:
        """Who sends this message.

        ``envelope`` comes from the hardened parser, ``security`` is its ``wsse:Security`` block or None,
        ``peer_certificate`` the DER form of the TLS client certificate. ``trace_id`` is that of the request of the
        caller: one of our services that passes it on shows the assertion again for the same act. Raises SoapFault
        with a WS-Security code; its ``detail`` and ``step`` are for the audit only.
        """
        rule = self._rule
        if rule.required is Required.OFF:
            return Caller(identifier="", mode=Mode.OFF)
        peer = self._peer(peer_certificate)
        if rule.required is Required.TLS:
            return _tls_caller(peer)
        data, key, now = self._shown(envelope, security, peer)
        known = self._recall(self._verified, key, now)
        if known is not None:
            seen = (known.caller.issuer, known.caller.assertion_id)
            if known.is_token_service:
                self._check_cancelled(seen)
            self._check_replay(seen, known.sha256, known.until, now, trace_id, one_time=known.one_time)
            return known.caller
        generation = self._trust.generation
        verified = self._verify(data, peer, now, generation, trace_id)
        self._store(self._verified, rule.remember, key, verified)
        return verified.caller

    def claim(
        self, *, envelope: etree._Element, security: etree._Element | None, peer_certificate: bytes | None,
        trace_id: str = "",
    ) -> Caller:
        """Who this message says sends it: every step but the value of the signature (f) and what was shown before (n).

        For a service that hands the assertion on and answers nothing before another of ours has verified it. What
        serves once, and what binds nobody's connection to the name in it (plain XUA), is verified all the same. Raises
        SoapFault as ``authenticate`` does.
        """
        rule = self._rule
        fully = partial(
            self.authenticate, envelope=envelope, security=security, peer_certificate=peer_certificate,
            trace_id=trace_id,
        )
        if rule.required is not Required.ASSERTION or not rule.vihf or rule.replay is Replay.STRICT:
            return fully()
        peer = self._peer(peer_certificate)
        data, key, now = self._shown(envelope, security, peer)
        claim = self._recall(self._claimed, key, now)
        if claim is None:
            claim = self._verify(data, peer, now, self._trust.generation, is_claim=True)
            self._store(self._claimed, min(rule.remember, CLAIMS), key, claim)
        return fully() if claim.one_time else claim.caller

    def examine(self, assertion: etree._Element) -> Caller:
        """What an assertion says that was sent to be judged, not to be used: every step but those about its use (b and
        c, n, and who connects). Raises SoapFault.

        Clause: WS-Trust 1.3 7 (Validate)
        """
        data = token.serialise(assertion, self._rule.max_bytes)
        return self._verify(data, None, self._clock(), self._trust.generation).caller

    def admit(self, peer_certificate: bytes | None) -> None:
        """Refuse a peer that no message could make acceptable, before anything it sends is stored.

        Raises SoapFault as ``authenticate`` does for a connection without an acceptable certificate.
        """
        if self._rule.required is not Required.OFF:
            self._peer(peer_certificate)

    def authenticate_node(self, peer_certificate: bytes | None) -> Caller:
        """One of our own systems, for internal transactions. Raises SoapFault for anybody else.

        Asked for under every rule: a domain without credentials opens its services, never what lies behind them.
        """
        peer = self._peer(peer_certificate)
        if not self._is_node(peer):
            raise security_fault(FAILED_AUTHENTICATION, f"not one of our nodes: {peer.identity.common_name}", "tls")
        return Caller(
            identifier=peer.identity.common_name,
            mode=Mode.NODE,
            name=peer.identity.name,
            certificate_sha256=peer.sha256,
        )

    def is_node(self, peer_certificate: bytes | None) -> bool:
        """Whether it is the certificate of one of our own systems."""
        try:
            return peer_certificate is not None and self._is_node(self._trust.check(peer_certificate, Use.TLS_CLIENT))
        except CertificateRefused:
            return False

    def authenticate_system(self, peer_certificate: bytes | None, names: frozenset[str] | None) -> Caller:
        """A system by its certificate alone, for transactions without an assertion (identity feeds).

        ``names`` are the systems that may: common name of an organisation's certificate, or SHA-256 of any (64
        hexadecimal digits); None lets every accepted certificate in. Raises SoapFault for anybody else.
        Clause: ITI TF-2 3.19
        """
        if self._rule.required is Required.OFF:
            return Caller(identifier="", mode=Mode.OFF)
        peer = self._peer(peer_certificate)
        known_as = {peer.sha256, peer.identity.common_name if peer.kind is Kind.ORGANISATION else ""}
        if names is not None and not known_as & names:
            raise security_fault(
                FAILED_AUTHENTICATION, f"not a configured identity source: {peer.identity.common_name}", "tls"
            )
        return _tls_caller(peer)

    def _peer(self, der: bytes | None) -> Accepted:
        if der is None:
            raise security_fault(FAILED_AUTHENTICATION, "no TLS client certificate", "tls")
        try:
            return self._trust.check(der, Use.TLS_CLIENT)
        except CertificateRefused as error:
            raise security_fault(FAILED_AUTHENTICATION, f"TLS certificate: {error}", "tls") from error

    def _is_node(self, peer: Accepted) -> bool:
        by_name = peer.kind is Kind.ORGANISATION and peer.is_server and peer.identity.common_name in self._nodes
        return by_name or peer.sha256 in self._nodes

    def _verify(
        self, data: bytes, peer: Accepted | None, now: datetime, generation: int, trace_id: str = "", *,
        is_claim: bool = False,
    ) -> _Verified:
        """Steps d to o over an assertion seen for the first time; without ``peer`` it is not being used now."""
        rule, times = self._rule, Times(now, timedelta(seconds=self._rule.clock_skew))
        tree = token.reparse(data)
        use = Use.VIHF_SIGNATURE if rule.vihf else Use.TOKEN_SIGNATURE
        signed = signature.claim(tree, self._trust, use) if is_claim else signature.verify(tree, self._trust, use, now)
        root, signer = signed.root, signed.signer
        validity = statements.check_validity(root, rule, times)
        issuer = self._check_issuer(root, signer)
        name_id, confirmed_until = statements.check_subject(root, rule, times)
        authenticated_until = statements.check_authentication(root, rule, times)
        until = min(validity.until, authenticated_until, signer.until, confirmed_until or validity.until)
        assertion_id = str(root.get("ID"))
        seen = (issuer, assertion_id)
        if peer is not None:
            until = min(until, peer.until)
            if not is_claim:
                self._check_replay(seen, signed.sha256, until, now, trace_id, one_time=validity.one_time)
        said = attributes.read(root, rule)
        is_token_service = signer.sha256 in rule.token_services
        if is_token_service:
            self._check_cancelled(seen)
        connects = None if peer is None or self._is_node(peer) else peer
        if rule.vihf:
            _check_context(root, said.mode, rule)
            _check_name(name_id, rule)
            if is_token_service:
                vouched.check_statement(root, said)
                if connects is not None:
                    vouched.check_peer(root, name_id, said, connects)
            else:
                _check_binding(name_id, said, signer, rule)
                if connects is not None:
                    _check_peer(said, signer, connects)
            attributes.check_roles(said.roles, rule)
        elif signer.kind is Kind.PERSON and name_id != signer.identity.common_name:
            raise _refused("a person's card speaks for another person", "g")
        caller = _caller(
            name_id, said, signer, issuer=issuer, assertion_id=assertion_id, assertion=data,
            assertion_sha256=signed.sha256, authn_class=statements.authn_class(root),
            authn_declaration=statements.authn_declaration(root),
        )
        if rule.vihf and signer.sha256 in rule.portals:
            caller = portal.patient_at(caller, said)
        return _Verified(caller, until, validity.one_time, generation, signed.sha256, is_token_service)

    def _check_issuer(self, root: etree._Element, signer: Accepted) -> str:
        """The issuer named is the one that signed. Steps i and g."""
        element = root.find(f"{{{SAML}}}Issuer")
        issuer = text(element)
        if not self._rule.vihf:
            if self._rule.issuers and issuer not in self._rule.issuers:
                raise security_fault(FAILED_AUTHENTICATION, f"issuer is not configured: {issuer[:200]!r}", "g")
            return issuer
        if element is None or element.get("Format") != vihf.X509_SUBJECT:
            raise security_fault(INVALID_SECURITY_TOKEN, "Issuer is not in X509SubjectName form", "i")
        if issuer != signer.subject and not distinguished_name.same(issuer, signer.certificate.subject):
            raise _disagree(f"Issuer is {issuer[:200]!r}, the certificate that signed is of {signer.subject!r}")
        return issuer

    def _check_replay(
        self, key: ReplayKey, sha256: str, until: datetime, now: datetime, trace_id: str, *, one_time: bool
    ) -> None:
        """Step n."""
        once = one_time or self._rule.replay is Replay.STRICT
        times = (self._once if once else self._replay).show(key, sha256, until, now, trace_id)
        if times == 0:
            raise security_fault(FAILED_AUTHENTICATION, "two assertions of one issuer carry the same ID", "n")
        if once and times != 1:
            raise security_fault(FAILED_AUTHENTICATION, "assertion shown again", "n")

    def _check_cancelled(self, key: ReplayKey) -> None:
        if self._cancelled is not None:
            self._cancelled.check(key)

    def _shown(
        self, envelope: etree._Element, security: etree._Element | None, peer: Accepted
    ) -> tuple[bytes, tuple[str, str], datetime]:
        """The one assertion of a message by itself, its key in the memories, and the moment."""
        data = token.serialise(token.locate(envelope, security), self._rule.max_bytes)
        return data, (hashlib.sha256(data).hexdigest(), peer.sha256), self._clock()

    def _recall(self, memory: _Memory, key: tuple[str, str], now: datetime) -> _Verified | None:
        with self._lock:
            known = memory.get(key)
            if known is None:
                return None
            if now >= known.until or known.generation != self._trust.generation:
                del memory[key]
                return None
            memory.move_to_end(key)
            return known

    def _store(self, memory: _Memory, most: int, key: tuple[str, str], verified: _Verified) -> None:
        if not most:
            return
        with self._lock:
            memory[key] = verified
            memory.move_to_end(key)
            while len(memory) > most:
                memory.popitem(last=False)


def _check_context(root: etree._Element, mode: Mode, rule: CredentialRule) -> None:
    """How the person was authenticated fits the mode. Steps m and o. Clause: DMP VIHF authentication modes"""
    named = statements.authn_class(root)
    if mode is Mode.DIRECT and rule.direct_classes and named not in rule.direct_classes:
        raise claim_fault(
            FAILED_AUTHENTICATION, f"a card that signs for itself authenticates by {sorted(rule.direct_classes)}, "
            f"the assertion names {named!r}", "m",
        )
    if mode is Mode.REINFORCED_INDIRECT and not statements.authn_declaration(root):
        raise claim_fault(INVALID_SECURITY_TOKEN, f"{mode.value} needs an AuthnContextDecl", "o")


def _check_name(name_id: str, rule: CredentialRule) -> None:
    """Step l. Clause: DMP PS_IdNat"""
    if rule.person_forms is not None and not rule.person_forms.fullmatch(name_id):
        raise claim_fault(INVALID_SECURITY_TOKEN, f"NameID is {name_id!r}, which is no PS_IdNat", "l")


def _check_binding(name_id: str, said: Attributes, signer: Accepted, rule: CredentialRule) -> None:
    """Who signed may speak for whom the assertion names. Step g."""
    who = signer.identity
    if said.mode is Mode.DIRECT:
        if signer.kind is not Kind.PERSON:
            raise _disagree("Authentification_mode is DIRECTE, and the certificate that signed is no person's")
        if not who.common_name or name_id != who.common_name:
            raise _disagree(f"NameID is {name_id!r}, the card that signed is {who.common_name!r}")
        problem = _card_disagrees(said.roles, signer)
        if problem:
            raise _disagree(problem)
        return
    if signer.kind is not Kind.ORGANISATION:
        raise _disagree(f"Authentification_mode is {said.mode.value}, and a person's card signed")
    if not who.unit or not rule.structures.serves(who.unit, said.structure_id):
        raise _disagree(f"Identifiant_Structure is {said.structure_id!r}, the certificate that signed is of "
                        f"{who.unit!r}")
    if "/" in name_id and not any(_is_internal(name_id, one) for one in (said.structure_id, who.unit)):
        raise _disagree(f"NameID is {name_id!r}, which is internal to another structure than {said.structure_id!r}")


def _card_disagrees(roles: tuple[Code, ...], signer: Accepted) -> str:
    """Why the roles claimed are not those of the card, "" when they are.

    The profession comes first, and there is one: a student is no physician, nor the reverse. Staff cards carry none
    and may claim none.
    """
    who, carried = signer.identity, vihf.profession_of(signer.identity)
    professions = [role.key for role in roles if role.scheme in (vihf.PROFESSIONS, vihf.IN_TRAINING)]
    if carried is None:
        if professions:
            return f"role is {professions[0]!r}, the card carries no profession"
    elif roles[0].key != carried.key:
        return f"role is {roles[0].key!r}, the card's profession is {carried.key!r}"
    if len(professions) > 1:
        return "two professions are claimed"
    specialties = {role.code for role in roles if role.scheme == vihf.SPECIALTIES}
    if not specialties <= who.specialties:
        return f"specialties are {sorted(specialties)}, the card's are {sorted(who.specialties)}"
    return ""


def _is_internal(name_id: str, structure_id: str) -> bool:
    """Whether an identifier with a slash was given by that structure. Clause: DMP PS_IdNat, Struct_IdNat"""
    owner = name_id.partition("/")[0]
    if owner == structure_id:
        return True
    if not owner or _INTERNAL_TO_STRUCTURE.get(owner[0]) != structure_id[:1]:
        return False
    rank_follows = owner[0] == "6"
    return structure_id[1:].startswith(owner[1:]) if rank_follows else structure_id[1:] == owner[1:]


def _check_peer(said: Attributes, signer: Accepted, peer: Accepted) -> None:
    """The connection belongs to the person or the structure that signed. Rule: K-05"""
    if said.mode is Mode.DIRECT:
        same = peer.kind is Kind.PERSON and peer.identity.common_name == signer.identity.common_name
    else:
        same = peer.kind is Kind.ORGANISATION and peer.identity.unit == signer.identity.unit
    if not same:
        raise _refused("TLS certificate is not of the one who signed", "tls")


def _caller(name_id: str, said: Attributes, signer: Accepted, **told: Any) -> Caller:
    """``told`` are the fields that stand outside the attributes."""
    purpose = said.purposes[0].code if said.purposes else vihf.NORMAL.code
    return Caller(
        identifier=name_id,
        mode=said.mode,
        name=said.name or (signer.identity.name if said.mode is Mode.DIRECT else ""),
        profession=said.roles[0] if said.roles else None,
        specialty=said.roles[1] if len(said.roles) > 1 else None,
        structure_id=said.structure_id,
        structure_name=said.structure_name or signer.identity.organisation,
        sector=said.sector,
        purpose=purpose,
        purpose_code=said.purposes[0] if said.purposes else None,
        further_purposes=tuple(code for code in said.purposes[1:] if code.key != said.purposes[0].key),
        purpose_reason=said.purpose_reason,
        patient_id=said.patient_id,
        secret_connection=said.is_secret_connection,
        certificate_sha256=signer.sha256,
        software=said.software,
        software_version=said.software_version,
        software_id=said.software_id,
        homologation=said.homologation,
        user_profile=said.user_profile,
        vihf_version=said.version,
        **told,
    )


def _tls_caller(peer: Accepted) -> Caller:
    """What the certificate alone says; used where the domain asks for no assertion."""
    who = peer.identity
    is_person = peer.kind is Kind.PERSON
    subject = peer.certificate.subject
    return Caller(
        identifier=(who.common_name if is_person else who.unit or who.common_name) or distinguished_name.write(subject),
        mode=Mode.DIRECT if is_person else Mode.INDIRECT,
        name=who.name,
        profession=vihf.profession_of(who),
        structure_id="" if is_person else who.unit,
        structure_name=who.organisation,
        certificate_sha256=peer.sha256,
    )


def _refused(detail: str, step: str) -> SoapFault:
    return security_fault(FAILED_AUTHENTICATION, detail, step)


def _disagree(detail: str) -> SoapFault:
    """The caller's own claims contradict each other; both stand in what he sent."""
    return claim_fault(FAILED_AUTHENTICATION, detail, "g")
