"""A real OpenID provider for tests: the library idpyoidc behind HTTPS on this machine, in a thread of this process.

It publishes its metadata and keys, logs the one user in that it is told to (``provider.user``), and gives out codes,
ID tokens, access tokens and userinfo. ``login`` walks through it as a browser and the software behind it would:
authorization code with PKCE, a fixed number of requests, no redirection followed blindly.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPErrorProcessor, HTTPSHandler, Request, build_opener

import trustme
from idpyoidc.server import Server
from idpyoidc.server.configure import OPConfiguration
from idpyoidc.server.user_authn.user import NoAuthn
from idpyoidc.server.user_info import UserInfo
from idpyoidc.time_util import utc_time_sans_frac

CALLBACK = "https://software.invalid/callback"
KEYS = [{"type": "RSA", "use": ["sig"], "size": 2048}, {"type": "EC", "crv": "P-256", "use": ["sig"]}]
PEOPLE: dict[str, dict[str, Any]] = {}
"""Claims by user."""
_NOW: dict[str, str] = {"user": ""}
"""Who is at the browser."""


class AtTheBrowser(NoAuthn):
    """The person at the browser has proven herself; how is not for this provider's tests."""

    def authenticated_as(self, client_id: str = "", cookie: Any = None, authorization: str = "", **_: Any) -> Any:
        return {"uid": _NOW["user"]}, utc_time_sans_frac()


def configuration(issuer: str, folder: Path) -> dict[str, Any]:
    """One provider with code flow, PKCE and the levels eidas0 and eidas1."""
    minted = ["access_token", "refresh_token", "id_token"]
    return {
        "issuer": issuer,
        "httpc_params": {"verify": True, "timeout": 2},
        "key_conf": {"key_defs": KEYS, "uri_path": "jwks.json"},
        "scopes_supported": ["openid", "profile", "scope_all"],
        "scopes_to_claims": {
            "openid": ["sub"],
            "profile": ["given_name", "family_name"],
            "scope_all": ["SubjectNameID", "SubjectRole", "SubjectRefPro", "given_name", "family_name"],
        },
        "token_handler_args": {
            "key_conf": {"key_defs": [{"type": "oct", "bytes": 24, "use": ["enc"], "kid": "code"}]},
            "code": {"lifetime": 60, "kwargs": {"crypt_conf": {"kwargs": {"keys": {"key_defs": [
                {"type": "OCT", "use": ["enc"], "kid": "password"}, {"type": "OCT", "use": ["enc"], "kid": "salt"},
            ]}, "iterations": 1}}}},
            "token": {
                "class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": 300, "aud": [issuer]},
            },
            "id_token": {"class": "idpyoidc.server.token.id_token.IDToken", "kwargs": {
                "lifetime": 300, "base_claims": {"acr": None, "auth_time": None, "SubjectNameID": None},
            }},
        },
        "endpoint": {
            "provider_config": {
                "path": ".well-known/openid-configuration",
                "class": "idpyoidc.server.oidc.provider_config.ProviderConfiguration", "kwargs": {},
            },
            "authorization": {
                "path": "authorization", "class": "idpyoidc.server.oidc.authorization.Authorization",
                "kwargs": {"response_types_supported": ["code"], "claims_parameter_supported": True},
            },
            "token": {
                "path": "token", "class": "idpyoidc.server.oidc.token.Token",
                "kwargs": {"client_authn_method": ["client_secret_basic"]},
            },
            "userinfo": {
                "path": "userinfo", "class": "idpyoidc.server.oidc.userinfo.UserInfo",
                "kwargs": {"client_authn_method": ["bearer_header"]},
            },
        },
        "add_ons": {"pkce": {
            "function": "idpyoidc.server.oauth2.add_on.pkce.add_support",
            "kwargs": {"essential": True},
        }},
        "authentication": {
            "card": {"acr": "eidas1", "class": AtTheBrowser, "kwargs": {"user": ""}},
            "weak": {"acr": "eidas0", "class": AtTheBrowser, "kwargs": {"user": ""}},
        },
        "userinfo": {"class": UserInfo, "kwargs": {"db": PEOPLE}},
        "authz": {"class": "idpyoidc.server.authz.AuthzHandling", "kwargs": {"grant_config": {
            "usage_rules": {
                "authorization_code": {"supports_minting": minted, "max_usage": 1, "expires_in": 60},
                "access_token": {"expires_in": 300}, "refresh_token": {"supports_minting": minted},
            },
            "expires_in": 3600,
        }}},
        "session_params": {"encrypter": {"kwargs": {"keys": {"key_defs": [
            {"type": "OCT", "use": ["enc"], "kid": "password"}, {"type": "OCT", "use": ["enc"], "kid": "salt"},
        ]}, "iterations": 1}}},
    }


