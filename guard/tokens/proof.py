"""Who is to be named in a token, and by what proof: his card, or a login that his structure presents.

Clause: DMP VIHF 1, 3, 4; ITI TF-2 3.40.4.1.2; Pro Santé Connect
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from guard.credentials import pro_sante, vihf
from guard.credentials.certificates import Accepted
from guard.credentials.identity import Kind
from guard.credentials.openid import LoginRefused, LoginVerifier, ProviderUnavailable
from guard.credentials.vouched import BROWSER_LOGIN
from guard.tokens.actor import TokensActor
from guard.tokens.request import NONCE, Request, failed, fault, invalid, not_proven
from xds.model.codes import Code
from xds.wire.exchange import Exchange
from xds.wire.faults import SoapFault

STAFF = Code("SECRETARIAT_MEDICAL", "1.2.250.1.213.1.1.4.6", "Secrétariat médical")
"""Role of a card without a profession that asks for none. Clause: DMP VIHF role (TRE_A00)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A person, as what and where. ``sector`` is ``code^OID``. ``holder`` may use the token and take it back."""

    name_id: str
    name: str
    roles: tuple[Code, ...]
    structure_id: str
    structure_name: str
    sector: str
    authenticated_at: datetime
    context_class: str
    context_declaration: str
    holder: str
    told: str
    """How it was proven, for the log"""
    login_sha256: str = ""
    login_until: int = 0


class _All:
    """Every value is among these."""

    def __contains__(self, _: object) -> bool:
        return True


def accepted_roles(actor: TokensActor) -> Container[str]:
    return actor.rule.roles or _All()


def holder_of(peer: Accepted) -> str:
    """``person:PS_IdNat`` or ``structure:Struct_IdNat`` of a certificate. Raises SoapFault for any other."""
    who = peer.identity
    if peer.kind is Kind.PERSON and who.common_name:
        return f"person:{who.common_name}"
    if peer.kind is Kind.ORGANISATION and who.unit:
        return f"structure:{who.unit}"
    raise fault("FailedAuthentication", "Tokens are for persons and structures", "the certificate names neither")


def prove(actor: TokensActor, exchange: Exchange, asked: Request) -> Proven:
    """By the login that was sent, else by the card that connects. Raises SoapFault. Rule: W-01, W-02"""
    peer = actor.peer(exchange)
    holder = holder_of(peer)
    if asked.id_token:
        if peer.kind is not Kind.ORGANISATION:
            raise not_proven("a login presented by a person's card, not by a structure")
        return _by_login(actor, peer, asked, holder)
    if peer.kind is not Kind.PERSON:
        raise invalid("OnBehalfOf: a structure asks for a person, and sends the login (WS-Trust 1.3 4.1)")
    return _by_card(actor, peer, asked, holder)


def _by_card(actor: TokensActor, peer: Accepted, asked: Request, holder: str) -> Proven:
    """The card has said who holds it; the holder says where she works, as in direct mode."""
    who, french = peer.identity, actor.rule.vihf
    structure_id, sector = asked.claims.get(vihf.STRUCTURE, ""), asked.claims.get(vihf.SECTOR, "")
    if french and not (structure_id and sector):
        raise invalid(f"Claims: {vihf.STRUCTURE} and {vihf.SECTOR} are missing (DMP VIHF 3)")
    roles = _card_roles(peer, asked.claims.get(vihf.ROLE, ""), accepted_roles(actor))
    return Proven(
        name_id=who.common_name, name=who.name, roles=roles, structure_id=structure_id,
        structure_name=who.organisation, sector=sector, authenticated_at=actor.clock(),
        context_class=vihf.SMARTCARD_PKI, context_declaration=vihf.SMARTCARD_PKI, holder=holder, told="by card",
    )


def _card_roles(peer: Accepted, asked: str, accepted: Container[str]) -> tuple[Code, ...]:
    """Profession and specialties of the card; one without a profession takes a role that is none."""
    role = vihf.profession_of(peer.identity)
    if role is None:
        code, _, scheme = asked.partition("^^")
        role = Code(code, scheme) if asked else STAFF
        if role.scheme in ("", vihf.PROFESSIONS, vihf.IN_TRAINING):
            raise _no_role(asked, "a profession is asked for that the card does not carry")
    if role.key not in accepted:
        raise _no_role(role.key, "no role of the domain fits the card")
    specialties = (Code(value, vihf.SPECIALTIES, value) for value in sorted(peer.identity.specialties))
    return (role, *(code for code in specialties if code.key in accepted))


def _no_role(found: str, detail: str) -> SoapFault:
    told = f"role: found {found[:100]!r}, expected one of the domain that the card carries (DMP VIHF 3)"
    return fault("InvalidRequest", told, detail)


def _by_login(actor: TokensActor, peer: Accepted, asked: Request, holder: str) -> Proven:
    """The structure that connects presents it; she is to practise there."""
    claims, structure_id = asked.claims, peer.identity.unit
    if actor.logins is None:
        raise fault("RequestFailed", "No logins are taken here", "no OpenID provider is configured")
    if claims.get(vihf.STRUCTURE, structure_id) != structure_id:
        raise invalid(f"{vihf.STRUCTURE}: expected the structure that connects (DMP VIHF 3)")
    try:
        return _read_login(actor, actor.logins, peer, asked, holder)
    except LoginRefused as error:
        raise not_proven(f"login: {error}") from None
    except ProviderUnavailable as error:
        raise failed(f"login: {error}") from None


def _read_login(
    actor: TokensActor, logins: LoginVerifier, peer: Accepted, asked: Request, holder: str
) -> Proven:
    claims, structure_id = asked.claims, peer.identity.unit
    login = logins.verify(
        asked.id_token, structure_id=structure_id, access_token=asked.access_token, nonce=claims.get(NONCE, "")
    )
    person = pro_sante.read(login.claims)
    role = claims.get(vihf.ROLE, "").partition("^^")[0]
    practice = pro_sante.chosen(person, structure_id, role=role, sector=claims.get(vihf.SECTOR, ""))
    return Proven(
        name_id=person.identifier, name=practice.name, roles=practice.roles(accepted_roles(actor)),
        structure_id=structure_id, structure_name=peer.identity.organisation, sector=practice.sector,
        authenticated_at=login.authenticated_at, context_class=actor.login_class, context_declaration=BROWSER_LOGIN,
        holder=holder, told=f"by login, client {login.client_id}", login_sha256=login.sha256,
        login_until=int(login.until.timestamp()) + 1,
    )
