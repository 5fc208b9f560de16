"""ITI-8 Patient Identity Feed: HL7 v2.3.1 ADT messages, one in, one acknowledgement out.

The listener that carries them is none of this file's business; it hands over the bytes of one message. The answer
is made after the commit: AA says that what the message asked for is durable. AE: the message is understood and
refused, sending it again will not help. AR: it could not be taken at all (type, version, character set, sender, or
a failure of ours). A refusal changes nothing but the access log.

Only MSH, PID-3 and MRG-1 are read. Tolerated: a missing EVN or PV1 and any version 2.x, because nothing is taken
from them; segments that end with a line feed, because files are sent as they are.

Clause: ITI TF-2 3.8.4
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

import hl7

from guard.audit import access_log
from guard.audit.particulars import Particulars, process_id
from guard.credentials.caller import Caller, Mode
from record.actor import RecordRefused
from record.identity import (
    Act,
    add_identity,
    log_refusal,
    merge_identities,
    patient_identifier,
    revise_identity,
)
from registry.actor import RegistryActor
from registry.store import RegistryUnit
from xds.model.hl7 import escape, split, unescape
from xds.wire.exchange import Peer
from xds.wire.outcome import place_of

NAME = "ITI-8"
ADDS = frozenset({"A01", "A04", "A05"})
REVISE, MERGE = "A08", "A40"
ACTION_OF = dict.fromkeys(ADDS, access_log.IDENTITY_ADDED) | {
    REVISE: access_log.IDENTITY_REVISED, MERGE: access_log.IDENTITY_MERGE,
}
MAX_FIELD = 199
"""Characters of a header field that are repeated in the acknowledgement."""
MAX_IDENTIFIERS = 50
_SEPARATORS = "|^~\\&"
_CHARSET = re.compile(r"8859/([1-9]|1[0-5])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WORDS = {
    "100": "Segment sequence error", "101": "Required field missing", "102": "Data type error",
    "103": "Table value not found", "200": "Unsupported message type", "201": "Unsupported event code",
    "202": "Unsupported processing id", "203": "Unsupported version id", "204": "Unknown key identifier",
    "207": "Application internal error",
}
"""HL7 table 0357."""
_log = logging.getLogger("carnet.iti8")


class _Refused(Exception):
    """Why a message is not accepted. ``place`` is segment^sequence^field, as ERR-1 wants it."""

    def __init__(self, code: str, place: str, number: str, text: str):
        self.code, self.place, self.number, self.text = code, place, number, text
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class _Header:
    """The fields of MSH that are needed, as received."""

    application: str = ""
    facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    kind: str = ""
    event: str = ""
    control_id: str = ""
    processing_id: str = "P"
    version: str = "2.3.1"
    charset: str = ""


@dataclass(frozen=True, slots=True)
class _Named:
    """An identifier of the domain, found in a list."""

    patient_id: str
    authority: str


def receive(actor: RegistryActor, message: bytes, caller: Caller, peer: Peer) -> bytes:
    """Take one ADT message and return its acknowledgement, in the character set of the message.

    ``message`` is what stood between the MLLP block characters; it is bounded by the listener. Never raises.
    Clause: ITI TF-2 3.8.4.1.3, 3.8.4.1.4, 3.8.4.2.4; Rule: F-16, F-17
    """
    trace_id = uuid4().hex
    message = message.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    header, refusal = _Header(), None
    act = Act(by=caller, event=NAME, trace_id=trace_id, peer=peer.address)
    try:
        header = _header(message)
        act = replace(act, message_id=header.control_id, by=_named(caller, header), told=_told(header))
        _accept(actor, header, message, act)
    except _Refused as refused:
        refusal = refused
    except Exception as error:
        _log.error("%s %s at %s", trace_id, type(error).__name__, place_of(error))
        refusal = _Refused("AR", "MSH^1^", "207", "the registry failed or is busy; send the message again later")
    return _acknowledgement(header, trace_id, refusal).encode(_encoding(header.charset) or "iso8859-1", "replace")


def _named(caller: Caller, header: _Header) -> Caller:
    """Where no certificate says who sends, the header does."""
    if caller.identifier or caller.mode is not Mode.OFF:
        return caller
    return replace(caller, identifier=f"{header.application}|{header.facility}")


def _told(header: _Header) -> Particulars:
    """Clause: ITI TF-2 3.8.5"""
    return Particulars(
        endpoint=f"{header.receiving_facility}|{header.receiving_application}",
        client=f"{header.facility}|{header.application}",
        process=process_id(),
    )


def _accept(actor: RegistryActor, header: _Header, message: bytes, act: Act) -> None:
    try:
        parsed = _checked(actor, header, message)
        if header.event == MERGE:
            _merge(actor, parsed, act)
        else:
            _add_or_revise(actor, header.event, parsed, act)
    except _Refused as refused:
        _note(actor, header, act, refused)
        raise


# -- what a message asks for --------------------------------------------------------------------------------------


def _add_or_revise(actor: RegistryActor, event: str, parsed: hl7.Message, act: Act) -> None:
    """Every identifier of the domain in PID-3; identifiers of others are ignored. Rule: F-01, F-02, F-04"""
    named = _identifiers(actor, _field(parsed, "PID", 3), "PID^1^3")

    def act_on(unit: RegistryUnit) -> None:
        for one in named:
            if event == REVISE:
                revise_identity(unit, one.patient_id, act)
            else:
                add_identity(unit, actor.domain, one.patient_id, act)

    _write(actor, act, ACTION_OF[event], named[0].patient_id if named else "", "PID^1^3", act_on)


def _merge(actor: RegistryActor, parsed: hl7.Message, act: Act) -> None:
    """MRG-1 into PID-3, one pair a message. Rule: F-05, F-06"""
    for name in ("PID", "MRG"):
        if len(_segments(parsed, name)) > 1:
            raise _Refused("AE", f"{name}^2^", "100", f"found several {name} segments; expected one pair in a message")
    if not actor.feed.may_merge:
        raise _Refused("AE", "MSH^1^9", "201", "merges are made by an operator here: carnet patient merge")
    survivors = _identifiers(actor, _field(parsed, "PID", 3), "PID^1^3")
    subsumed = _identifiers(actor, _field(parsed, "MRG", 1), "MRG^1^1")
    for place, found in (("PID^1^3", survivors), ("MRG^1^1", subsumed)):
        if not found:
            raise _Refused("AE", place, "204", "found no identifier of an assigning authority of this domain")
    old, new = _pair(subsumed, survivors)
    _write(
        actor, act, ACTION_OF[MERGE], old.patient_id, "MRG^1^1",
        lambda unit: merge_identities(unit, actor.domain, old.patient_id, new.patient_id, act),
    )


def _write(
    actor: RegistryActor, act: Act, action: str, patient_id: str, place: str, change: Callable[[RegistryUnit], object]
) -> None:
    """One transaction: all that a message asks for, or nothing of it and the line that says so. Rule: F-15, F-20"""
    try:
        with actor.database.write() as unit:
            change(unit)
    except RecordRefused as error:
        with actor.database.write() as unit:
            log_refusal(unit, act, action, patient_id, error)
        raise _Logged("AE", place, "204", str(error)) from error


class _Logged(_Refused):
    """Refused, and the access log says so already."""


def _pair(subsumed: list[_Named], survivors: list[_Named]) -> tuple[_Named, _Named]:
    """The pair of one authority, as the framework has it; else the first of each, because a provisional identifier
    (NIA) is merged into the final one (NIR) of another authority."""
    for old in subsumed:
        for new in survivors:
            if old.authority == new.authority:
                return old, new
    return subsumed[0], survivors[0]


def _identifiers(actor: RegistryActor, text: str, place: str) -> list[_Named]:
    """The identifiers of the domain in a list of CX, in its order. Clause: ITI TF-2 3.8.4.1.2.3; Rule: F-02, F-03"""
    parts = [part for part in text.split("~") if part.strip("^& ")]
    if not parts or len(parts) > MAX_IDENTIFIERS:
        raise _Refused("AE", place, "101", f"found {len(parts)} identifiers; expected 1 to {MAX_IDENTIFIERS}")
    found = []
    for part in parts:
        components = part.split("^")
        oid = _authority(actor, components[3] if len(components) > 3 else "", place)
        if not oid or (actor.domain.assigning_authorities and oid not in actor.domain.assigning_authorities):
            continue
        try:
            found.append(_Named(patient_identifier(actor.domain, unescape(components[0]).strip(), oid), oid))
        except RecordRefused as error:
            raise _Refused("AE", place, "102", str(error)) from error
    return found


def _authority(actor: RegistryActor, text: str, place: str) -> str:
    """The OID of an HD, from our configuration where it gives a namespace alone; "" for one we cannot know.

    Tolerated: where namespaces are not configured and the domain has one authority only, what comes without an OID is
    of that one; not where a record needs consent, because there it may be anybody's number.
    """
    namespace, oid, kind = ([unescape(part).strip() for part in split(text, "&")] + ["", "", ""])[:3]
    known = actor.feed.namespaces.get(namespace, "") if namespace else ""
    if not oid:
        return known or _sole_authority(actor)
    if known and known != oid:
        raise _Refused("AE", place, "102", f"found namespace {namespace} with the universal id {oid}; expected {known}")
    return oid if kind in ("", "ISO") else ""


def _sole_authority(actor: RegistryActor) -> str:
    authorities = actor.domain.assigning_authorities
    if len(authorities) != 1 or actor.feed.namespaces or actor.domain.record_needs_consent:
        return ""
    return next(iter(authorities))


# -- reading ------------------------------------------------------------------------------------------------------


def _header(message: bytes) -> _Header:
    """The fields of MSH, before anything else is believed. Raises _Refused."""
    line = message.lstrip(b"\r").split(b"\r", 1)[0]
    if not line.startswith(b"MSH" + _SEPARATORS.encode() + b"|"):
        raise _Refused("AR", "MSH^1^2", "102", "found no MSH segment with the separators |^~\\&")
    raw = line.split(b"|", 18)
    charset = (raw[17] if len(raw) > 17 else b"").split(b"~")[0].decode("ascii", "replace").strip()
    fields = [part.decode(_encoding(charset) or "iso8859-1", "replace") for part in raw]
    fields = [_CONTROLS.sub("", part)[:MAX_FIELD] for part in fields] + [""] * 18
    kind, event = [*fields[8].split("^"), ""][:2]
    return _Header(
        application=fields[2], facility=fields[3], receiving_application=fields[4], receiving_facility=fields[5],
        kind=kind, event=event, control_id=fields[9], processing_id=fields[10], version=fields[11], charset=charset,
    )


def _encoding(charset: str) -> str:
    """The Python codec of MSH-18; "" for one we do not take. Absent means 8859/1, of which ASCII is a part.

    Clause: HL7 v2.3.1 2.24.1.18; Rule: F-16
    """
    if charset in ("", "ASCII", "8859/1"):
        return "iso8859-1"
    if charset in ("UNICODE UTF-8", "UTF-8"):
        return "utf-8"
    part = _CHARSET.fullmatch(charset)
    return f"iso8859-{part[1]}" if part and part[1] != "12" else ""


def _checked(actor: RegistryActor, header: _Header, message: bytes) -> hl7.Message:
    """The message parsed, once its header is one we take. Raises _Refused."""
    encoding = _encoding(header.charset)
    if not encoding:
        raise _Refused("AR", "MSH^1^18", "103", f"found character set {header.charset}; expected 8859/1 to /15 or "
                       "UNICODE UTF-8")
    if header.kind != "ADT":
        raise _Refused("AR", "MSH^1^9", "200", f"found {header.kind or 'no message type'}; expected ADT")
    if header.event not in ACTION_OF:
        raise _Refused("AR", "MSH^1^9", "201", f"found {header.event or 'no event'}; expected {', '.join(ACTION_OF)}")
    if header.processing_id.split("^")[0] not in ("P", "T", "D"):
        raise _Refused("AR", "MSH^1^11", "202", f"found {header.processing_id or 'nothing'}; expected P, T or D")
    if not header.version.startswith("2."):
        raise _Refused("AR", "MSH^1^12", "203", f"found {header.version or 'nothing'}; expected 2.3.1")
    if not header.control_id:
        raise _Refused("AR", "MSH^1^10", "101", "found no message control id")
    sender = f"{header.application}|{header.facility}"
    if actor.feed.senders and sender not in actor.feed.senders:
        raise _Refused("AR", "MSH^1^3", "204", f"found {sender}; expected an identity source of this domain")
    try:
        parsed = hl7.parse(message.decode(encoding))
    except (UnicodeDecodeError, ValueError, LookupError, AssertionError, hl7.HL7Exception) as error:
        text = f"the message cannot be read as {header.charset or '8859/1'}"
        raise _Refused("AR", "MSH^1^18", "102", text) from error
    for name in ("PID", "MRG") if header.event == MERGE else ("PID",):
        if not _segments(parsed, name):
            raise _Refused("AE", f"{name}^1^", "100", f"found no {name} segment")
    return parsed


def _segments(parsed: hl7.Message, name: str) -> list[hl7.Segment]:
    return [segment for segment in parsed if str(segment[0]) == name]


def _field(parsed: hl7.Message, name: str, number: int) -> str:
    """A field of the first such segment as it was sent, "" when absent."""
    segment = _segments(parsed, name)[0]
    return str(segment[number]) if len(segment) > number else ""


# -- answering ----------------------------------------------------------------------------------------------------


def _note(actor: RegistryActor, header: _Header, act: Act, refused: _Refused) -> None:
    """The access-log line of a message that never reached an identity."""
    if isinstance(refused, _Logged):
        return
    line = access_log.refusal(
        act.by, trace_id=act.trace_id, event=NAME, action=ACTION_OF.get(header.event, NAME), patient_key=None,
        patient_id="", reason=f"{refused.place}: {_WORDS[refused.number]}", clause="ITI TF-2 3.8.4", peer=act.peer,
        particulars=replace(act.told, message_id=act.message_id),
    )
    with actor.database.write() as unit:
        unit.audit.append(line)


def _acknowledgement(header: _Header, trace_id: str, refusal: _Refused | None) -> str:
    """The original-mode ACK. Its own control id is the beginning of the trace id. Clause: HL7 v2.3.1 2.16.1"""
    event = f"^{header.event}^ACK" if header.event else ""
    msh = [
        "MSH", "^~\\&", header.receiving_application, header.receiving_facility, header.application, header.facility,
        access_log.now()[:19].translate({ord(c): None for c in "-:T"}), "", f"ACK{event}", trace_id[:20],
        header.processing_id, header.version, "", "", "", "", "", header.charset,
    ]
    lines = ["|".join(msh).rstrip("|")]
    if refusal is None:
        lines.append(f"MSA|AA|{header.control_id}")
    else:
        text = _CONTROLS.sub(" ", refusal.text)
        lines.append(f"MSA|{refusal.code}|{header.control_id}|{escape(f'{text}; trace {trace_id}')}")
        lines.append(f"ERR|{refusal.place}^{refusal.number}&{_WORDS[refusal.number]}&HL70357")
    return "\r".join(lines) + "\r"
