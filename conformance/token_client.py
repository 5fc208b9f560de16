"""A client of a token service: asks for an assertion, has one judged, gives one back.

Clause: WS-Trust 1.3 4, 7, 8
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from guard.credentials import vihf
from guard.credentials.vihf import instant
from xds.namespaces import CLAIMS, SAML, WSA, WSP, WSSE, WST, WSU
from xds.wire.client import BadAnswer, SoapClient, Transport
from xds.wire.xml import escape_attribute, escape_text

SERVICE = "/services/tokens"
SAML2 = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLV2.0"
SAML_ID = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLID"
ID_TOKEN, ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:access_token"
ASSERTION = f"{{{SAML}}}Assertion"
OUR_SOFTWARE = {vihf.SOFTWARE_NAME: "Carnet", vihf.SOFTWARE_VERSION: "0.1", vihf.HOMOLOGATION: "CARNET-TEST"}
"""As our own assertions name it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a validation found; ``reason`` is "" for a valid token."""

    is_valid: bool
    reason: str


class TokenClient:
    """One token service, asked with one certificate. Raises FaultReceived, PeerUnreachable, BadAnswer."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    def at(cls, base_url: str, tls: ssl.SSLContext) -> TokenClient:
        """Over mutual TLS, at the base address of the service."""
        return cls(SoapClient(base_url + SERVICE, tls))

    def issue(
        self, claims: Mapping[str, str], *, id_token: str = "", access_token: str = "", applies_to: str = "",
        expires: datetime | None = None,
    ) -> bytes:
        """The signed assertion. ``claims`` are by URI; ``id_token`` is the login of the person asked for.

        The software named is this one, unless ``claims`` name another.
        """
        claims = OUR_SOFTWARE | dict(claims)
        asked = [f"<TokenType>{SAML2}</TokenType>"]
        if applies_to:
            asked.append(
                f'<wsp:AppliesTo xmlns:wsp="{WSP}"><wsa:EndpointReference xmlns:wsa="{WSA}"><wsa:Address>'
                f"{escape_text(applies_to)}</wsa:Address></wsa:EndpointReference></wsp:AppliesTo>"
            )
        inside = "".join(
            f'<c:ClaimType Uri="{escape_attribute(uri)}"><c:Value>{escape_text(value)}</c:Value></c:ClaimType>'
            for uri, value in claims.items()
        )
        asked.append(f'<Claims xmlns:c="{CLAIMS}">{inside}</Claims>')
        if expires is not None:
            asked.append(f'<Lifetime xmlns:u="{WSU}"><u:Expires>{instant(expires)}</u:Expires></Lifetime>')
        if id_token:
            tokens = _binary(ID_TOKEN, id_token) + (_binary(ACCESS_TOKEN, access_token) if access_token else "")
            asked.append(f"<OnBehalfOf>{tokens}</OnBehalfOf>")
        body = self._ask("Issue", "".join(asked).encode())
        found = body.findall(f".//{{{WST}}}RequestedSecurityToken/{ASSERTION}")
        if len(found) != 1:
            raise BadAnswer(f"the answer holds {len(found)} assertions")
        return etree.tostring(found[0], with_tail=False)

    def validate(self, assertion: bytes) -> Verdict:
        """Whether the services of that domain would believe it now."""
        body = self._ask("Validate", b"<ValidateTarget>" + assertion + b"</ValidateTarget>")
        code = body.findtext(f"{{{WST}}}Status/{{{WST}}}Code", "")
        reason = body.findtext(f"{{{WST}}}Status/{{{WST}}}Reason", "")
        return Verdict(code == f"{WST}/status/valid", reason)

    def cancel(self, token_id: str) -> None:
        """Take an assertion back that was issued to this certificate, by its ID."""
        reference = (
            f'<CancelTarget><w:SecurityTokenReference xmlns:w="{WSSE}"><w:KeyIdentifier ValueType="{SAML_ID}">'
            f"{escape_text(token_id)}</w:KeyIdentifier></w:SecurityTokenReference></CancelTarget>"
        )
        if self._ask("Cancel", reference.encode()).find(f"{{{WST}}}RequestedTokenCancelled") is None:
            raise BadAnswer("the answer does not say that the token is cancelled")

    def _ask(self, verb: str, asked: bytes) -> etree._Element:
        start = f'<RequestSecurityToken xmlns="{WST}"><RequestType>{WST}/{verb}</RequestType>'
        answer = self._transport.call(f"{WST}/RST/{verb}", [start.encode() + asked + b"</RequestSecurityToken>"])
        return answer.body


def _binary(kind: str, token: str) -> str:
    encoded = base64.b64encode(token.encode()).decode("ascii")
    return f'<w:BinarySecurityToken xmlns:w="{WSSE}" ValueType="{kind}">{encoded}</w:BinarySecurityToken>'
