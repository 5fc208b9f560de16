"""TLS with a key that stays on its card.

Python's ssl module takes keys from files only, and the key of a card is in no file. Its OpenSSL can do more: a public
key may be given a method of its own for the private operation. So this file speaks to the very OpenSSL the ssl module
has loaded, gives it the card's public key with a method that calls the card, and puts that into the context. Nothing
else of TLS changes: names, versions and authorities are checked by the ssl module as always.

It needs CPython whose ssl module uses a shared OpenSSL (1.1.1 or 3), as the packages of Debian and the builds of
python.org and pyenv do. Where that is not so the card is refused with the reason, never used differently.
"""

from __future__ import annotations

import ctypes
import logging
import ssl
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_ubyte, c_uint, c_uint64, c_ulong, c_void_p
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from guard.credentials.token_key import TokenEcKey, TokenKey, TokenRsaKey

_log = logging.getLogger(__name__)

RSA_PKCS1_PADDING, RSA_NO_PADDING = 1, 3
SSL_CTRL_SET_SIGALGS_LIST = 98
_PRIVATE_ENCRYPT = ctypes.CFUNCTYPE(c_int, c_int, POINTER(c_ubyte), POINTER(c_ubyte), c_void_p, c_int)
_ECDSA_SIGN = ctypes.CFUNCTYPE(
    c_int, c_int, POINTER(c_ubyte), c_int, POINTER(c_ubyte), POINTER(c_uint), c_void_p, c_void_p, c_void_p
)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "SSL_CTX_get_options": (c_uint64, (c_void_p,)),
    "SSL_CTX_use_certificate_chain_file": (c_int, (c_void_p, c_char_p)),
    "SSL_CTX_use_PrivateKey": (c_int, (c_void_p, c_void_p)),
    "SSL_CTX_ctrl": (c_long, (c_void_p, c_int, c_long, c_char_p)),
    "ERR_clear_error": (None, ()),
    "OpenSSL_version_num": (c_ulong, ()),
    "EVP_PKEY_new": (c_void_p, ()),
    "EVP_PKEY_free": (None, (c_void_p,)),
    "EVP_PKEY_set1_RSA": (c_int, (c_void_p, c_void_p)),
    "EVP_PKEY_set1_EC_KEY": (c_int, (c_void_p, c_void_p)),
    "d2i_RSAPublicKey": (c_void_p, (c_void_p, POINTER(c_char_p), c_long)),
    "d2i_EC_PUBKEY": (c_void_p, (c_void_p, POINTER(c_char_p), c_long)),
    "RSA_free": (None, (c_void_p,)),
    "EC_KEY_free": (None, (c_void_p,)),
    "RSA_PKCS1_OpenSSL": (c_void_p, ()),
    "RSA_meth_dup": (c_void_p, (c_void_p,)),
    "RSA_meth_set_priv_enc": (c_int, (c_void_p, _PRIVATE_ENCRYPT)),
    "RSA_set_method": (c_int, (c_void_p, c_void_p)),
    "EC_KEY_OpenSSL": (c_void_p, ()),
    "EC_KEY_METHOD_new": (c_void_p, (c_void_p,)),
    "EC_KEY_METHOD_set_sign": (None, (c_void_p, _ECDSA_SIGN, c_void_p, c_void_p)),
    "EC_KEY_set_method": (c_int, (c_void_p, c_void_p)),
}

_in_use: weakref.WeakKeyDictionary[ssl.SSLContext, object] = weakref.WeakKeyDictionary()
"""What OpenSSL calls must stay alive as long as the context that may call it."""


class NotPossible(Exception):
    """This Python cannot use a card's key for TLS; the text says why."""


