"""Distinguished names as text: written for ``Issuer`` of an assertion, read back to compare with a certificate.

Clause: DMP VIHF Issuer (X509SubjectName, "GN" and "ST" spellings); RFC 2253, RFC 4514
"""

from __future__ import annotations

import re
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

_WRITTEN = {
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    NameOID.SERIAL_NUMBER: "serialNumber",
}

_KEYWORDS = {
    "CN": NameOID.COMMON_NAME,
    "SN": NameOID.SURNAME,
    "SURNAME": NameOID.SURNAME,
    "GN": NameOID.GIVEN_NAME,
    "G": NameOID.GIVEN_NAME,
    "GIVENNAME": NameOID.GIVEN_NAME,
    "T": NameOID.TITLE,
    "TITLE": NameOID.TITLE,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "STREET": NameOID.STREET_ADDRESS,
    "DC": NameOID.DOMAIN_COMPONENT,
    "UID": NameOID.USER_ID,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
}

_ATTRIBUTE = re.compile(
    r"""\s*(?P<key>[A-Za-z][A-Za-z0-9-]*|(?:OID\.)?\d+(?:\.\d+)+)\ *=\ *
        (?:\#(?P<hex>(?:[0-9A-Fa-f]{2})+)
          |"(?P<quoted>(?:[^"\\]|\\.)*)"
          |(?P<plain>(?:[^,;+"\\]|\\.)*?))
        \ *(?P<next>[,;+]|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\([0-9A-Fa-f]{2})((?:\\[0-9A-Fa-f]{2})*)|\\(.)", re.DOTALL)
_LONGEST = 1024

RelativeNames = tuple[frozenset[tuple[str, str]], ...]
"""One set of (dotted OID, value) for each relative name, in the order of the certificate."""


def write(name: x509.Name) -> str:
    """The name as text, RFC 2253 order (most specific first), multi-valued relative names joined with ``+``."""
    return name.rfc4514_string(_WRITTEN)


def same(text: str, name: x509.Name) -> bool:
    """Whether ``text`` names the same subject as the certificate.

    Tolerated: keywords in any case, spaces after separators, unknown attributes as ``OID=#hex``, and the
    relative names in certificate order, because the stacks in use write all of these.
    """
    if text == write(name):
        return True
    try:
        read = parse(text)
    except ValueError:
        return False
    wanted = relative_names(name)
    return read in (wanted, tuple(reversed(wanted)))


def relative_names(name: x509.Name) -> RelativeNames:
    return tuple(frozenset((a.oid.dotted_string, str(a.value)) for a in rdn) for rdn in name.rdns)


@lru_cache(maxsize=1024)
def parse(text: str) -> RelativeNames:
    """Read a name written most specific first, into certificate order.

    Raises ValueError for what is not a distinguished name.
    """
    if not text or len(text) > _LONGEST:
        raise ValueError("empty or over-long distinguished name")
    names: list[set[tuple[str, str]]] = [set()]
    position = 0
    while True:
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            raise ValueError("not a distinguished name")
        names[-1].add((_oid(match["key"]), _value(match)))
        position = match.end()
        if not match["next"]:
            break
        if match["next"] != "+":
            names.append(set())
    return tuple(frozenset(rdn) for rdn in reversed(names))


def _oid(keyword: str) -> str:
    if keyword[0].isdigit():
        return ObjectIdentifier(keyword).dotted_string
    if keyword.upper().startswith("OID."):
        return ObjectIdentifier(keyword[4:]).dotted_string
    known = _KEYWORDS.get(keyword.upper())
    if known is None:
        raise ValueError(f"unknown attribute {keyword!r}")
    return known.dotted_string


def _value(match: re.Match[str]) -> str:
    if match["hex"] is not None:
        der = bytes.fromhex(match["hex"])
        if len(der) < 2 or der[1] != len(der) - 2:
            raise ValueError("not a short DER string")
        return der[2:].decode("utf-8" if der[0] == 0x0C else "latin-1")
    if match["quoted"] is not None:
        return _unescape(match["quoted"])
    return _unescape(match["plain"])


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[3] is not None:
            return match[3]
        return bytes.fromhex((match[1] + match[2]).replace("\\", "")).decode("utf-8")

    return _ESCAPED.sub(replace, text)
