"""ID tokens that must not be believed, presented to the token service: one answer for all, the cause in the log.

They are made of a real login at a real provider and, where that matters, signed again with the provider's own key by
its own library: so each differs from an accepted token in the one thing that is named.

Clause: OpenID Connect Core 1.0 3.1.3.7; RFC 7515 10; RFC 8725 2
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptojwt.jwk.rsa import new_rsa_key
from cryptojwt.jws.jws import JWS

from carnet import openid_provider
from guard.credentials.openid import MAX_KEYS, IssuerKeys, LoginRefused, ProviderUnavailable, read_keys
from tests.guard.tokens.conftest import ANNE, CLIENT, OTHER_CLIENT, Desk, a_person, desk, provider, secrets  # noqa: F401
from xds.wire.client import FaultReceived

Claims = dict[str, Any]
FAR = 4_000_000_000


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(token: str) -> Claims:
    part = token.split(".")[1]
    claims: Claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


@pytest.fixture
def genuine(desk: Desk) -> Claims:  # noqa: F811
    """Claims of a login that just took place, with what userinfo would add: the token needs no other beside it."""
    told = claims_of(desk.login(a_person("anne"))["id_token"])
    return told | {"SubjectRefPro": ANNE["SubjectRefPro"], "jti": f"{time.time_ns()}"}


class Signing:
    """Signs as the provider does, or nearly so."""

    def __init__(self, desk: Desk, claims: Claims) -> None:  # noqa: F811
        self.key, self.other = desk.provider.signing_key("RSA"), desk.provider.signing_key("EC")
        self.claims = claims

    def token(self, *, header: Claims | None = None, alg: str = "RS256", key: Any = None, **changes: Any) -> str:
        """The claims with changes (None removes one), and further header parameters, signed."""
        claims = {name: value for name, value in (self.claims | changes).items() if value is not None}
        key = key or self.key
        signed: str = JWS(json.dumps(claims), alg=alg, kid=key.kid, **(header or {})).sign_compact([key])
        return signed

    def raw(self, header: Claims, signature: bytes = b"") -> str:
        """Any header, and this signature."""
        return f"{encoded(header)}.{encoded(self.claims)}.{encoded(signature)}"

    def by_hand(self, header: Claims, key: Any = None) -> str:
        """Further header parameters, under a good signature of the provider's key or of another."""
        data = self.raw({"alg": "RS256", "kid": self.key.kid} | header).rpartition(".")[0]
        signature = (key or self.key).private_key().sign(data.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{data}.{encoded(signature)}"

    def keyed(self, header: Claims, secret: bytes) -> str:
        """An HMAC over it."""
        data = self.raw(header).rpartition(".")[0]
        return f"{data}.{encoded(hmac.new(secret, data.encode(), hashlib.sha256).digest())}"


def present(desk: Desk, token: str, access_token: str = "", who: str = "laboratory") -> bytes:  # noqa: F811
    return desk.asking(who).issue({}, id_token=token, access_token=access_token)


def swapped(signing: Signing) -> str:
    """Another person's number under the signature of the genuine one."""
    head, _, signature = signing.token().split(".")
    return f"{head}.{encoded(signing.claims | {'SubjectNameID': '899700000034'})}.{signature}"


def own_key(signing: Signing, where: str, size: int = 1024) -> str:
    """Signed with the attacker's key, which the token brings along or points at. A header of a larger key is refused
    for its size, before it is looked into."""
    mine = new_rsa_key(size, kid=signing.key.kid)
    brought: dict[str, Any] = {
        "jwk": {name: mine.serialize()[name] for name in ("kty", "n", "e")}, "x5c": ["MIIB"],
        "jku": "https://attacker.invalid/keys.json", "x5u": "https://attacker.invalid/c.pem",
    }
    return signing.by_hand({where: brought[where]} if where else {}, mine)


def now() -> int:
    return int(time.time())


ATTACKS: list[tuple[str, Callable[[Signing], str], str]] = [
    ("no signature", lambda s: s.raw({"alg": "none"}), "algorithm"),
    ("none in capitals", lambda s: s.raw({"alg": "NoNe"}), "algorithm"),
    ("none over a signature", lambda s: s.raw({"alg": "none"}, b"x" * 256), "algorithm"),
    ("HMAC with the public key as PEM", lambda s: s.keyed(
        {"alg": "HS256", "kid": s.key.kid}, public_pem(s)), "algorithm"),
    ("HMAC with the public key as JWK", lambda s: s.keyed(
        {"alg": "HS256", "kid": s.key.kid}, json.dumps(s.key.serialize()).encode()), "algorithm"),
    ("HMAC without a key", lambda s: s.keyed({"alg": "HS256", "kid": s.key.kid}, b""), "algorithm"),
    ("algorithm of another kind of key", lambda s: s.raw(
        {"alg": "ES256", "kid": s.key.kid}, b"x" * 64), "signature: InvalidKeyTypeError"),
    ("algorithm as a list", lambda s: s.raw({"alg": ["RS256"], "kid": s.key.kid}), "algorithm"),
    ("signature cut off", lambda s: s.token().rpartition(".")[0] + ".", "signature: BadSignatureError"),
    ("claims exchanged", swapped, "signature: BadSignatureError"),
    ("own key under the provider's kid", lambda s: own_key(s, ""), "signature: BadSignatureError"),
    ("own key brought along", lambda s: own_key(s, "jwk"), "brings its own jwk"),
    ("own large key brought along", lambda s: own_key(s, "jwk", 2048), "not an ID token: ExceededSizeError"),
    ("own key at an address", lambda s: own_key(s, "jku"), "brings its own jku"),
    ("own certificate at an address", lambda s: own_key(s, "x5u"), "brings its own x5u"),
    ("own certificate brought along", lambda s: own_key(s, "x5c"), "brings its own x5c"),
    ("good signature, foreign address", lambda s: s.by_hand({"jku": "https://a.invalid/"}), "brings its own jku"),
    ("unknown kid", lambda s: s.raw({"alg": "RS256", "kid": "unknown"}), "has this kid"),
    ("kid of a file", lambda s: s.raw({"alg": "RS256", "kid": "../../../../dev/null"}), "has this kid"),
    ("kid of an address", lambda s: s.raw({"alg": "RS256", "kid": "https://a.invalid/"}), "has this kid"),
    ("kid of a statement", lambda s: s.raw({"alg": "RS256", "kid": "' OR 1=1 --"}), "has this kid"),
    ("kid of another type", lambda s: s.raw({"alg": "RS256", "kid": 1}), "kid is not text"),
    ("critical parameter", lambda s: s.raw({"alg": "RS256", "kid": s.key.kid, "crit": ["exp"], "exp": 1}), "crit"),
    ("payload not encoded", lambda s: s.raw({"alg": "RS256", "kid": s.key.kid, "b64": False}), "MissingCritHeader"),
    ("access token as ID token", lambda s: s.token(header={"typ": "at+jwt"}), "another type"),
    ("access token of Keycloak's form", lambda s: s.token(typ="Bearer"), "another kind"),
    ("another issuer", lambda s: s.token(iss="https://localhost:1"), "issued by another"),
    ("issuer with a slash more", lambda s: s.token(iss=s.claims["iss"] + "/"), "issued by another"),
    ("no issuer", lambda s: s.token(iss=None), "issued by another"),
    ("issuers in a list", lambda s: s.token(iss=[s.claims["iss"]]), "issued by another"),
    ("for another client", lambda s: s.token(aud=OTHER_CLIENT), "not of the calling structure"),
    ("for an unknown client", lambda s: s.token(aud="nobody"), "not of the calling structure"),
    ("for us and another", lambda s: s.token(aud=[CLIENT, OTHER_CLIENT]), "aud names somebody else"),
    ("for us and another, authorised party us", lambda s: s.token(aud=[CLIENT, "x"], azp=CLIENT), "aud names"),
    ("authorised party another", lambda s: s.token(azp=OTHER_CLIENT), "aud names somebody else"),
    ("for nobody", lambda s: s.token(aud=[]), "aud is missing"),
    ("audience missing", lambda s: s.token(aud=None), "aud is missing"),
    ("expired", lambda s: s.token(exp=now() - 120), "exp is past"),
    ("without an end", lambda s: s.token(exp=None), "exp is missing"),
    ("end as text", lambda s: s.token(exp=str(FAR)), "exp is missing or no time"),
    ("end true", lambda s: s.token(exp=True), "exp is missing or no time"),
    ("end beyond time", lambda s: s.token(exp=1e300), "exp is missing or no time"),
    ("issued long ago", lambda s: s.token(iat=now() - 7200, exp=FAR), "iat is too long ago"),
    ("issued in the future", lambda s: s.token(iat=now() + 600, exp=FAR), "in the future"),
    ("not valid yet", lambda s: s.token(nbf=now() + 600), "in the future"),
    ("logged in long ago", lambda s: s.token(auth_time=now() - 86400), "logged in too long ago"),
    ("logged in in the future", lambda s: s.token(auth_time=now() + 600), "auth_time is in the future"),
    ("weak level", lambda s: s.token(acr="eidas0"), "acr"),
    ("no level", lambda s: s.token(acr=None), "acr"),
    ("levels in a list", lambda s: s.token(acr="eidas1 eidas0"), "acr"),
    ("of nobody", lambda s: s.token(sub=""), "sub is missing"),
    ("two parts", lambda s: "a.b", "not an ID token"),
    ("encrypted", lambda s: "a.b.c.d.e", "not an ID token"),
    ("not base64", lambda s: "!!.??.--", "not an ID token"),
    ("too large", lambda s: s.token(padding="x" * 13_000), "not an ID token"),
    ("deeply nested", lambda s: encoded(b'{"alg":' + b"[" * 3000 + b"]" * 3000 + b"}") + ".e30.", "not an ID token"),
]


def public_pem(signing: Signing) -> bytes:
    pem: bytes = signing.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


@pytest.mark.parametrize(("attack", "forge", "cause"), ATTACKS, ids=[attack for attack, _, _ in ATTACKS])
def test_a_forged_login_is_refused(
    desk: Desk, genuine: Claims, attack: str, forge: Callable[[Signing], str], cause: str  # noqa: F811
) -> None:
    """The same fault with the same words for each; the log says which, and quotes nothing of the token.

    Rule: W-05, W-08, W-13
    """
    token = forge(Signing(desk, genuine))
    with pytest.raises(FaultReceived) as caught:
        present(desk, token)
    assert str(caught.value).startswith("Sender/FailedAuthentication: The login could not be verified (trace")
    line = desk.lines(1)[0]
    assert (line.outcome, line.trace_id) == ("refused", caught.value.trace_id)
    assert cause in line.reason, line.reason
    assert not any(part and len(part) > 8 and part in repr(line) for part in token.split("."))


@pytest.mark.parametrize(("alg", "kind"), [("RS256", "key"), ("PS256", "key"), ("RS512", "key"), ("ES256", "other")])
def test_the_genuine_one_is_accepted(desk: Desk, genuine: Claims, alg: str, kind: str) -> None:  # noqa: F811
    """What every attack above starts from, with each kind of key the provider publishes."""
    signing = Signing(desk, genuine)
    assert b"INDIRECTE_RENFORCEE" in present(desk, signing.token(alg=alg, key=getattr(signing, kind)))


def test_a_token_signed_by_hand_is_as_good(desk: Desk, genuine: Claims) -> None:  # noqa: F811
    """So that the attacks written by hand fail for what they change."""
    assert b"INDIRECTE_RENFORCEE" in present(desk, Signing(desk, genuine).by_hand({}))


def test_a_repeat_is_refused_however_it_is_written(desk: Desk, genuine: Claims) -> None:  # noqa: F811
    """An ECDSA signature can be made again over the same claims: the login is the same. Rule: W-07"""
    signing = Signing(desk, genuine)
    token = signing.token(alg="ES256", key=signing.other)
    present(desk, token)
    head, payload, _ = token.split(".")
    again = signing.token(alg="ES256", key=signing.other)
    assert again.split(".")[:2] == [head, payload] and again != token
    for one in (token, again):
        with pytest.raises(FaultReceived, match="FailedAuthentication"):
            present(desk, one)
        assert desk.lines(1)[0].reason == "login: used before"


def half_hash(access_token: str) -> str:
    return encoded(hashlib.sha256(access_token.encode()).digest()[:16])


def test_at_hash_binds_the_access_token(desk: Desk, genuine: Claims) -> None:  # noqa: F811
    """Where the provider writes one, it must be of the access token that comes along."""
    signing = Signing(desk, genuine)
    mine, other = desk.login(a_person("anne"))["access_token"], desk.login(a_person("anne"))["access_token"]
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        present(desk, signing.token(at_hash=half_hash(mine)), other)
    assert desk.lines(1)[0].reason == "login: at_hash is of another access token"
    present(desk, signing.token(at_hash=half_hash(mine)), mine)


def test_a_header_cannot_be_put_into_an_access_token(desk: Desk, genuine: Claims) -> None:  # noqa: F811
    """It goes into the header of a request to the provider."""
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        present(desk, Signing(desk, genuine).token(), "x\r\nHost: attacker.invalid")
    assert desk.lines(1)[0].reason == "login: not an access token"


# -- keys --------------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def keys_document(*keys: Any) -> bytes:
    return json.dumps({"keys": [key if isinstance(key, dict) else key.serialize() for key in keys]}).encode()


def test_invented_kids_cost_the_provider_nothing() -> None:
    """One look a minute at most, however many names are invented; a rotated key is found after it."""
    old, new, clock, fetched = new_rsa_key(kid="old"), new_rsa_key(kid="new"), Clock(), []
    published = [old]

    def fetch() -> bytes:
        fetched.append(clock.now)
        return keys_document(*published)

    keys = IssuerKeys(fetch, keep=3600, pause=60, clock=clock)
    keys.find("old")
    for number in range(50):
        with pytest.raises(LoginRefused):
            keys.find(f"invented-{number}")
    assert len(fetched) == 1
    published[:] = [new]
    clock.now = 61
    assert keys.find("new").kid == "new" and len(fetched) == 2
    with pytest.raises(LoginRefused):
        keys.find("old")


def test_keys_do_not_live_for_ever_when_the_provider_is_silent() -> None:
    """The last ones stay good for a while; then nobody is believed, and it is no fault of the login."""
    clock, down, key = Clock(), [], new_rsa_key(kid="a")

    def fetch() -> bytes:
        if down:
            raise OSError("silent")
        return keys_document(key)

    keys = IssuerKeys(fetch, keep=100, pause=10, clock=clock)
    keys.find("a")
    down.append(True)
    clock.now = 150
    assert keys.find("a").kid == "a"
    clock.now = 201
    with pytest.raises(ProviderUnavailable):
        keys.find("a")
    down.clear()
    clock.now = 212
    assert keys.find("a").kid == "a"


def test_weak_and_foreign_keys_are_passed_over() -> None:
    """Symmetric, too short, for encryption, private, of an unknown curve."""
    weak = new_rsa_key(1024, kid="weak").serialize()
    symmetric = {"kty": "oct", "k": encoded(b"secret" * 8), "kid": "hmac"}
    private = new_rsa_key(kid="private").serialize(private=True)
    encryption = new_rsa_key(kid="enc").serialize() | {"use": "enc"}
    odd = {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "odd"}
    good = new_rsa_key(kid="good").serialize()
    assert set(read_keys(keys_document(weak, symmetric, private, encryption, odd, {"kty": "RSA"}, good))) == {"good"}


@pytest.mark.parametrize("document", [b"", b"[]", b'{"keys": {}}', b'{"keys": [' + b"{}," * MAX_KEYS + b"{}]}"])
def test_what_is_no_set_of_keys_changes_nothing(document: bytes) -> None:
    with pytest.raises(ValueError):
        read_keys(document)


def test_two_keys_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two keys of one kid"):
        read_keys(keys_document(new_rsa_key(kid="a"), new_rsa_key(kid="a")))


def test_a_provider_is_asked_by_https_alone() -> None:
    with pytest.raises(ValueError, match="https only"):
        openid_provider.is_address("http://provider.example/keys")
