"""Issue: a signed assertion for who connects, or for whom a structure presents the login of.

The assertion, the login that is used up, and the line of the access log are one transaction.

Clause: WS-Trust 1.3 4 (Issuance Binding); ITI TF-2 3.40 (X-Assertion Provider); DMP VIHF 1 (AIR)
"""

from __future__ import annotations

from datetime import datetime, timedelta

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.credentials import distinguished_name, vihf, xua
from guard.credentials.caller import Caller, Mode
from guard.tokens import request
from guard.tokens.actor import TokensActor
from guard.tokens.answer import issued
from guard.tokens.proof import Proven, prove
from guard.tokens.request import Request, fault, invalid, not_proven
from guard.tokens.store import IssuedToken
from xds.errors import ErrorCode
from xds.model.codes import Code
from xds.model.datatypes import Cx
from xds.namespaces import WST
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "WS-Trust Issue"


def transaction(actor: TokensActor) -> Transaction:
    """The verb, bound to one token service."""
    return Transaction(
        name=NAME,
        action=f"{WST}/RST/Issue",
        response_action=f"{WST}/RSTRC/IssueFinal",
        body=f"{{{WST}}}RequestSecurityToken",
        mtom=False,
        handle=lambda exchange: issue(actor, exchange),
        refuse=refuse,
        schema_error=None,
        internal_error=ErrorCode.XDSRegistryError,
    )


def refuse(_exchange: Exchange, _findings: object) -> Reply:
    """WS-Trust says no by a fault."""
    raise request.failed()


def issue(actor: TokensActor, exchange: Exchange) -> Reply:
    """Prove, write, sign, keep, answer. Rule: W-07, W-13"""
    asked = request.read(exchange.body, "Issue")
    proven = prove(actor, exchange, asked)
    purpose, reason = _purpose(actor, asked)
    patient_id, audience = _patient(asked), _audience(actor, asked)
    now = actor.clock()
    until = _until(actor, asked, now, actor.peer(exchange).until)
    issuer = distinguished_name.write(actor.signer.certificate.subject)
    if actor.rule.vihf:
        root = vihf.build(_statement(asked, proven, patient_id, purpose, reason), issuer, now=now, lifetime=until - now)
    else:
        root = xua.build(_user(proven, patient_id, purpose, audience), issuer, now=now, lifetime=until - now)
    assertion = vihf.sign(root, actor.signer)
    token_id = str(root.get("ID"))
    told = Caller(
        identifier=proven.name_id, mode=Mode.REINFORCED_INDIRECT, name=proven.name, profession=proven.roles[0],
        specialty=proven.roles[1] if len(proven.roles) > 1 else None, structure_id=proven.structure_id,
        structure_name=proven.structure_name, purpose=purpose.code, purpose_code=purpose, purpose_reason=reason,
        patient_id=patient_id, issuer=issuer, assertion_id=token_id,
    )
    line = access_log.token_act(
        told, trace_id=exchange.trace_id, event=NAME, action=access_log.TOKEN_ISSUED, detail=proven.told,
        peer=exchange.peer.address, particulars=particulars(exchange),
    )
    kept = IssuedToken(token_id=token_id, issuer=issuer, holder=proven.holder, until=int(until.timestamp()) + 1)
    with actor.database.write() as unit:
        if proven.login_sha256 and actor.logins_once:
            try:
                unit.tokens.use_login(proven.login_sha256, proven.login_until)
            except KeyError:
                raise not_proven("login: used before") from None
        unit.tokens.add(kept)
        unit.audit.append(line)
    return Reply([issued(asked, assertion, token_id, now, until)])


