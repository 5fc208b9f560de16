"""Readers of what is inside a metadata value: HL7 v2 types, times, identifiers.

Every ``parse`` raises ValueError with a reason a person can act on; none of them changes the stored value.
HL7 length limits are not applied. Trailing empty components say nothing. ``\\F\\ \\S\\ \\T\\ \\R\\ \\E\\`` stand for
``| ^ & ~ \\``.

Clause: ITI TF-3 4.2.3.1.7
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from xds.model import hl7

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+").fullmatch
_UUID_URN = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_DTM = re.compile(
    "(?!0000)[0-9]{4}((0[1-9]|1[0-2])((0[1-9]|[12][0-9]|3[01])(([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9])?)?)?)?)?"
).fullmatch
_LANGUAGE = re.compile(r"([A-Za-z]{2,8}|[xXiI](?=-))(-[A-Za-z0-9]{1,8})*").fullmatch
_SHA1 = re.compile(r"[0-9A-Fa-f]{40}").fullmatch
_MIME_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}").fullmatch
_PRINTABLE = re.compile(r"[!-~]{1,256}").fullmatch
_PID = re.compile(r"PID-([1-9][0-9]?)\|(.*)", re.DOTALL).fullmatch
_SPLIT_URI = re.compile(r"([1-9][0-9]*)\|(.*)", re.DOTALL).fullmatch
_OID_LENGTH = 64
_SEXES = frozenset("AFMNOU")
"""HL7 table 0001."""
_LOWEST = "0101000000"
"""Month to second of the first second of a year."""


def is_oid(text: str) -> bool:
    """Digits and dots, first arc 0 to 2, no leading zero, at most 64 characters. Clause: ITI TF-2 Appendix B"""
    return len(text) <= _OID_LENGTH and _OID(text) is not None


def is_uuid_urn(text: str) -> bool:
    """``urn:uuid:`` and lower-case hex. Clause: ITI TF-3 4.2.3.1.8"""
    return _UUID_URN(text) is not None


def is_oid_urn(text: str) -> bool:
    """``urn:oid:`` and an OID, at most 64 characters: a homeCommunityId. Clause: ITI TF-3 4.2.3.2.12"""
    return len(text) <= _OID_LENGTH and text.startswith("urn:oid:") and is_oid(text[8:])


def is_language_tag(text: str) -> bool:
    """The shape of an RFC 5646 tag: ``fr``, ``fr-FR``, ``art``; registered subtags are not looked up."""
    return _LANGUAGE(text) is not None


def is_sha1(text: str) -> bool:
    """40 hex digits in either case. Clause: ITI TF-3 4.2.3.2.10"""
    return _SHA1(text) is not None


def is_mime_type(text: str) -> bool:
    """type/subtype as RFC 6838 4.2 restricts them, without parameters."""
    return _MIME_TYPE(text) is not None


def is_identifier(text: str) -> bool:
    """A document uniqueId: opaque, printable ASCII without spaces, at most 256. Clause: ITI TF-3 4.2.3.2.26"""
    return _PRINTABLE(text) is not None


def is_dtm(text: str) -> bool:
    """Four to fourteen digits of a UTC time that exists; no zone, no fraction. Clause: ITI TF-3 4.2.3.1.7"""
    if not _DTM(text):
        return False
    return text[6:8] <= "28" or int(text[6:8]) <= monthrange(int(text[:4]), int(text[4:6]))[1]


def dtm_start(text: str) -> str:
    """First second of the period a DTM names, 14 digits: ``2024`` gives ``20240101000000``.

    Raises ValueError when ``text`` is not a DTM.
    """
    if not is_dtm(text):
        raise ValueError(f"{text[:40]!r} is not a UTC time of 4, 6, 8, 10, 12 or 14 digits")
    return text + _LOWEST[len(text) - 4 :]


def dtm_end(text: str) -> str:
    """Last second of the period a DTM names, 14 digits: ``202402`` gives ``20240229235959``.

    Raises ValueError when ``text`` is not a DTM.
    """
    start = dtm_start(text)
    month = start[4:6] if len(text) >= 6 else "12"
    day = start[6:8] if len(text) >= 8 else f"{monthrange(int(start[:4]), int(month))[1]:02d}"
    return start[:4] + month + day + text[8:] + "235959"[len(text[8:]) :]


def dtm_text(moment: datetime) -> str:
    """A moment (with a time zone) as DTM: UTC, 14 digits."""
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S")


@dataclass(frozen=True, slots=True)
class Hd:
    """Assigning authority ``namespace&OID&ISO``. Clause: ITI TF-3 4.2.3.1.7"""

    namespace: str = ""
    universal_id: str = ""
    universal_id_type: str = ""

    @classmethod
    def parse(cls, text: str) -> Hd:
        parts = hl7.split(text, "&")
        if len(parts) > 3:
            raise ValueError(f"assigning authority {text[:80]!r} has more than three parts")
        return cls(*parts)

    def require_oid(self, where: str, *, namespace: bool = False) -> None:
        """Raises ValueError unless this is ``&OID&ISO``; ``namespace`` allows the first part."""
        if self.namespace and not namespace:
            raise ValueError(f"{where}.1 must be empty")
        if not is_oid(self.universal_id):
            raise ValueError(f"{where}.2 must be an OID")
        if self.universal_id_type != "ISO":
            raise ValueError(f"{where}.3 must be ISO")


@dataclass(frozen=True, slots=True)
class Cx:
    """A patient identifier ``ID^^^&OID&ISO``.

    ``extra`` holds component 5 (the identifier type: NH, INS-C, PI in France) and what follows; whether
    they are welcome is a setting of the affinity domain, so they are kept, not judged.

    Clause: ITI TF-3 4.2.3.1.7
    """

    id: str
    authority: str
    """OID of the assigning authority"""
    extra: tuple[str, ...] = ()

    @property
    def type_code(self) -> str:
        return self.extra[0] if self.extra else ""

    @classmethod
    def parse(cls, text: str) -> Cx:
        parts = hl7.split(text.strip(), "^")
        if not parts or not parts[0]:
            raise ValueError("CX.1, the identifier, is missing")
        if "~" in text:
            raise ValueError("a single identifier is expected, found a repetition (~)")
        if any(parts[1:3]):
            raise ValueError("CX.2 and CX.3 must be empty")
        if len(parts) < 4 or not parts[3]:
            raise ValueError("CX.4, the assigning authority, is missing")
        authority = Hd.parse(parts[3])
        authority.require_oid("CX.4")
        return cls(hl7.unescape(parts[0]), authority.universal_id, tuple(hl7.unescape(p) for p in parts[4:]))

    def __str__(self) -> str:
        return "^".join((hl7.escape(self.id), "", "", f"&{self.authority}&ISO", *map(hl7.escape, self.extra)))


def normalise_cx(text: str) -> str:
    """The one spelling of a patient identifier: trimmed, without trailing empty components.

    Raises ValueError when it is not a CX. Clause: ITI TF-3 4.2.3.2.16
    """
    return str(Cx.parse(text))


@dataclass(frozen=True, slots=True)
class Cxi:
    """A reference ``ID^^^authority^type^home`` of the referenceIdList. Clause: ITI TF-3 4.2.3.1.7"""

    id: str
    type_code: str
    authority: Hd = field(default_factory=Hd)
    home_community_id: str = ""

    @classmethod
    def parse(cls, text: str) -> Cxi:
        parts = [*hl7.split(text, "^"), "", "", "", "", "", ""]
        if not parts[0]:
            raise ValueError("CXi.1, the identifier, is missing")
        if any(parts[1:3]):
            raise ValueError("CXi.2 and CXi.3 must be empty")
        if not parts[4]:
            raise ValueError("CXi.5, the type of the identifier, is missing")
        if any(parts[6:]):
            raise ValueError("CXi has at most six components")
        authority = Hd.parse(parts[3])
        if parts[3]:
            authority.require_oid("CXi.4", namespace=True)
        return cls(hl7.unescape(parts[0]), hl7.unescape(parts[4]), authority, parts[5])


@dataclass(frozen=True, slots=True)
class Xcn:
    """A person. ``name_type`` (.10) and ``id_type`` (.13) are used in France: D or U, IDNPS, NH and so on.

    Clause: ITI TF-3 4.2.3.1.7
    """

    id: str = ""
    family: str = ""
    given: str = ""
    other: str = ""
    suffix: str = ""
    prefix: str = ""
    authority: Hd = field(default_factory=Hd)
    name_type: str = ""
    id_type: str = ""

    @classmethod
    def parse(cls, text: str) -> Xcn:
        parts = [*hl7.split(text, "^"), *[""] * 13]
        if not parts[0] and not parts[1]:
            raise ValueError("XCN.1 (identifier) or XCN.2 (family name) must be present")
        authority = Hd.parse(parts[8])
        if parts[8]:
            authority.require_oid("XCN.9")
        id_, family, given, other, suffix, prefix = (hl7.unescape(p) for p in parts[:6])
        return cls(id_, family, given, other, suffix, prefix, authority, hl7.unescape(parts[9]),
                   hl7.unescape(parts[12]))


@dataclass(frozen=True, slots=True)
class Xon:
    """An organisation. ``id_type`` (.7) is used in France: IDNST. Clause: ITI TF-3 4.2.3.1.7"""

    name: str
    authority: Hd = field(default_factory=Hd)
    id_type: str = ""
    id: str = ""

    @classmethod
    def parse(cls, text: str) -> Xon:
        parts = [*hl7.split(text, "^"), *[""] * 10]
        if not parts[0]:
            raise ValueError("XON.1, the name of the organisation, is missing")
        if any(parts[1:5]) or parts[7] or parts[8] or any(parts[10:]):
            raise ValueError("XON has only components 1, 6, 7 and 10")
        authority = Hd.parse(parts[5])
        if parts[5]:
            authority.require_oid("XON.6")
        elif parts[9] and not is_oid(parts[9]):
            raise ValueError("XON.6, the assigning authority, is missing for an identifier that is not an OID")
        return cls(hl7.unescape(parts[0]), authority, hl7.unescape(parts[6]), hl7.unescape(parts[9]))


@dataclass(frozen=True, slots=True)
class Xtn:
    """A telephone number or an e-mail address. Clause: ITI TF-3 4.2.3.1.7"""

    use: str
    equipment: str
    address: str = ""
    country: str = ""
    area: str = ""
    local: str = ""
    extension: str = ""
    unformatted: str = ""

    @classmethod
    def parse(cls, text: str) -> Xtn:
        parts = [hl7.unescape(p) for p in (*hl7.split(text, "^"), *[""] * 12)]
        number = cls(parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], parts[7], parts[11])
        if not number.equipment:
            raise ValueError("XTN.3, the type of equipment, is missing")
        if number.equipment == "Internet":
            if not number.address:
                raise ValueError("XTN.4, the address, is missing")
        elif not (number.local or number.unformatted):
            raise ValueError("XTN.7, the local number, is missing")
        return number


@dataclass(frozen=True, slots=True)
class Recipient:
    """One intended recipient ``organisation|person|telecommunication``. Clause: ITI TF-3 4.2.3.3.7"""

    organization: Xon | None = None
    person: Xcn | None = None
    telecommunication: Xtn | None = None

    @classmethod
    def parse(cls, text: str) -> Recipient:
        parts = [*text.split("|"), "", ""]
        if any(parts[3:]):
            raise ValueError("an intended recipient has at most three parts")
        if not any(parts[:3]):
            raise ValueError("an intended recipient names an organisation, a person or a telecommunication")
        return cls(
            Xon.parse(parts[0]) if parts[0] else None, Xcn.parse(parts[1]) if parts[1] else None,
            Xtn.parse(parts[2]) if parts[2] else None,
        )


@dataclass(frozen=True, slots=True)
class PidValue:
    """One value of sourcePatientInfo: ``PID-5|FICTIF^Anne``. Clause: ITI TF-3 4.2.3.2.23"""

    number: int
    content: str

    @classmethod
    def parse(cls, text: str) -> PidValue:
        match = _PID(text)
        if match is None:
            raise ValueError("expected PID-, a field number without leading zero, | and the content")
        return cls(int(match[1]), match[2])


def pid_fault(pid: PidValue) -> str:
    """What identifiers (PID-3), birth date (PID-7) and sex (PID-8) should look like, when they do not; else "".

    Clause: ITI TF-3 4.2.3.2.23; HL7 v2.5 3.4.2
    """
    if pid.number == 3:
        try:
            for repetition in pid.content.split("~"):
                Cx.parse(repetition)
        except ValueError as error:
            return str(error)
    elif pid.number == 7 and not is_dtm(pid.content):
        return "a date of birth as YYYYMMDD"
    elif pid.number == 8 and pid.content not in _SEXES:
        return f"one of {', '.join(sorted(_SEXES))}"
    return ""


def join_uri(values: Sequence[str]) -> str:
    """The URI of a document from the values of its slot: one value, or parts ``1|…``, ``2|…`` put in order.

    Raises ValueError when several values are not numbered 1, 2, 3 and so on.
    Clause: ITI TF-3 4.2.3.2.27
    """
    if len(values) == 1 and not _SPLIT_URI(values[0]):
        return values[0]
    parts: dict[int, str] = {}
    for value in values:
        match = _SPLIT_URI(value)
        if match is None or len(match[1]) > 4:
            raise ValueError("several values of a URI are numbered: 1|…, 2|…")
        parts[int(match[1])] = match[2]
    if not parts or len(parts) != len(values) or sorted(parts) != list(range(1, len(values) + 1)):
        raise ValueError("the parts of a URI are numbered without a gap: 1|…, 2|…")
    return "".join(parts[n] for n in sorted(parts))
