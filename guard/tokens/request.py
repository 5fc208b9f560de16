"""What is asked for: a RequestSecurityToken as plain values, and the faults of WS-Trust.

The schema has bounded every text and has seen each element at most once.

Clause: WS-Trust 1.3 3.1, 4.1, 7, 8, 11
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lxml import etree

from guard.credentials import vihf
from xds.namespaces import CLAIMS, SAML, WSA, WSP, WSP15, WSSE, WST, WSU
from xds.wire.faults import RECEIVER, SENDER, SoapFault

SAML2 = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLV2.0"
SAML_ID = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLID"
STATUS = f"{WST}/RSTR/Status"
BEARER = f"{WST}/Bearer"
DIALECT = "http://docs.oasis-open.org/wsfed/authorization/200706/authclaims"
BASE64 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
ID_TOKEN, ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:access_token"
"""Kinds of a BinarySecurityToken. Clause: RFC 8693 3"""
NONCE = "urn:carnet:tokens:2026:nonce"
"""Claim: the nonce of the authentication request, to be compared with that of the ID token."""
KNOWN_CLAIMS = frozenset(
    {
        vihf.RESOURCE_ID, vihf.PURPOSE, vihf.PURPOSE_REASON, vihf.STRUCTURE, vihf.SECTOR, vihf.ROLE, NONCE,
        vihf.SOFTWARE_NAME, vihf.SOFTWARE_VERSION, vihf.HOMOLOGATION, vihf.SOFTWARE_ID,
    }
)
"""Named as the attributes they become."""
ASSERTION = f"{{{SAML}}}Assertion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; "", None or empty where it says nothing. ``claims`` are by URI."""

    context: str = ""
    applies_to: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)
    expires: datetime | None = None
    id_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    target_id: str = ""
    """ID of the assertion to judge or to take back"""
    target: etree._Element | None = None
    """That assertion, where it was sent whole"""


def read(body: etree._Element, verb: str) -> Request:
    """The request of one verb (``Issue``, ``Validate``, ``Cancel``). Raises SoapFault."""
    if (kind := body.findtext(f"{{{WST}}}RequestType", "").strip()) != f"{WST}/{verb}":
        raise invalid(f"RequestType: found {kind[:200]!r}, expected {WST}/{verb} like the action (WS-Trust 1.3 3.1)")
    _check_types(body, verb)
    targets = {name: body.find(f"{{{WST}}}{name}Target") for name in ("Validate", "Cancel")}
    for name, found in targets.items():
        if (found is not None) != (name == verb):
            raise invalid(f"{name}Target: expected in a request of type {name} and in no other (WS-Trust 1.3 7, 8)")
    target = targets.get(verb)
    whole = None if target is None else target.find(ASSERTION)
    if target is not None and whole is None and target[0].tag.startswith(f"{{{SAML}}}"):
        raise invalid(f"{verb}Target: expected a SAML 2.0 Assertion (WS-Trust 1.3 7, 8)")
    id_token, access_token = _login(body)
    return Request(
        context=body.get("Context", ""),
        applies_to=_applies_to(body),
        claims=_claims(body),
        expires=_expires(body),
        id_token=id_token,
        access_token=access_token,
        target=whole,
        target_id=_target_id(target, whole),
    )


def _check_types(body: etree._Element, verb: str) -> None:
    accepted = {"", SAML2, SAML} if verb != "Validate" else {"", SAML2, SAML, STATUS}
    if (found := body.findtext(f"{{{WST}}}TokenType", "").strip()) not in accepted:
        raise fault("RequestFailed", f"TokenType: found {found[:200]!r}, expected {SAML2} (WS-Trust 1.3 3.1)")
    if (found := body.findtext(f"{{{WST}}}KeyType", "").strip()) not in ("", BEARER):
        raise fault("RequestFailed", f"KeyType: found {found[:200]!r}, expected {BEARER} (WS-Trust 1.3 9.2)")


def _applies_to(body: etree._Element) -> str:
    found = [
        (each.findtext(f"{{{WSA}}}EndpointReference/{{{WSA}}}Address") or "").strip()
        for namespace in (WSP, WSP15) for each in body.findall(f"{{{namespace}}}AppliesTo")
    ]
    if len(found) > 1:
        raise invalid("AppliesTo: expected once (WS-Trust 1.3 4.2.1)")
    return found[0] if found else ""