def load(context: ssl.SSLContext, key: TokenKey, certificates: Sequence[x509.Certificate]) -> None:
    """Let ``context`` present ``certificates`` (leaf first) with the key of a card. Raises NotPossible."""
    openssl = _openssl()
    pointer = _pointer(openssl, context)
    with tempfile.NamedTemporaryFile(prefix="carnet-", suffix=".pem") as chain:
        chain.write(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
        chain.flush()
        done = openssl.SSL_CTX_use_certificate_chain_file(pointer, chain.name.encode())
    made, kept = _rsa(openssl, key) if isinstance(key, TokenRsaKey) else _ec(openssl, key)
    done = done and made and openssl.SSL_CTX_use_PrivateKey(pointer, made)
    openssl.EVP_PKEY_free(made)  # the context holds it by itself now
    if done and isinstance(key, TokenRsaKey) and key.raw is None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        done = openssl.SSL_CTX_ctrl(pointer, SSL_CTRL_SET_SIGALGS_LIST, 0, b"ECDSA+SHA256:RSA+SHA256:RSA+SHA384") == 1
    if not done:
        openssl.ERR_clear_error()
        raise NotPossible("OpenSSL does not take the certificate with the key of this card")
    _in_use[context] = kept


@cache
def _openssl() -> Any:
    """The OpenSSL that the ssl module uses, with the functions needed here declared."""
    import _ssl  # noqa: PLC0415 - an implementation detail of CPython: asked for when it is needed

    if sys.implementation.name != "cpython" or not getattr(_ssl, "__file__", None):
        raise NotPossible("a card's key in TLS needs CPython with its ssl module as a shared library")
    library = ctypes.CDLL(_ssl.__file__)
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise NotPossible(f"the OpenSSL of this Python ({ssl.OPENSSL_VERSION}) offers no {name}") from None
        function.restype, function.argtypes = result, arguments
    if library.OpenSSL_version_num() >> 28 not in (1, 3):
        raise NotPossible(f"a card's key in TLS needs OpenSSL 1.1.1 or 3, this is {ssl.OPENSSL_VERSION}")
    return library


def _pointer(openssl: Any, context: ssl.SSLContext) -> int:
    """The SSL_CTX of a context: the first field after the object's head; its options must be those Python shows."""
    pointer = c_void_p.from_address(id(context) + object.__basicsize__).value
    if not pointer or openssl.SSL_CTX_get_options(pointer) != int(context.options) & 0xFFFFFFFFFFFFFFFF:
        raise NotPossible("the ssl module of this Python has another shape than is known here")
    return pointer


def _rsa(openssl: Any, key: TokenRsaKey) -> tuple[int | None, object]:
    size = (key.key_size + 7) // 8

    def encrypt(length: int, data: Any, out: Any, _rsa: int, how: int) -> int:
        block = ctypes.string_at(data, length)
        if how == RSA_PKCS1_PADDING:
            return _answered(lambda: key.pkcs1(block), out, size)
        if how == RSA_NO_PADDING and key.raw is not None:
            raw = key.raw
            return _answered(lambda: raw(block), out, size)
        return -1

    callback = _PRIVATE_ENCRYPT(encrypt)
    method = openssl.RSA_meth_dup(openssl.RSA_PKCS1_OpenSSL())
    openssl.RSA_meth_set_priv_enc(method, callback)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    rsa = openssl.d2i_RSAPublicKey(None, byref(c_char_p(der)), len(der))
    made = None
    if rsa and openssl.RSA_set_method(rsa, method):
        made = openssl.EVP_PKEY_new()
        openssl.EVP_PKEY_set1_RSA(made, rsa)
    openssl.RSA_free(rsa)
    return made, callback


def _ec(openssl: Any, key: TokenEcKey) -> tuple[int | None, object]:
    room = 2 * ((key.key_size + 7) // 8) + 9  # two integers and the heads of three DER values

    def sign(_type: int, digest: Any, length: int, out: Any, written: Any, _kinv: int, _r: int, _key: int) -> int:
        size = _answered(lambda: key.sign_digest(ctypes.string_at(digest, length)), out, room)
        written[0] = max(size, 0)
        return int(size > 0)

    callback = _ECDSA_SIGN(sign)
    method = openssl.EC_KEY_METHOD_new(openssl.EC_KEY_OpenSSL())
    openssl.EC_KEY_METHOD_set_sign(method, callback, None, None)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ec = openssl.d2i_EC_PUBKEY(None, byref(c_char_p(der)), len(der))
    made = None
    if ec and openssl.EC_KEY_set_method(ec, method):
        made = openssl.EVP_PKEY_new()
        openssl.EVP_PKEY_set1_EC_KEY(made, ec)
    openssl.EC_KEY_free(ec)
    return made, callback


def _answered(compute: Callable[[], bytes], out: Any, room: int) -> int:
    """Let the card compute and copy the result out, of at most ``room`` bytes; -1 when it does not.

    No exception may reach OpenSSL.
    """
    try:
        result = compute()
    except Exception as error:
        _log.warning("the card did not sign for TLS: %s", error)
        return -1
    if len(result) > room:
        _log.warning("the card's signature for TLS is too long")
        return -1
    ctypes.memmove(out, result, len(result))
    return len(result)
