"""How the token service answers. The assertion goes out as the very bytes that were signed.

Clause: WS-Trust 1.3 4.3, 4.4.3, 7, 8
"""

from __future__ import annotations

from datetime import datetime

from guard.credentials.vihf import instant
from guard.tokens.request import BEARER, SAML2, SAML_ID, STATUS, Request
from xds.namespaces import WSA, WSP, WSSE, WSSE11, WST, WSU
from xds.wire.xml import escape_attribute, escape_text

VALID, INVALID = f"{WST}/status/valid", f"{WST}/status/invalid"


def issued(asked: Request, assertion: bytes, token_id: str, now: datetime, until: datetime) -> bytes:
    """RequestSecurityTokenResponseCollection with one token."""
    applies_to = ""
    if asked.applies_to:
        applies_to = (
            f'<wsp:AppliesTo xmlns:wsp="{WSP}"><wsa:EndpointReference xmlns:wsa="{WSA}"><wsa:Address>'
            f"{escape_text(asked.applies_to)}</wsa:Address></wsa:EndpointReference></wsp:AppliesTo>"
        )
    reference = (
        f'<wsse:SecurityTokenReference xmlns:wsse="{WSSE}" xmlns:wsse11="{WSSE11}" wsse11:TokenType="{SAML2}">'
        f'<wsse:KeyIdentifier ValueType="{SAML_ID}">{token_id}</wsse:KeyIdentifier></wsse:SecurityTokenReference>'
    )
    before = f"<TokenType>{SAML2}</TokenType><RequestedSecurityToken>"
    after = (
        f"</RequestedSecurityToken>{applies_to}"
        f"<RequestedAttachedReference>{reference}</RequestedAttachedReference>"
        f"<RequestedUnattachedReference>{reference}</RequestedUnattachedReference>"
        f'<Lifetime xmlns:wsu="{WSU}"><wsu:Created>{instant(now)}</wsu:Created>'
        f"<wsu:Expires>{instant(until)}</wsu:Expires></Lifetime><KeyType>{BEARER}</KeyType>"
    )
    one = _response(asked, before.encode() + assertion + after.encode())
    return (
        f'<RequestSecurityTokenResponseCollection xmlns="{WST}">'.encode() + one
        + b"</RequestSecurityTokenResponseCollection>"
    )


def status(asked: Request, reason: str) -> bytes:
    """What a validation found; ``reason`` is "" for a valid token."""
    code = INVALID if reason else VALID
    told = f"<Reason>{escape_text(reason)}</Reason>" if reason else ""
    return _response(asked, f"<TokenType>{STATUS}</TokenType><Status><Code>{code}</Code>{told}</Status>".encode())


def cancelled(asked: Request) -> bytes:
    return _response(asked, b"<RequestedTokenCancelled/>")


def _response(asked: Request, inside: bytes) -> bytes:
    context = f' Context="{escape_attribute(asked.context)}"' if asked.context else ""
    start = f'<RequestSecurityTokenResponse xmlns="{WST}"{context}>'
    return start.encode() + inside + b"</RequestSecurityTokenResponse>"