def _statement(asked: Request, proven: Proven, patient_id: str, purpose: Code, reason: str) -> vihf.Vihf:
    """The software named is the one that asks, never ourselves: registry and repository hold it against their register.

    Clause: DMP VIHF 1 (INDIRECTE_RENFORCEE, AuthnContextDecl), 3 (LPS_Nom, LPS_Version, LPS_ID_HOMOLOGATION_DMP)
    """
    named = (vihf.SOFTWARE_NAME, vihf.SOFTWARE_VERSION, vihf.HOMOLOGATION)
    if missing := [name for name in named if not asked.claims.get(name)]:
        raise invalid(f"Claims: {', '.join(missing)}: expected of the software that asks (DMP VIHF 3)")
    name, version, homologation = (asked.claims[name] for name in named)
    return vihf.Vihf(
        name_id=proven.name_id, mode=Mode.REINFORCED_INDIRECT, structure_id=proven.structure_id, roles=proven.roles,
        sector=proven.sector, subject_name=proven.name, patient_id=patient_id, purpose=purpose, purpose_reason=reason,
        context_class=proven.context_class, context_declaration=proven.context_declaration,
        authenticated_at=proven.authenticated_at, software_id=asked.claims.get(vihf.SOFTWARE_ID, ""),
        software_name=name, software_version=version, homologation=homologation,
    )


def _user(proven: Proven, patient_id: str, purpose: Code, audience: str) -> xua.UserAssertion:
    return xua.UserAssertion(
        name_id=proven.name_id, audiences=(audience,), roles=proven.roles, purposes=(purpose,),
        subject_name=proven.name, organisation=proven.structure_name, organisation_id="", patient_id=patient_id,
        context_class=proven.context_class, authenticated_at=proven.authenticated_at,
    )


def _purpose(actor: TokensActor, asked: Request) -> tuple[Code, str]:
    """Purpose of use and the reason for it. Rule: U-01"""
    purpose = actor.purpose(asked.claims.get(vihf.PURPOSE, ""))
    reason = asked.claims.get(vihf.PURPOSE_REASON, "")
    if actor.rule.vihf and purpose.code in actor.rule.reasons and not reason:
        raise invalid(f"{vihf.PURPOSE_REASON}: expected with purpose {purpose.code}: an access by emergency says why")
    return purpose, reason


def _patient(asked: Request) -> str:
    patient_id = asked.claims.get(vihf.RESOURCE_ID, "")
    if patient_id:
        try:
            Cx.parse(patient_id)
        except ValueError as error:
            raise invalid(f"{vihf.RESOURCE_ID}: expected a patient identifier (CX): {error}") from None
    return patient_id


def _audience(actor: TokensActor, asked: Request) -> str:
    """One of the addresses tokens are issued for. The VIHF carries none, so there it is only checked.

    Rule: W-09
    Clause: WS-Trust 1.3 4.2.1; DMP VIHF 2 (AudienceRestriction must not be filled)
    """
    if asked.applies_to and asked.applies_to not in actor.audiences:
        raise fault("InvalidScope", f"AppliesTo: found {asked.applies_to[:200]!r}, for which no tokens are issued here")
    if asked.applies_to or actor.rule.vihf:
        return asked.applies_to
    if len(actor.audiences) != 1:
        raise invalid(f"AppliesTo: expected one of {', '.join(actor.audiences)} (WS-Trust 1.3 4.2.1)")
    return actor.audiences[0]


def _until(actor: TokensActor, asked: Request, now: datetime, peer_until: datetime) -> datetime:
    """The end asked for, or earlier: what the service gives at most, and the ends of both certificates."""
    most = now + timedelta(seconds=min(actor.lifetime, actor.rule.max_lifetime))
    until = min(most, peer_until, actor.signer.certificate.not_valid_after_utc)
    if asked.expires is not None:
        if asked.expires <= now:
            raise fault("InvalidTimeRange", "Lifetime/Expires: expected a time to come (WS-Trust 1.3 4.1)")
        until = min(until, asked.expires)
    if until <= now:
        raise request.failed("a certificate has run out")
    return until.replace(microsecond=until.microsecond // 1000 * 1000)
