"""The TLS we speak, wherever we listen and wherever we connect: 1.3, and 1.2 with four suites. Nothing else.

Every context of the house is made here (a test reads the source for others), so that what is said of one holds for all:
no older version, no other suite, no compression, no renegotiation, no early data, no session tickets. The four suites
need an RSA certificate on the side that listens; 1.3 takes any.

Without tickets a caller of 1.3 shows his certificate in every handshake. A session of 1.2 may be resumed from our own
memory, which keeps the certificate: it is known, and judged again for every request, as on any other connection.

Rule: K-01. Clause: DMP PDT-INF-579; ITI TF-2 3.19.6; RFC 9325
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

SUITES = (
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-SHA384",
)
"""Of TLS 1.2, in OpenSSL's names. The last one is a CBC suite, which the reference asks for all the same."""

Tls = ssl.SSLContext | Callable[[], ssl.SSLContext]
"""A context, or what gives the one for the next connection: keys and authorities change while we run."""


def listening() -> ssl.SSLContext:
    """For a server. It has no certificate yet, and asks callers for none."""
    context = _bounded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def calling(anchors: Path | str | None = None, *, pem: str = "") -> ssl.SSLContext:
    """For a client, which checks certificate and name of the server.

    ``anchors`` is a file of authorities, ``pem`` the same as text; without either the system's own are trusted.
    """
    context = _bounded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if anchors or pem:
        context.load_verify_locations(cafile=str(anchors) if anchors else None, cadata=pem or None)
    else:
        context.load_default_certs()
    return context


def current(tls: Tls) -> ssl.SSLContext:
    """The context for a new connection."""
    return tls if isinstance(tls, ssl.SSLContext) else tls()


def _bounded(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_ciphers(":".join(SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context
