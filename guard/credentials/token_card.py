"""Cards behind PKCS#11: the library of the maker speaks with the card, the keys never leave it.

The token holds two certificates with their keys, told apart by what they may be used for. The PIN goes to the token
and its own counter decides about wrong ones, beside it ours for tokens that have none (``token_tries``). A CPS, an HSM
and SoftHSM 2 take the same path.

Clause: PKCS #11 3.0; DMP VIHF 1 (the card signs, the card connects)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pkcs11
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from guard.credentials import token_tries
from guard.credentials.cards import Card, CardError, CardLocked, KeyPair, PrivateKey, PublicKey, WrongPin, ordered
from guard.credentials.pkcs11_uri import TokenAddress
from guard.credentials.token_key import TokenEcKey, TokenRsaKey

MODULE_VARIABLE = "CARNET_PKCS11_MODULE"
"""Environment variable with the maker's library, for addresses that name none."""
AUTHENTICATION, SIGNATURE = "authentication", "signature"
_NEVER_LEAVES = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.DECRYPT: False}


class TokenSession:
    """One login to a token; ends when nothing holds it any more, keys included."""

    def __init__(self, session: Any, token: Any, pin: str) -> None:
        self.session = session
        self.mechanisms = token.slot.get_mechanisms()
        self._pin = pin
        self._lock = threading.Lock()
        """A session does one thing at a time."""
        weakref.finalize(self, _close, session)

    def key(self, private: Any, public: PublicKey) -> PrivateKey:
        """The key of a token, as others see it."""
        asks = bool(_attribute(private, Attribute.ALWAYS_AUTHENTICATE))
        if isinstance(public, ec.EllipticCurvePublicKey):
            return TokenEcKey(public, self._compute(private, Mechanism.ECDSA, asks))
        raw = self._compute(private, Mechanism.RSA_X_509, asks) if Mechanism.RSA_X_509 in self.mechanisms else None
        return TokenRsaKey(public, self._compute(private, Mechanism.RSA_PKCS, asks), raw)

    def _compute(self, private: Any, mechanism: Mechanism, asks: bool) -> Callable[[bytes], bytes]:
        """``asks``: the card wants its PIN with every signature (CKA_ALWAYS_AUTHENTICATE)."""

        def sign(block: bytes) -> bytes:
            with self._lock, _told():
                return bytes(private.sign(block, mechanism=mechanism, **({"pin": self._pin} if asks else {})))

        return sign


def open_card(address: TokenAddress, pin: str) -> Card:
    """Log in and find both key pairs; of several of one kind, the one that ends last.

    Raises WrongPin, CardLocked, CardError.
    """
    session = _login(address, pin)
    with _told():
        certificates = _certificates(session)
        leaves: dict[str, KeyPair] = {}
        for identifier, certificate in sorted(certificates, key=lambda found: found[1].not_valid_after_utc):
            public = certificate.public_key()
            private = _one(session, ObjectClass.PRIVATE_KEY, identifier) if identifier else None
            if private is not None and isinstance(public, PublicKey):
                chain = ordered(certificate, [other for _, other in certificates])
                leaves[purpose_of(certificate)] = KeyPair(session.key(private, public), certificate, chain)
    if AUTHENTICATION not in leaves:
        raise CardError(f"{address} holds no key with a certificate to connect with")
    return Card(leaves[AUTHENTICATION], leaves.get(SIGNATURE))


def make_keys(address: TokenAddress, pin: str, *, is_rsa: bool, again: bool = False) -> tuple[PrivateKey, PrivateKey]:
    """Make an authentication and a signature key on the token; they can never be read out.

    Raises CardError where the token has keys already and ``again`` does not say that more are wanted.
    """
    session = _login(address, pin, writes=True)
    with _told():
        if not again and any(True for _ in session.session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})):
            raise CardError(f"{address} holds keys already; say so when it is renewed, or take an empty token")
        token_tries.begin(session.session)
        return _make_key(session, AUTHENTICATION, is_rsa), _make_key(session, SIGNATURE, is_rsa)


def _make_key(session: TokenSession, label: str, is_rsa: bool) -> PrivateKey:
    name = {"id": secrets.token_bytes(8), "label": label, "store": True, "private_template": _NEVER_LEAVES}
    if is_rsa:
        public, private = session.session.generate_keypair(KeyType.RSA, 2048, **name)
        return session.key(private, _public(public))
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    curve = session.session.create_domain_parameters(KeyType.EC, parameters, local=True)
    public, private = curve.generate_keypair(**name)
    return session.key(private, _public(public))


def install(address: TokenAddress, pin: str, certificates: Sequence[x509.Certificate]) -> list[str]:
    """Put certificates beside the keys they belong to, those of authorities too; returns the kinds that found a key.

    Raises CardError when none belongs to a key of this token.
    """
    session = _login(address, pin, writes=True)
    with _told():
        publics = session.session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY})
        keys = {_spki(_public(public)): public.id for public in list(publics)}
        placed = [(keys.get(_spki(certificate.public_key())), certificate) for certificate in certificates]
        found = [purpose_of(certificate) for identifier, certificate in placed if identifier]
        if not found:
            raise CardError(f"none of these certificates belongs to a key of {address}")
        known = {certificate for _, certificate in _certificates(session)}
        for identifier, certificate in placed:
            if certificate not in known:
                session.session.create_object(_as_object(certificate, identifier))
    return found