def _claims(body: etree._Element) -> dict[str, str]:
    holder = body.find(f"{{{WST}}}Claims")
    if holder is None:
        return {}
    if (dialect := holder.get("Dialect", DIALECT)) != DIALECT:
        raise invalid(f"Claims/@Dialect: found {dialect[:200]!r}, expected {DIALECT} (WS-Trust 1.3 4.1)")
    claims: dict[str, str] = {}
    for claim in holder.iterfind(f"{{{CLAIMS}}}ClaimType"):
        uri = claim.get("Uri", "")
        if uri not in KNOWN_CLAIMS:
            if claim.get("Optional") in ("true", "1"):
                continue
            raise invalid(f"Claims: found {uri[:200]!r}, expected one of {', '.join(sorted(KNOWN_CLAIMS))}")
        if uri in claims:
            raise invalid(f"Claims: {uri} is there twice")
        value = (claim.findtext(f"{{{CLAIMS}}}Value") or "").strip()
        if not value.isprintable():
            raise invalid(f"Claims: {uri} holds more than text")
        claims[uri] = value
    return claims


def _expires(body: etree._Element) -> datetime | None:
    """When the caller wants the token to end. When it begins is for us to say: now."""
    text = body.findtext(f"{{{WST}}}Lifetime/{{{WSU}}}Expires", "").strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise fault("InvalidTimeRange", "Lifetime/Expires: expected a time with its zone (WS-Trust 1.3 4.1)") from None
    if moment.tzinfo is None:
        raise fault("InvalidTimeRange", "Lifetime/Expires: expected a time with its zone (WS-Trust 1.3 4.1)")
    return moment.astimezone(UTC)


def _login(body: etree._Element) -> tuple[str, str]:
    """ID token and access token of OnBehalfOf."""
    found: dict[str, str] = {}
    for token in body.iterfind(f"{{{WST}}}OnBehalfOf/{{{WSSE}}}BinarySecurityToken"):
        kind, encoding = token.get("ValueType", ""), token.get("EncodingType", BASE64)
        if kind not in (ID_TOKEN, ACCESS_TOKEN) or kind in found or encoding != BASE64:
            raise invalid(
                f"OnBehalfOf: expected one BinarySecurityToken of type {ID_TOKEN} and at most one of type "
                f"{ACCESS_TOKEN}, in base64 (WS-Trust 1.3 4.1)"
            )
        found[kind] = _decoded((token.text or "").strip())
    if found and ID_TOKEN not in found:
        raise invalid(f"OnBehalfOf: expected a BinarySecurityToken of type {ID_TOKEN} (WS-Trust 1.3 4.1)")
    return found.get(ID_TOKEN, ""), found.get(ACCESS_TOKEN, "")


def _decoded(text: str) -> str:
    """Tolerated: a token with its dots, because some clients take its base64url for the encoding asked for."""
    if "." in text:
        return text
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise invalid("OnBehalfOf: BinarySecurityToken is not base64 (WS-Trust 1.3 4.1)") from None


def _target_id(target: etree._Element | None, whole: etree._Element | None) -> str:
    if target is None:
        return ""
    if whole is not None:
        return str(whole.get("ID", ""))[:256]
    identifier = target.find(f"{{{WSSE}}}SecurityTokenReference/{{{WSSE}}}KeyIdentifier")
    if identifier is None or identifier.get("ValueType") != SAML_ID:
        raise invalid(f"SecurityTokenReference: expected a KeyIdentifier of type {SAML_ID} (WS-Trust 1.3 7, 8)")
    return (identifier.text or "").strip()


# -- faults ------------------------------------------------------------------------------------------------------------


def fault(code: str, reason: str, detail: str = "") -> SoapFault:
    """A fault of WS-Trust, the sender's. ``reason`` goes to the caller, ``detail`` to the audit alone.

    Clause: WS-Trust 1.3 11
    """
    return SoapFault(SENDER, reason, subcode=(WST, code), detail=detail)


def invalid(reason: str) -> SoapFault:
    return fault("InvalidRequest", reason)


def not_proven(detail: str) -> SoapFault:
    """A login that is not believed: one answer for every cause. Rule: W-08"""
    return fault("FailedAuthentication", "The login could not be verified", detail)


def failed(detail: str = "") -> SoapFault:
    """Something failed here, not at the caller."""
    return SoapFault(RECEIVER, "The token service cannot answer now", subcode=(WST, "RequestFailed"), detail=detail)
