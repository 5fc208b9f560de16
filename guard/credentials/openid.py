"""An OpenID Connect login: from an ID token to its claims, or to the reason why not.

``LoginVerifier`` believes one issuer and the keys that issuer publishes, nothing a token says of itself: an ID token
names its key by ``kid``, which is compared and never opened, and one that brings a key or an address along is refused.
Nothing here reaches the network or a file; ``fetch`` does, and is given.

Clause: OpenID Connect Core 1.0 3.1.3.6 to 3.1.3.8, 5.3.4; RFC 7515 4.1, 10; RFC 8725 3
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from guard.credentials.certificates import Clock, utc_now

Claims = Mapping[str, Any]

MAX_TOKEN = 16 * 1024
"""Characters of one ID or access token."""
MAX_KEYS = 32
"""Keys of one issuer."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Asymmetric ones alone: with a key that is public an HMAC proves nothing."""
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_CURVES = ("P-256", "P-384", "P-521")
_FOREIGN = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip")
"""Header parameters by which a token would choose its own key, or what is signed."""
_SMALLEST_RSA = 2048


class LoginRefused(Exception):
    """A login that is not believed. The text is for the audit, never for the peer, and quotes no token."""


class ProviderUnavailable(Exception):
    """The provider could not be asked; nothing is said about the login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRule:
    """What is asked of a login. Times are in seconds.

    ``acr`` are the levels accepted; ``clients`` the pairs (client_id, Struct_IdNat) that belong together;
    ``max_age`` the greatest age of an ID token, ``max_authn_age`` that of the login it tells of.
    """

    issuer: str
    clients: frozenset[tuple[str, str]]
    acr: frozenset[str]
    clock_skew: int = 60
    max_age: int = 600
    max_authn_age: int = 12 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An accepted login. ``until`` is the end of the ID token; ``sha256`` is of its signed part."""

    claims: Claims
    client_id: str
    authenticated_at: datetime
    until: datetime
    sha256: str


