"""The addresses answers may be sent to. Nothing else taken from a message is ever connected to.

Clause: ITI TF-2 Appendix V 5; W3C WS-Addressing 1.0 Core 3.4
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]{2,45}\]|[a-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[a-z0-9._~!$&'()*+,;=:@%/-]*)?(?P<query>\?[a-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.IGNORECASE | re.ASCII,
)
"""No user name, no fragment, no back slash, no blank: what two readers of an address could read in two ways."""
_DISGUISED = re.compile(r"%2e|%2f|%5c|%00|/\.{1,2}(?:/|$)|//", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """An address taken apart. ``host`` as it was written, in lower case; IPv6 without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def origin(self) -> str:
        """For logs: no path, which may carry what a partner keeps to himself."""
        return f"{self.scheme}://{self.host}:{self.port}"


def read_target(address: str) -> Target:
    """Take an address apart; ValueError for anything that is not plainly one http or https address."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError("not a plain http or https address")
    scheme, path = match["scheme"].lower(), match["path"] or "/"
    port = int(match["port"] or _PORTS[scheme])
    if _DISGUISED.search(path) or not 0 < port < 65536:
        raise ValueError("an address whose path or port is not plain")
    return Target(scheme, match["host"].lower().strip("[]"), port, path, match["query"] or "")


class ReplyAddresses:
    """The list an operator keeps. An entry stands for its own path and everything below it.

    ``allowed`` are addresses like ``https://his.example:8443/answers``; scheme, host and port must be the same,
    names are compared as written and never looked up. ``plain_loopback`` permits ``http`` entries that name a
    loopback address in figures. Raises ValueError for an entry that is none of that.
    """

    def __init__(self, allowed: Iterable[str], *, plain_loopback: bool = False) -> None:
        self._allowed = tuple(_entry(address, plain_loopback) for address in allowed)

    def find(self, address: str) -> Target | None:
        """Where to send, None when the address is not on the list. Rule: T-15, I-19"""
        try:
            wanted = read_target(address)
        except ValueError:
            return None
        return wanted if any(_covers(entry, wanted) for entry in self._allowed) else None


def _entry(address: str, plain_loopback: bool) -> Target:
    try:
        target = read_target(address)
    except ValueError as error:
        raise ValueError(f"reply address {address!r}: {error}") from None
    if target.query:
        raise ValueError(f"reply address {address!r}: an entry has no query")
    if target.scheme == "http" and not (plain_loopback and _is_loopback(target.host)):
        raise ValueError(f"reply address {address!r}: https, or http to a loopback address where that is permitted")
    return target


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _covers(entry: Target, wanted: Target) -> bool:
    if (entry.scheme, entry.host, entry.port) != (wanted.scheme, wanted.host, wanted.port):
        return False
    below = entry.path if entry.path.endswith("/") else f"{entry.path}/"
    return wanted.path == entry.path or wanted.path.startswith(below)
