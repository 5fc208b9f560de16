"""Where a card is that is no file: a ``pkcs11:`` address.

``pkcs11:token=anne?module-path=/usr/lib/softhsm/libsofthsm2.so``: the token by label, serial number, model or
manufacturer, and the library of its maker. A PIN has no place in it: an address is typed, logged and remembered.

Clause: RFC 7512
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

SCHEME = "pkcs11:"
_PATH = ("token", "serial", "model", "manufacturer")
_IGNORED = ("object", "type", "id", "slot-id", "slot-description", "slot-manufacturer", "library-manufacturer",
            "library-description", "library-version", "module-name")  # fmt: skip
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~\-:\[\]@!$'()*+,=/&]|%[0-9A-Fa-f]{2})*")
_LONGEST = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAddress:
    """Which token; "" where the address does not say."""

    token: str = ""
    serial: str = ""
    model: str = ""
    manufacturer: str = ""
    module_path: str = ""
    pin_source: str = ""
    """Path of a file whose first line is the PIN"""

    def __str__(self) -> str:
        return f"{SCHEME}token={self.token}" if self.token else f"{SCHEME}serial={self.serial}"


def parse(text: str) -> TokenAddress:
    """Raises ValueError with what is wrong; the text of it never repeats the value of an attribute."""
    if not text.startswith(SCHEME) or len(text) > _LONGEST:
        raise ValueError(f"an address of a card begins with {SCHEME} and has at most {_LONGEST} characters")
    path, _, query = text[len(SCHEME) :].partition("?")
    found = _attributes(path, ";", _PATH) | _attributes(query, "&", ("module-path", "pin-source"))
    source = found.get("pin-source", "")
    if source and not source.removeprefix("file:").removeprefix("//").startswith("/"):
        raise ValueError("pin-source names a file by its whole path: pin-source=file:/path")
    address = TokenAddress(
        **{name: found.get(name, "") for name in _PATH},
        module_path=found.get("module-path", ""),
        pin_source=source.removeprefix("file:").removeprefix("//"),
    )
    if not (address.token or address.serial):
        raise ValueError("the address names no token: pkcs11:token=LABEL, or pkcs11:serial=NUMBER")
    return address


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise ValueError("a PIN has no place in an address: use --pin-file, CARNET_PIN or pin-source")
        if not equals or not _CHARACTERS.fullmatch(value):
            raise ValueError("not attributes of the form name=value; other characters are written as %XX")
        if name in found:
            raise ValueError(f"{name} is given twice")
        if name in known:
            try:
                found[name] = unquote_to_bytes(value).decode("utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"{name} is not UTF-8") from None
            if "\0" in found[name]:
                raise ValueError(f"{name} holds a null character")
        elif name not in _IGNORED and not name.startswith("x-"):
            raise ValueError(f"unknown attribute {name[:40]!r} here; known: {', '.join(known)}")
    return found
