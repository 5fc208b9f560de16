"""TLS handshakes in memory: two contexts, no socket, and what came of it."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress

EVERYTHING = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
_FFDHE2048 = int(
    "FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695A9E13641146433FBCC939DCE249B3EF97D2FE363630C75D8"
    "F681B202AEC4617AD3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935984F0C70E0E68B77E2A689DAF3EFE872"
    "1DF158A136ADE73530ACCA4F483A797ABC0AB182B324FB61D108A94BB2C8E3FBB96ADAB760D7F4681D4F42A3DE394DF4AE56EDE76372BB19"
    "0B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F619172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005"
    "C58EF1837D1683B2C6F34A26C1B2EFFA886B423861285C97FFFFFFFFFFFFFFFF", 16,
)
"""A group of RFC 7919, for the suites of our control that need one."""


def dh_parameters() -> str:
    """PEM of PKCS #3: SEQUENCE of the prime (257 bytes with its sign) and the generator 2."""
    prime = b"\x02\x82\x01\x01\x00" + _FFDHE2048.to_bytes(256, "big")
    der = b"\x30\x82" + (len(prime) + 3).to_bytes(2, "big") + prime + b"\x02\x01\x02"
    return f"-----BEGIN DH PARAMETERS-----\n{b64encode(der).decode()}\n-----END DH PARAMETERS-----\n"


def shake(client: ssl.SSLContext, server: ssl.SSLContext, *, host: str = "localhost",
          session: ssl.SSLSession | None = None) -> tuple[ssl.SSLObject, ssl.SSLObject]:  # fmt: skip
    """Both ends behind their handshake. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up, server_hostname=host, session=session)
    there = server.wrap_bio(up, down, server_side=True)
    waiting = [here, there]
    for _ in range(12):
        for end in list(waiting):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
        if not waiting:
            return here, there
    raise ssl.SSLError("the handshake does not end")


def flow(reader: ssl.SSLObject, writer: ssl.SSLObject, data: bytes) -> bytes:
    """Bytes from one end to the other."""
    writer.write(data)
    return reader.read(len(data) + 1)


def agreed(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[str, str] | None:
    """Version and suite, None when they find none. An empty message goes over, so that both ends have ended."""
    try:
        here, there = shake(client, server)
        assert flow(there, here, b"x") == b"x"
    except ssl.SSLError:
        return None
    assert here.compression() is None
    cipher = here.cipher()
    version = here.version()
    assert cipher is not None and version is not None
    return version, cipher[0]


def suites_of_1_2() -> list[str]:
    """Every suite this OpenSSL can offer below TLS 1.3, weak ones and those without certificates included."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(EVERYTHING)
    return [one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]


def only(make: Callable[[], ssl.SSLContext], version: ssl.TLSVersion, suite: str = EVERYTHING) -> ssl.SSLContext:
    """A lax context that speaks this version and offers this suite alone."""
    context = make()
    context.set_ciphers(suite if "@" in suite else f"{suite}:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


def versions() -> Iterator[ssl.TLSVersion]:
    yield from (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