def purpose_of(certificate: x509.Certificate) -> str:
    """``authentication`` or ``signature``: a certificate that may open TLS connections signs no statements."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return AUTHENTICATION if ExtendedKeyUsageOID.CLIENT_AUTH in usages else SIGNATURE


def _as_object(certificate: x509.Certificate, identifier: bytes | None) -> dict[Attribute, Any]:
    number = certificate.serial_number
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return {
        Attribute.CLASS: ObjectClass.CERTIFICATE,
        Attribute.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509,
        Attribute.TOKEN: True,
        Attribute.LABEL: purpose_of(certificate) if identifier else "authority",
        Attribute.ID: identifier or b"",
        Attribute.SUBJECT: certificate.subject.public_bytes(),
        Attribute.ISSUER: certificate.issuer.public_bytes(),
        Attribute.SERIAL_NUMBER: bytes((0x02, len(content))) + content,
        Attribute.VALUE: certificate.public_bytes(Encoding.DER),
    }


def _certificates(session: TokenSession) -> list[tuple[bytes, x509.Certificate]]:
    """CKA_ID and content of every certificate that can be read; others are none of ours."""
    found = []
    for one in session.session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE}):
        with contextlib.suppress(ValueError, UnsupportedAlgorithm):
            found.append((bytes(_attribute(one, Attribute.ID) or b""),
                          x509.load_der_x509_certificate(one[Attribute.VALUE])))  # fmt: skip
    return found


def _one(session: TokenSession, kind: ObjectClass, identifier: bytes) -> Any:
    return next(iter(list(session.session.get_objects({Attribute.CLASS: kind, Attribute.ID: identifier}))), None)


def _attribute(one: Any, name: Attribute) -> Any:
    """None where the token does not say."""
    try:
        return one[name]
    except pkcs11.PKCS11Error:
        return None


def _public(one: Any) -> PublicKey:
    """The public key of a token's object."""
    if one.key_type is KeyType.RSA:
        numbers = [int.from_bytes(one[name], "big") for name in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS)]
        return rsa.RSAPublicNumbers(*numbers).public_key()
    key = load_der_public_key(encode_ec_public_key(one))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CardError("the token holds a key of an unexpected type")
    return key


def _spki(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def unblock(address: TokenAddress, puk: str) -> None:
    """Give a token whose wrong PINs we count its tries back; ``puk`` is the SO PIN. Raises WrongPin, CardLocked,
    CardError."""
    library, token = _found(address)
    with _told(), token_tries.one_unlock(token, str(address)), _opening(address, library):
        _close(token.open(rw=True, so_pin=puk))


def _login(address: TokenAddress, pin: str, *, writes: bool = False) -> TokenSession:
    library, token = _found(address)
    with _told(), token_tries.one_try(token, str(address)), _opening(address, library):
        return TokenSession(token.open(rw=writes, user_pin=pin), token, pin)


@contextmanager
def _opening(address: TokenAddress, library: Any) -> Iterator[None]:
    """What a token says to a PIN, in our words."""
    try:
        yield
    except (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid) as error:
        raise WrongPin(f"the PIN does not open {address}{_tries(address, library)}") from error
    except pkcs11.PinLocked as error:
        raise CardLocked(f"{address} is locked by wrong PINs; unlock it with its maker's tool") from error
    except (pkcs11.UserAlreadyLoggedIn, pkcs11.AnotherUserAlreadyLoggedIn) as error:
        raise CardError(f"{address} is open already in this process") from error


def _found(address: TokenAddress) -> tuple[Any, Any]:
    """The library, and the one token of that address. Raises CardError."""
    module = address.module_path or os.environ.get(MODULE_VARIABLE, "")
    if not module:
        raise CardError(f"no PKCS#11 library: add ?module-path=… to the address, or set {MODULE_VARIABLE}")
    if not Path(module).is_absolute():
        raise CardError("the PKCS#11 library is named by its whole path")
    wanted = {"token": address.token, "serial": address.serial, "model": address.model,
              "manufacturer": address.manufacturer}  # fmt: skip
    with _told():
        try:
            library = pkcs11.lib(module)
        except RuntimeError as error:
            raise CardError(f"{module} cannot be used as a PKCS#11 library") from error
        tokens = [token for token in library.get_tokens() if _is(token, wanted)]
        if len(tokens) != 1:
            raise CardError(f"{address}: {len(tokens) or 'no'} such tokens")
        return library, tokens[0]


def _is(token: Any, wanted: dict[str, str]) -> bool:
    told = {"token": token.label, "serial": token.serial, "model": token.model, "manufacturer": token.manufacturer_id}
    return all(not value or value.strip() == _text(told[name]) for name, value in wanted.items())


def _text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ")


def _tries(address: TokenAddress, library: Any) -> str:
    """What the token tells of the tries left. Clause: PKCS #11 CKF_USER_PIN_COUNT_LOW, FINAL_TRY, LOCKED"""
    for token in library.get_tokens():
        if _is(token, {"token": address.token, "serial": address.serial, "model": "", "manufacturer": ""}):
            if TokenFlag.USER_PIN_LOCKED in token.flags:
                return "; it is locked now"
            if TokenFlag.USER_PIN_FINAL_TRY in token.flags:
                return "; one try is left"
            if TokenFlag.USER_PIN_COUNT_LOW in token.flags:
                return "; the token counts wrong tries"
    return ""


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the library as CardError: the name of the error, never a value."""
    try:
        yield
    except pkcs11.PKCS11Error as error:
        gone = isinstance(error, pkcs11.DeviceRemoved | pkcs11.TokenNotPresent)
        raise CardError("the card was taken out" if gone else f"the card answered {type(error).__name__}") from error


def _close(session: Any) -> None:
    with contextlib.suppress(pkcs11.PKCS11Error):
        session.close()


