"""Audit messages in the form of DICOM PS3.15 A.5 (edition 2017c), made of lines of the access log.

Pure: a line and the name of the reporting node give the same message at any time, on any process, so that a message
may be sent again. What the rows of ``atna_rows`` name is in it, and nothing else.

Clause: ITI TF-2 3.20.7; DICOM PS3.15 A.5.1
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from guard.audit.atna_rows import (
    APPLICATION,
    DESTINATION,
    LOG_ADDRESS,
    NODE_ID,
    OBJECT_REF,
    PATIENT_NUMBER,
    RECEIVED,
    REPORT_NUMBER,
    SENT,
    SOURCE,
    SUBMISSION_SET,
    Row,
    What,
    Who,
)
from guard.audit.atna_td import RECORDS
from guard.audit.store import AccessLine
from guard.professions import shipped_professions
from xds.model.codes import Code
from xds.namespaces import WSA_ANONYMOUS

EVENTS = RECEIVED | RECORDS
"""Every event a line may stand for."""
ERASED = "15"
"""ParticipantObjectDataLifeCycle: permanent erasure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The system that reports.

    ``endpoints`` are the base addresses of our actors by name, ``forwards`` the whole address a transaction of ours is
    sent to. ``source_type`` is the AuditSourceTypeCode (4: application server).
    """

    source_id: str
    site: str = ""
    source_type: str = "4"
    endpoints: dict[str, str] = field(default_factory=dict)
    forwards: dict[str, str] = field(default_factory=dict)


class Message(NamedTuple):
    """One audit message: ``xml`` without declaration; ``at`` as in its line."""

    at: str
    xml: str
    is_success: bool


def messages(lines: Sequence[AccessLine], node: Node, actor: str) -> Iterator[Message]:
    """The messages of one group of ``grouped``; ``actor`` is the one whose log holds the lines. None without a row."""
    first = lines[0]
    row = EVENTS.get(first.particulars.row or first.event)
    if row is not None:
        yield _message(lines, row, node, actor)
    sent = SENT.get(first.particulars.sent_on)
    if sent is not None:
        yield _message([_sent_on(line, node) for line in lines], sent, node, first.particulars.reporter or actor)


def grouped(lines: Iterable[AccessLine]) -> Iterator[list[AccessLine]]:
    """Lines that are told in one message: documents of one exchange, one patient, one outcome.

    Clause: ITI TF-2 3.20.7.1, 3.43.6.1
    """
    group: list[AccessLine] = []
    for line in lines:
        if group and not (_tells_documents(line) and _together(group[0], line)):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _tells_documents(line: AccessLine) -> bool:
    row = EVENTS.get(line.particulars.row or line.event)
    return row is not None and What.DOCUMENTS in row.what


def _together(one: AccessLine, other: AccessLine) -> bool:
    return (one.trace_id, one.event, one.patient_id, one.outcome, one.particulars) == (
        other.trace_id, other.event, other.patient_id, other.outcome, other.particulars
    )


def _sent_on(line: AccessLine, node: Node) -> AccessLine:
    """The same exchange seen from whoever called on: our own process is the client there."""
    told = line.particulars
    called = told.endpoint if "://" in told.endpoint else node.forwards.get(told.sent_on, "")
    return replace(line, particulars=replace(told, client=WSA_ANONYMOUS, endpoint=called))


def _message(lines: Sequence[AccessLine], row: Row, node: Node, actor: str) -> Message:
    line = lines[0]
    told, failed = line.particulars, line.outcome != "success"
    side = row.side or actor
    outcome = row.failure if failed else "0"
    kinds = "".join(_coded("EventTypeCode", kind) for kind in (row.kind, *row.also))
    head = (
        f'<EventIdentification EventActionCode="{told.act or row.act}" EventDateTime={_quoted(line.at)} '
        f'EventOutcomeIndicator="{outcome}">{_coded("EventID", row.event)}{kinds}'
        f"{_why(lines) if failed else ''}{_purpose(told.purpose)}</EventIdentification>"
    )
    people = "".join(_participant(who, line, row, node, side) for who in row.who)
    site = f" AuditEnterpriseSiteID={_quoted(node.site)}" if node.site else ""
    source = (
        f"<AuditSourceIdentification{site} AuditSourceID={_quoted(f'{node.source_id}-{side}')}>"
        f"<AuditSourceTypeCode csd-code={_quoted(node.source_type)}/></AuditSourceIdentification>"
    )
    objects = "".join(_objects(what, lines, row) for what in row.what)
    return Message(line.at, f"<AuditMessage>{head}{people}{source}{objects}</AuditMessage>", not failed)


# -- event ------------------------------------------------------------------------------------------------------------


def _why(lines: Sequence[AccessLine]) -> str:
    reasons = dict.fromkeys(f"{line.reason} ({line.clause})" if line.clause else line.reason for line in lines)
    text = "; ".join(filter(None, reasons))
    return f"<EventOutcomeDescription>{escape(_carried(text))}</EventOutcomeDescription>" if text else ""


def _purpose(purpose: tuple[str, ...]) -> str:
    """Clause: ITI TF-2 3.20.7.1.2"""
    parts = zip(purpose[::3], purpose[1::3], purpose[2::3], strict=False)
    return "".join(_coded("PurposeOfUse", Code(code, scheme, name or code)) for code, scheme, name in parts)


# -- participants -----------------------------------------------------------------------------------------------------


def _participant(who: Who, line: AccessLine, row: Row, node: Node, side: str) -> str:
    told = line.particulars
    server = _endpoint(told.endpoint, node.endpoints.get(side, ""))
    peer = told.client_address or line.peer
    if told.sent_on and row is SENT.get(told.sent_on):
        return _of_our_call(who, line, node, side)
    match who:
        case Who.CLIENT_SENDS | Who.CLIENT_TAKES:
            role = SOURCE if who is Who.CLIENT_SENDS else DESTINATION
            return _active(told.client or peer or "unknown", requestor=True, role=role, network=peer)
        case Who.SERVER_SENDS | Who.SERVER_TAKES:
            role = SOURCE if who is Who.SERVER_SENDS else DESTINATION
            host = _host(server) or _host(node.endpoints.get(side, ""))
            return _active(server, alternative=told.process, requestor=False, role=role, network=host)
        case Who.HUMAN:
            return _human(line) if told.user else ""
        case Who.APPLICATION:
            name = f"{node.source_id}-{side}"
            return _active(name, alternative=told.process, requestor=False, role=APPLICATION, network=_host(server))
        case Who.USER:
            return _active(line.caller_id or told.client or peer or "unknown", requestor=True, network=peer)
        case Who.NODE | Who.REPORTER:
            reports = who is Who.REPORTER
            return _active(server or side, alternative=told.process, requestor=reports, network=_host(server))
        case Who.PEER:
            return _active(told.client or peer or "unknown", requestor=False, network=peer)


def _of_our_call(who: Who, line: AccessLine, node: Node, side: str) -> str:
    """In our own record of a call our process is the client; of the other actor its address is known."""
    told = line.particulars
    role = SOURCE if who in (Who.CLIENT_SENDS, Who.SERVER_SENDS) else DESTINATION
    match who:
        case Who.HUMAN:
            return _human(line) if told.user else ""
        case Who.CLIENT_SENDS | Who.CLIENT_TAKES:
            own = _host(node.endpoints.get(side, "")) or told.client_address
            return _active(told.client, alternative=told.process, requestor=True, role=role, network=own)
        case _:
            return _active(told.endpoint, requestor=False, role=role, network=_host(told.endpoint))


def _human(line: AccessLine) -> str:
    """Clause: ITI TF-2 3.40.4.2 (user name, roles)"""
    roles = "".join(_coded("RoleIDCode", _role(key)) for key in line.role.split("~") if key)
    user = line.particulars.user
    return _active(user, name=user, requestor=True, roles=roles)


@lru_cache(maxsize=1024)
def _role(key: str) -> Code:
    code, _, scheme = key.partition("^^")
    known = shipped_professions().find(Code(code, scheme))
    return Code(code, scheme, known.french if known else code)


def _active(
    user: str, *, requestor: bool, alternative: str = "", name: str = "", role: Code | None = None, roles: str = "",
    network: str = "",
) -> str:
    attributes = f"UserID={_quoted(user)}"
    if alternative:
        attributes += f" AlternativeUserID={_quoted(alternative)}"
    if name:
        attributes += f" UserName={_quoted(name)}"
    attributes += f' UserIsRequestor="{str(requestor).lower()}"'
    if network:
        kind = "2" if _is_address(network) else "1"
        attributes += f' NetworkAccessPointID={_quoted(network)} NetworkAccessPointTypeCode="{kind}"'
    inside = roles or (_coded("RoleIDCode", role) if role else "")
    return f"<ActiveParticipant {attributes}>{inside}</ActiveParticipant>"


def _endpoint(called: str, base: str) -> str:
    return base + called if not called or called.startswith("/") else called


def _host(endpoint: str) -> str:
    try:
        return urlsplit(endpoint).hostname or ""
    except ValueError:
        return ""


@lru_cache(maxsize=4096)
def _is_address(network: str) -> bool:
    try:
        ipaddress.ip_address(network)
    except ValueError:
        return False
    return True


# -- objects ----------------------------------------------------------------------------------------------------------


def _objects(what: What, lines: Sequence[AccessLine], row: Row) -> str:
    line, told = lines[0], lines[0].particulars
    documents = (document for one in lines for document in one.documents)
    match what:
        case What.PATIENT:
            details = _detail(row.detail, told.message_id)
            return _object(line.patient_id, "1", "1", PATIENT_NUMBER, details) if line.patient_id else ""
        case What.SUBMISSION_SET:
            return _object(told.submission_set, "2", "20", SUBMISSION_SET) if told.submission_set else ""
        case What.DOCUMENTS | What.ERASED_DOCUMENTS:
            details = _detail("Repository Unique ID", told.repository)
            details += _detail("ihe:homeCommunityID", told.home_community)
            cycle = ERASED if what is What.ERASED_DOCUMENTS else ""
            return "".join(_object(document, "2", "3", REPORT_NUMBER, details, cycle) for document in documents)
        case What.ERASED_OBJECTS:
            return "".join(_object(removed, "2", "3", OBJECT_REF, "", ERASED) for removed in told.objects or documents)
        case What.STORED_QUERY:
            return _stored_query(line, row)
        case What.LOG:
            name = "<ParticipantObjectName>Security Audit Log</ParticipantObjectName>"
            return _object(told.endpoint, "2", "13", LOG_ADDRESS, name) if told.endpoint else ""
        case What.NODE:
            return _object(line.peer, "2", "", NODE_ID, _detail("Alert Description", line.reason)) if line.peer else ""


def _stored_query(line: AccessLine, row: Row) -> str:
    """Clause: ITI TF-2 3.18.5.1.2"""
    told = line.particulars
    if not told.query_id:
        return ""
    details = _detail("QueryEncoding", "UTF-8")
    details += _detail("urn:ihe:iti:xca:2010:homeCommunityId", told.home_community)
    details += _detail("Characters of the whole request", str(told.request_size) if told.request_size else "")
    asked = f"<ParticipantObjectQuery>{_binary(told.request)}</ParticipantObjectQuery>" if told.request else ""
    return _object(told.query_id, "2", "24", row.kind, asked + details)


def _object(identifier: str, kind: str, role: str, id_type: Code, inside: str = "", cycle: str = "") -> str:
    attributes = f'ParticipantObjectID={_quoted(identifier)} ParticipantObjectTypeCode="{kind}"'
    if role:
        attributes += f' ParticipantObjectTypeCodeRole="{role}"'
    if cycle:
        attributes += f' ParticipantObjectDataLifeCycle="{cycle}"'
    return (
        f"<ParticipantObjectIdentification {attributes}>{_coded('ParticipantObjectIDTypeCode', id_type)}{inside}"
        "</ParticipantObjectIdentification>"
    )


def _detail(kind: str, value: str) -> str:
    return f'<ParticipantObjectDetail type="{kind}" value="{_binary(value)}"/>' if kind and value else ""


def _coded(element: str, code: Code) -> str:
    return (
        f"<{element} csd-code={_quoted(code.code)} codeSystemName={_quoted(code.scheme)} "
        f"originalText={_quoted(code.display or code.code)}/>"
    )


def _binary(text: str) -> str:
    return b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _quoted(text: str) -> str:
    """An attribute value in double quotes; line ends and tabs survive."""
    return '"' + escape(_carried(text), {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}) + '"'


def _carried(text: str) -> str:
    """What XML cannot carry becomes U+FFFD."""
    return text if text.isprintable() else "".join(c if _is_xml(c) else "\ufffd" for c in text)


def _is_xml(character: str) -> bool:
    point = ord(character)
    return character in "\t\n\r" or 0x20 <= point <= 0xD7FF or 0xE000 <= point <= 0xFFFD or point >= 0x10000