class IssuerKeys:
    """The keys an issuer publishes (JWKS), fetched when first needed, kept ``keep`` seconds. Thread-safe.

    A ``kid`` that is not there makes it look again, ``pause`` seconds after the last look at the earliest: a rotated
    key is found, and invented names cost the provider nothing. When it cannot be asked the keys last seen stay good
    for as long again, then none is.
    """

    def __init__(
        self, fetch: Callable[[], bytes], *, keep: float = 3600.0, pause: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._fetch, self._keep, self._pause, self._clock = fetch, keep, pause, clock
        self._lock = threading.Lock()
        self._keys: dict[str, RSAKey | ECKey] = {}
        self._fetched_at = self._asked_at = float("-inf")

    def find(self, kid: str) -> RSAKey | ECKey:
        """The key of that name. Raises LoginRefused, ProviderUnavailable."""
        with self._lock:
            now = self._clock()
            if now - self._fetched_at > self._keep or kid not in self._keys:
                self._refresh(now)
            if now - self._fetched_at > 2 * self._keep:
                raise ProviderUnavailable("the keys of the issuer cannot be had")
            if kid not in self._keys:
                raise LoginRefused("no key of the issuer has this kid")
            return self._keys[kid]

    def _refresh(self, now: float) -> None:
        if now - self._asked_at < self._pause:
            return
        self._asked_at = now
        try:
            self._keys, self._fetched_at = read_keys(self._fetch()), now
        except (OSError, ValueError, RecursionError):
            return


def read_keys(document: bytes) -> dict[str, RSAKey | ECKey]:
    """Keys for signatures, by kid: RSA of 2048 bits or more, and EC of the three curves. Raises ValueError.

    Others are passed over; a key without a kid goes by "". Two keys of one kid are refused.
    """
    told = json.loads(document)
    listed = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("not a set of keys, or too large a one")
    found: dict[str, RSAKey | ECKey] = {}
    for one in listed:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or "d" in one:
            continue
        try:
            key = _key(one)
        except (JoseError, ValueError, TypeError, KeyError, OverflowError):
            continue
        if key is None:
            continue
        kid = str(one.get("kid", ""))
        if kid in found:
            raise ValueError("two keys of one kid")
        found[kid] = key
    return found


def _key(one: dict[str, Any]) -> RSAKey | ECKey | None:
    if one.get("kty") == "RSA":
        key = RSAKey.import_key(one)
        return key if key.raw_value.key_size >= _SMALLEST_RSA else None
    return ECKey.import_key(one) if one.get("kty") == "EC" and one.get("crv") in _CURVES else None


class LoginVerifier:
    """Verifies logins of one issuer. Thread-safe.

    ``userinfo`` asks the issuer with an access token, None where it is never asked.
    """

    def __init__(
        self, rule: LoginRule, keys: IssuerKeys, *, userinfo: Callable[[str], bytes] | None = None,
        clock: Clock = utc_now,
    ):
        self._rule, self._keys, self._userinfo, self._clock = rule, keys, userinfo, clock

    def verify(self, id_token: str, *, structure_id: str, access_token: str = "", nonce: str = "") -> Login:
        """The login behind an ID token that the structure ``structure_id`` presents.

        ``access_token`` came with it and must belong to it; where it is given the issuer is asked what more it knows
        of the person. ``nonce`` is the one of the authentication request, "" when the caller compared it himself.
        Raises LoginRefused, ProviderUnavailable.
        """
        claims, algorithm = self._signed_claims(id_token)
        now, rule = self._clock(), self._rule
        client_id = self._client(claims, structure_id)
        until = self._check_times(claims, now)
        if claims.get("acr") not in rule.acr:
            raise LoginRefused(f"level of authentication (acr) is not accepted: {str(claims.get('acr'))[:40]!r}")
        if nonce and not hmac.compare_digest(nonce.encode(), _text(claims, "nonce").encode()):
            raise LoginRefused("nonce is another")
        if not _text(claims, "sub"):
            raise LoginRefused("sub is missing")
        authenticated_at = _moment(claims, "auth_time") if "auth_time" in claims else _moment(claims, "iat")
        if now >= authenticated_at + timedelta(seconds=rule.max_authn_age):
            raise LoginRefused("logged in too long ago")
        if access_token:
            claims = self._with_userinfo(claims, algorithm, access_token)
        signed = id_token.rpartition(".")[0]
        return Login(
            claims=claims, client_id=client_id, authenticated_at=authenticated_at, until=until,
            sha256=hashlib.sha256(signed.encode()).hexdigest(),
        )

    def _signed_claims(self, token: str) -> tuple[Claims, str]:
        """Header, key, signature, in this order; claims are read from what was verified. Rule: W-05"""
        if len(token) > MAX_TOKEN or not token.isascii():
            raise LoginRefused("not an ID token")
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise LoginRefused(f"not an ID token: {type(error).__name__}") from None
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if algorithm not in ALGORITHMS:
            raise LoginRefused("signature algorithm is not accepted")
        brought = [name for name in _FOREIGN if name in header]
        if brought:
            raise LoginRefused(f"the token brings its own {', '.join(brought)}")
        if header.get("typ", "JWT") not in ("JWT", "jwt"):
            raise LoginRefused("a token of another type")
        if not isinstance(kid, str):
            raise LoginRefused("kid is not text")
        key = self._keys.find(kid)
        if key.alg not in (None, algorithm):
            raise LoginRefused("the key is for another algorithm")
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=[str(algorithm)]).claims
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise LoginRefused(f"signature: {type(error).__name__}") from None
        if claims.get("iss") != self._rule.issuer:
            raise LoginRefused("issued by another")
        if claims.get("typ", "ID") != "ID":
            raise LoginRefused("a token of another kind")
        return claims, str(algorithm)

    def _client(self, claims: Claims, structure_id: str) -> str:
        """The client the token was made for: the only audience, and of the structure that presents it.

        Rule: W-06
        Clause: OpenID Connect Core 1.0 3.1.3.7 (3 to 5)
        """
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
            raise LoginRefused("aud is missing")
        client = claims.get("azp", named[0] if len(named) == 1 else None)
        if not isinstance(client, str) or named != [client]:
            raise LoginRefused("aud names somebody else, too")
        if (client, structure_id) not in self._rule.clients:
            raise LoginRefused(f"client {client[:100]!r} is not of the calling structure")
        return client

    def _check_times(self, claims: Claims, now: datetime) -> datetime:
        skew = timedelta(seconds=self._rule.clock_skew)
        ends, issued = _moment(claims, "exp"), _moment(claims, "iat")
        if now >= ends + skew:
            raise LoginRefused("exp is past")
        if issued > now + skew or ("nbf" in claims and _moment(claims, "nbf") > now + skew):
            raise LoginRefused("iat or nbf is in the future")
        if now >= issued + timedelta(seconds=self._rule.max_age) + skew:
            raise LoginRefused("iat is too long ago")
        if "auth_time" in claims and _moment(claims, "auth_time") > now + skew:
            raise LoginRefused("auth_time is in the future")
        return ends + skew

    def _with_userinfo(self, claims: Claims, algorithm: str, access_token: str) -> Claims:
        """What the issuer says of the person, the ID token's own claims above it.

        ``at_hash`` may be missing where a code was exchanged; then the ``sub`` of both answers tells that they are of
        one person. Clause: OpenID Connect Core 1.0 3.1.3.6, 3.1.3.8, 5.3.4
        """
        if len(access_token) > MAX_TOKEN or not access_token.isascii() or not access_token.isprintable():
            raise LoginRefused("not an access token")
        digest = _HASHES[algorithm[2:]](access_token.encode()).digest()
        half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
        if "at_hash" in claims and not hmac.compare_digest(half, _text(claims, "at_hash").encode()):
            raise LoginRefused("at_hash is of another access token")
        if self._userinfo is None:
            return claims
        try:
            told = json.loads(self._userinfo(access_token))
        except (OSError, ValueError, RecursionError) as error:
            raise ProviderUnavailable(f"userinfo: {type(error).__name__}") from None
        if not isinstance(told, dict) or told.get("sub") != claims["sub"]:
            raise LoginRefused("userinfo is of another person")
        return told | dict(claims)


def _text(claims: Claims, name: str) -> str:
    value = claims.get(name, "")
    return value if isinstance(value, str) else ""


def _moment(claims: Claims, name: str) -> datetime:
    """A NumericDate, UTC."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**35:
        raise LoginRefused(f"{name} is missing or no time")
    return datetime.fromtimestamp(value, UTC)
