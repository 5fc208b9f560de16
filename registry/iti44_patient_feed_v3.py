"""ITI-44 Patient Identity Feed HL7 v3: a record added, revised, or two found to be one.

The same acts as ITI-8, over SOAP. The answer is an accept acknowledgement: CA when the act is durable, CE when a rule
of identities refuses it, CR when the message is not one of these interactions. Of the payload the identifiers alone
are read.

Clause: ITI TF-2 3.44
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from lxml import etree

from guard.audit import access_log
from guard.audit.particulars import particulars
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
from xds.errors import ErrorCode, Finding, Refused
from xds.namespaces import HL7
from xds.rules import problem
from xds.wire.exchange import Exchange, Reply, Transaction
from xds.wire.xml import escape_attribute, escape_text

NAME = "ITI-44"
ACKNOWLEDGEMENT = "MCCI_IN000002UV01"
INTERACTIONS = "2.16.840.1.113883.1.6"
"""OID of the interaction identifiers of HL7 v3."""
MAX_IDENTIFIERS = 50
MAX_ECHO = 200
"""Characters of an identifier of the sender that are repeated to him."""
_NS = {"h": HL7}


@dataclass(frozen=True, slots=True)
class Interaction:
    """One of the three messages. ``trigger`` is the code of its control act."""

    name: str
    action: str
    """as in the access log"""

    @property
    def trigger(self) -> str:
        return self.name.replace("_IN", "_TE")


ADDED = Interaction("PRPA_IN201301UV02", access_log.IDENTITY_ADDED)
REVISED = Interaction("PRPA_IN201302UV02", access_log.IDENTITY_REVISED)
RESOLVED = Interaction("PRPA_IN201304UV02", access_log.IDENTITY_MERGE)
BODIES = frozenset(f"{{{HL7}}}{interaction.name}" for interaction in (ADDED, REVISED, RESOLVED))
"""Clark names of the messages."""


def transactions(actor: RegistryActor) -> list[Transaction]:
    """One for each interaction, bound to one registry."""
    return [_transaction(actor, interaction) for interaction in (ADDED, REVISED, RESOLVED)]


def _transaction(actor: RegistryActor, interaction: Interaction) -> Transaction:
    return Transaction(
        name=NAME,
        action=f"{HL7}:{interaction.name}",
        response_action=f"{HL7}:{ACKNOWLEDGEMENT}",
        body=f"{{{HL7}}}{interaction.name}",
        mtom=False,
        handle=lambda exchange: feed(actor, interaction, exchange),
        refuse=partial(refuse, actor),
        schema_error=ErrorCode.XDSRegistryError,
        internal_error=ErrorCode.XDSRegistryError,
    )


def feed(actor: RegistryActor, interaction: Interaction, exchange: Exchange) -> Reply:
    """Do what one message asks for, in one transaction, and acknowledge it. Raises Refused with every finding.

    Clause: ITI TF-2 3.44.4.1.4, 3.44.4.2.4
    """
    message = exchange.body
    act = Act(
        by=exchange.caller, event=NAME, message_id=_instance(message.find("h:id", _NS)), trace_id=exchange.trace_id,
        peer=exchange.peer.address, told=particulars(exchange, user=""),
    )
    findings = list(_wrapper(message, interaction))
    if findings:
        _note(actor, interaction, act, findings[0])
        raise Refused(findings)
    registration = message.find("h:controlActProcess/h:subject/h:registrationEvent", _NS)
    assert registration is not None
    try:
        about, change = _change(actor, interaction, registration, act)
    except Refused as refused:
        _note(actor, interaction, act, refused.findings[0])
        raise
    try:
        with actor.database.write() as unit:
            change(unit)
    except RecordRefused as error:
        with actor.database.write() as unit:
            log_refusal(unit, act, interaction.action, about, error)
        raise Refused([_told(interaction, error)]) from error
    return Reply([_acknowledgement(actor, exchange, "CA")])


def refuse(actor: RegistryActor, exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    """CR when the message itself is wrong, CE when its content is refused or we failed."""
    is_malformed = any(finding.rule in ("F-18", "R-001") for finding in findings)
    texts = [finding.context(exchange.trace_id) for finding in findings]
    return Reply([_acknowledgement(actor, exchange, "CR" if is_malformed else "CE", texts)])


# -- what a message asks for --------------------------------------------------------------------------------------


def _change(
    actor: RegistryActor, interaction: Interaction, registration: etree._Element, act: Act
) -> tuple[str, Callable[[RegistryUnit], object]]:
    """The identifier concerned ("" when there is none of ours) and what to do in a transaction. Raises Refused.

    Rule: F-06
    """
    domain = actor.domain
    named = _identifiers(actor, interaction, registration.findall("h:subject1/h:patient/h:id", _NS))
    if interaction is not RESOLVED:
        def add_or_revise(unit: RegistryUnit) -> None:
            for one in named:
                if interaction is ADDED:
                    add_identity(unit, domain, one, act)
                else:
                    revise_identity(unit, one, act)

        return (named[0] if named else ""), add_or_revise
    if not actor.feed.may_merge:
        raise Refused([_rule(interaction, "a merge by an operator: carnet patient merge")])
    prior = _identifiers(actor, interaction, registration.findall(_PRIOR_ID, _NS))
    for found, field in ((named, "patient/id"), (prior, "priorRegisteredRole/id")):
        if not found:
            raise Refused([_rule(interaction, "an identifier of an assigning authority of this domain", field)])
    return prior[0], lambda unit: merge_identities(
        unit, domain, prior[0], named[0], act, survivor_may_be_new=True
    )


def _identifiers(actor: RegistryActor, interaction: Interaction, ids: Sequence[etree._Element]) -> list[str]:
    """Those of the domain, as CX; others are ignored. Rule: F-02"""
    found = []
    for one in ids[:MAX_IDENTIFIERS]:
        root, extension = (one.get("root") or "").strip(), (one.get("extension") or "").strip()
        if actor.domain.assigning_authorities and root not in actor.domain.assigning_authorities:
            continue
        try:
            found.append(patient_identifier(actor.domain, extension, root))
        except RecordRefused as error:
            raise Refused([_told(interaction, error)]) from error
    return found


def _told(interaction: Interaction, refusal: RecordRefused) -> Finding:
    return _rule(interaction, refusal.what_next, found=str(refusal.problem))


def _rule(interaction: Interaction, expected: str, field: str = "patient/id", found: str = "") -> Finding:
    clause = "ITI TF-2 3.44.4.2.4" if interaction is RESOLVED else "ITI TF-2 3.44.4.1.4"
    return Finding(
        code=ErrorCode.XDSRegistryError, subject=interaction.name, field=field, found=found, expected=expected,
        clause=clause,
    )


# -- the wrapper --------------------------------------------------------------------------------------------------

_REGISTRATION = "h:controlActProcess/h:subject/h:registrationEvent"
_PRIOR_ID = "h:replacementOf/h:priorRegistration/h:subject1/h:priorRegisteredRole/h:id"


def _wrapper(message: etree._Element, interaction: Interaction) -> Iterator[Finding]:
    """What the transmission, the control act and the registration event must say. Rule: F-18

    Clause: ITI TF-2 3.44.4.1.2, 3.44.4.2.2
    """

    def wrong(field: str, found: str, expected: str) -> Finding:
        return problem(
            "F-18", ErrorCode.XDSRegistryError, interaction.name, field, found=found, expected=expected
        )

    for path, attribute, value in (
        (".", "ITSVersion", "XML_1.0"),
        ("h:interactionId", "extension", interaction.name),
        ("h:processingModeCode", "code", "T"),
        ("h:acceptAckCode", "code", "AL"),
        ("h:controlActProcess/h:code", "code", interaction.trigger),
        (f"{_REGISTRATION}/h:statusCode", "code", "active"),
    ):
        element = message.find(path, _NS)
        said = element.get(attribute, "") if element is not None else ""
        if said != value:
            yield wrong(f"{path.replace('h:', '')}/@{attribute}".removeprefix("./"), said, value)
    patient = f"{_REGISTRATION}/h:subject1/h:patient"
    prior = f"{_REGISTRATION}/h:replacementOf/h:priorRegistration"
    merged = 1 if interaction is RESOLVED else 0
    for path, count in (
        ("h:id", 1), ("h:receiver", 1), ("h:sender", 1), (_REGISTRATION, 1), (patient, 1),
        (f"{_REGISTRATION}/h:replacementOf", merged), (f"{_REGISTRATION}/{_PRIOR_ID}", merged),
    ):
        number = len(message.findall(path, _NS))
        if number != count:
            yield wrong(path.replace("h:", ""), f"{number} times", f"{count or 'no'} such element")
    if merged:
        status = message.find(f"{prior}/h:statusCode", _NS)
        said = status.get("code", "") if status is not None else ""
        if said != "obsolete":
            yield wrong("priorRegistration/statusCode/@code", said, "obsolete")
    has_id, has_name = _is_given(message, f"{patient}/h:id"), _is_given(message, f"{patient}/h:patientPerson/h:name")
    if not (has_id and has_name if merged else has_id or has_name):
        yield wrong("patient", "", "a patient/id and a patientPerson/name" if merged else
                    "a patient/id or a patientPerson/name")


def _is_given(message: etree._Element, path: str) -> bool:
    return any(element.get("nullFlavor") is None for element in message.findall(path, _NS))


def _note(actor: RegistryActor, interaction: Interaction, act: Act, finding: Finding) -> None:
    """The access-log line of a message that never reached an identity."""
    line = access_log.refusal(
        act.by, trace_id=act.trace_id, event=NAME, action=interaction.action, patient_key=None, patient_id="",
        reason=f"{finding.field}: expected {finding.expected}", clause=finding.clause, peer=act.peer,
        particulars=act.particulars(interaction.action),
    )
    with actor.database.write() as unit:
        unit.audit.append(line)


# -- answering ----------------------------------------------------------------------------------------------------


def _instance(identifier: etree._Element | None) -> str:
    """An II in one word: ``extension@root``, or the root alone."""
    if identifier is None:
        return ""
    root, extension = identifier.get("root", ""), identifier.get("extension", "")
    return (f"{extension}@{root}" if extension else root)[:MAX_ECHO]


def _acknowledgement(actor: RegistryActor, exchange: Exchange, code: str, texts: Sequence[str] = ()) -> bytes:
    """MCCI_IN000002UV01. Its id and each detail carry the trace id. Clause: ITI TF-2 3.44.4.1.3; Appendix O"""
    message = exchange.body
    processing = message.find("h:processingCode", _NS)
    details = "".join(
        f'<acknowledgementDetail typeCode="E"><text>{escape_text(text)}</text></acknowledgementDetail>'
        for text in texts
    )
    trace = exchange.trace_id
    parts = (
        f'<{ACKNOWLEDGEMENT} xmlns="{HL7}" ITSVersion="XML_1.0">',
        f'<id root="{str(uuid4()).upper()}" extension="{escape_attribute(trace)}"/>',
        f'<creationTime value="{actor.clock():%Y%m%d%H%M%S}"/>',
        f'<interactionId root="{INTERACTIONS}" extension="{ACKNOWLEDGEMENT}"/>',
        _code("processingCode", (processing.get("code", "") if processing is not None else "") or "P"),
        _code("processingModeCode", "T"), _code("acceptAckCode", "NE"),
        _device("receiver", "RCV", message.find("h:sender/h:device/h:id", _NS)),
        _device("sender", "SND", None, actor.feed.device_id),
        "<acknowledgement>", _code("typeCode", code),
        f'<targetMessage>{_identifier(message.find("h:id", _NS))}</targetMessage>{details}',
        f"</acknowledgement></{ACKNOWLEDGEMENT}>",
    )
    return "".join(parts).encode()


def _code(name: str, value: str) -> str:
    return f'<{name} code="{escape_attribute(value[:MAX_ECHO])}"/>'


def _device(name: str, kind: str, given: etree._Element | None, oid: str = "") -> str:
    identifier = f'<id root="{escape_attribute(oid)}"/>' if oid else _identifier(given)
    return (
        f'<{name} typeCode="{kind}"><device classCode="DEV" determinerCode="INSTANCE">{identifier}</device></{name}>'
    )


def _identifier(given: etree._Element | None) -> str:
    """The II of the sender, repeated."""
    root = given.get("root", "") if given is not None else ""
    if given is None or not root:
        return '<id nullFlavor="NI"/>'
    extension = given.get("extension")
    more = f' extension="{escape_attribute(extension[:MAX_ECHO])}"' if extension else ""
    return f'<id root="{escape_attribute(root[:MAX_ECHO])}"{more}/>'