@dataclass
class Provider:
    """The running provider. ``ca_file`` vouches for its TLS certificate."""

    issuer: str
    ca_file: Path
    server: Any
    http: ThreadingHTTPServer
    asked: list[str] = field(default_factory=list)
    """Paths that were asked for."""
    down: bool = False

    @classmethod
    def start(cls, folder: Path) -> Provider:
        authority = trustme.CA()
        ca_file = folder / "provider-ca.pem"
        authority.cert_pem.write_to_path(ca_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        issuer = f"https://localhost:{http.server_address[1]}"
        server = Server(OPConfiguration(configuration(issuer, folder), base_path=str(folder)), cwd=str(folder))
        server.context.userinfo.db = PEOPLE  # the configuration was copied
        made = cls(issuer, ca_file, server, http)
        http.provider = made  # type: ignore[attr-defined]
        threading.Thread(target=http.serve_forever, name="provider", daemon=True).start()
        return made

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def register(self, client_id: str) -> str:
        """A client of the provider; returns its secret."""
        secret = secrets.token_urlsafe(24)
        self.server.context.cdb[client_id] = {
            "client_id": client_id, "client_secret": secret, "redirect_uris": [(CALLBACK, {})],
            "token_endpoint_auth_method": "client_secret_basic", "response_types": ["code"],
            "allowed_scopes": ["openid", "profile", "scope_all"], "id_token_signed_response_alg": "RS256",
        }
        self.server.keyjar.add_symmetric(client_id, secret)
        return secret

    @property
    def keys(self) -> str:
        return f"{self.issuer}/jwks.json"

    @property
    def userinfo(self) -> str:
        return f"{self.issuer}/userinfo"

    def signing_key(self, kind: str = "RSA") -> Any:
        """The key it signs with, private half included: what only the provider could do."""
        return self.server.keyjar.get_signing_key(kind)[0]

    def login(self, client_id: str, secret: str, user: str, *, acr: str = "eidas1", nonce: str = "") -> dict[str, str]:
        """The token answer for a user at the browser. AssertionError when the provider refuses."""
        _NOW["user"] = user
        nonce, state, verifier = nonce or secrets.token_hex(8), secrets.token_hex(8), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = urlencode({
            "response_type": "code", "client_id": client_id, "redirect_uri": CALLBACK, "scope": "openid scope_all",
            "state": state, "nonce": nonce, "acr_values": acr, "code_challenge": challenge,
            "code_challenge_method": "S256",
        })
        status, headers, body = self._ask(f"{self.issuer}/authorization?{asked}")
        assert status == 302, body
        back = urlsplit(headers["Location"])
        assert headers["Location"].startswith(CALLBACK), headers["Location"]
        answer = {name: values[0] for name, values in parse_qs(back.query).items()}
        assert answer.get("state") == state and answer.get("code"), answer
        form = urlencode({
            "grant_type": "authorization_code", "code": answer["code"], "redirect_uri": CALLBACK,
            "client_id": client_id, "code_verifier": verifier,
        }).encode()
        basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        status, _, body = self._ask(f"{self.issuer}/token", form, {"Authorization": f"Basic {basic}"})
        assert status == 200, body
        tokens: dict[str, str] = json.loads(body)
        return tokens | {"nonce": nonce}

    def _ask(self, url: str, form: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        opener = build_opener(
            HTTPSHandler(context=ssl.create_default_context(cafile=self.ca_file)), _AsItIs()
        )
        answer = opener.open(Request(url, data=form, headers=headers or {}), timeout=10)
        return answer.status, answer.headers, answer.read()


class _AsItIs(HTTPErrorProcessor):
    """Redirections and errors are answers like any other."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


class Handler(BaseHTTPRequestHandler):
    """From HTTP to the endpoints of the library, and back."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())

    def _serve(self, form: str) -> None:
        provider: Provider = self.server.provider  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        provider.asked.append(parts.path)
        if provider.down:
            self._answer(503, {}, "")
        elif parts.path == "/jwks.json":
            self._answer(200, {"Content-Type": "application/json"}, provider.server.keyjar.export_jwks_as_json())
        else:
            self._endpoint(provider, parts.path.strip("/"), form or parts.query)

    def _endpoint(self, provider: Provider, name: str, given: str) -> None:
        name = "provider_config" if name.startswith(".well-known") else name
        endpoint = provider.server.get_endpoint(name)
        if not endpoint:
            self._answer(404, {}, "")
            return
        http_info = {
            "headers": {key.lower(): value for key, value in self.headers.items()}, "method": self.command,
            "url": provider.issuer + self.path,
        }
        parsed = endpoint.parse_request(given, http_info=http_info)
        done = parsed if "error" in parsed else endpoint.process_request(parsed, http_info=http_info)
        if "error" in done:
            self._answer(400, {"Content-Type": "application/json"}, json.dumps({"error": str(done["error"])}))
            return
        told = endpoint.do_response(request=parsed, **done)
        headers = dict(told["http_headers"])
        placed = told.get("response_placement") == "url" or endpoint.response_placement == "url"
        if placed:
            self._answer(302, {"Location": told["response"]}, "")
        else:
            self._answer(200, {"Content-Type": headers.get("Content-type", "application/json")}, told["response"])

    def _answer(self, status: int, headers: dict[str, str], body: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""
