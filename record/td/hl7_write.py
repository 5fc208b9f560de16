"""The HL7 v3 answers of the record services.

Clause: HL7 v3 MCCI_MT000300UV01, MFMI_MT700711UV01, PRPA_MT201303UV02, PRPA_MT201310UV02
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from lxml import etree

from record.administrative import AdministrativeData
from record.td.hl7_read import NS, OBSERVATIONS
from xds.namespaces import HL7, XSI
from xds.wire.xml import escape_attribute, escape_text

GDP = "asip:ci-sis:gdp:2010"
"""Namespace of the answers to an add and a revise, which say in one element yes or no."""
INTERACTIONS = "2.16.840.1.113883.1.6"
RELATIONS = "2.16.840.1.113883.5.111"
AUTHORISATIONS = "1.2.250.1.213.4.1.2.6.2"
"""Code system of the values of AUTORISATION."""
MAX_ECHO = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One patient as an answer tells him."""

    identifiers: Sequence[str]
    """CX"""
    status: str
    """``active`` or ``terminated``"""
    closed_on: str = ""
    """``YYYYMMDDhhmmss``, "" while the record is open"""
    traits: AdministrativeData | None = None
    """None: nothing of them is told"""
    observations: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a transaction found or did, apart from the wrapper.

    ``outcome`` is OK, NF (nothing found) or AE (refused); ``attention`` keyword to value, where a bool is said as BL
    and a text as a code. ``issue`` is (code, code system, words) of a refusal or of a closing.
    """

    outcome: str = "OK"
    patients: Sequence[Patient] = ()
    attention: dict[str, str | bool] = field(default_factory=dict)
    details: Sequence[tuple[str, str]] = ()
    """(error name, text) of each reason of a refusal"""
    issue: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """Who answers, and when. ``query_match`` of TD0.5 wants another place for observations."""

    device_id: str
    at: datetime
    trace_id: str


def query_answer(voice: Voice, asked: etree._Element, name: str, answer: Answer) -> bytes:
    """PRPA_IN201308UV02, or PRPA_IN201306UV02. Its id carries the trace id."""
    found = len(answer.patients)
    parameters = asked.find("h:controlActProcess/h:queryByParameter", NS)
    query_id = asked.find("h:controlActProcess/h:queryByParameter/h:queryId", NS)
    identifier = _given_id("queryId", query_id) if query_id is not None else ""
    echoed = "" if parameters is None else _echo(parameters)
    is_search = name == "PRPA_IN201306UV02"
    subjects = "".join(_event(voice, _patient(one, is_search=is_search)) for one in answer.patients)
    process = (
        f"{subjects}{_reason_of(answer)}<queryAck>{identifier}<statusCode code=\"deliveredResponse\"/>"
        f'<queryResponseCode code="{answer.outcome}"/><resultTotalQuantity value="{found}"/>'
        f'<resultCurrentQuantity value="{found}"/><resultRemainingQuantity value="0"/></queryAck>{echoed}'
    )
    return _message(voice, asked, name, answer, process).encode()


def act_answer(voice: Voice, asked: etree._Element, accepted: str, refused: str, answer: Answer) -> bytes:
    """The answer to an add (PRPA_IN201312UV02, 201313) or a revise (201315, 201316), in the element the service gives
    them."""
    name = accepted if answer.outcome == "OK" else refused
    subjects = "".join(_event(voice, _patient(one)) for one in answer.patients)
    inner = _message(voice, asked, name, answer, subjects + _reason_of(answer))
    outer = f"{etree.QName(asked).localname}_Response"
    return f'<g:{outer} xmlns:g="{GDP}">{inner}</g:{outer}>'.encode()


def _message(voice: Voice, asked: etree._Element, name: str, answer: Answer, process: str) -> str:
    processing = asked.find("h:processingCode", NS)
    code = processing.get("code", "") if processing is not None else ""
    details = "".join(
        f'<acknowledgementDetail typeCode="E"><code code="{escape_attribute(error)}"/>'
        f"<text>{escape_text(text)}</text></acknowledgementDetail>" for error, text in answer.details
    )
    return "".join((
        f'<{name} xmlns="{HL7}" xmlns:xsi="{XSI}" ITSVersion="XML_1.0">',
        f'<id root="{str(uuid4()).upper()}" extension="{escape_attribute(voice.trace_id)}"/>',
        f'<creationTime value="{voice.at:%Y%m%d%H%M%S}"/>',
        f'<interactionId root="{INTERACTIONS}" extension="{name}"/>',
        f'<processingCode code="{escape_attribute((code or "P")[:MAX_ECHO])}"/>',
        '<processingModeCode code="T"/><acceptAckCode code="NE"/>',
        _device("receiver", "RCV", _given_id("id", asked.find("h:sender/h:device/h:id", NS))),
        _device("sender", "SND", f'<id root="{escape_attribute(voice.device_id)}"/>'),
        "".join(_attention(key, value) for key, value in answer.attention.items()),
        f'<acknowledgement><typeCode code="{"AA" if answer.outcome in ("OK", "NF") else "AE"}"/>',
        f'<targetMessage>{_given_id("id", asked.find("h:id", NS))}</targetMessage>{details}</acknowledgement>',
        f'<controlActProcess classCode="CACT" moodCode="EVN"><code code="{name.replace("_IN", "_TE")}" ',
        f'codeSystem="2.16.840.1.113883.1.18"/>{process}</controlActProcess></{name}>',
    ))


def _attention(keyword: str, value: str | bool) -> str:
    said = (
        f'<value xsi:type="BL" value="{_bool(value)}"/>' if isinstance(value, bool)
        else f'<value xsi:type="CV" code="{escape_attribute(value)}" codeSystem="{AUTHORISATIONS}"/>'
    )
    return f'<attentionLine><keyWordText code="{keyword}">{keyword}</keyWordText>{said}</attentionLine>'


def _event(voice: Voice, patient: str) -> str:
    return (
        '<subject typeCode="SUBJ"><registrationEvent classCode="REG" moodCode="EVN"><statusCode code="active"/>'
        f'<subject1 typeCode="SBJ">{patient}</subject1><custodian typeCode="CST"><assignedEntity classCode="ASSIGNED">'
        f'<id root="{escape_attribute(voice.device_id)}"/></assignedEntity></custodian></registrationEvent></subject>'
    )


def _reason_of(answer: Answer) -> str:
    if answer.issue is None:
        return ""
    code, system, words = answer.issue
    scheme = f' codeSystem="{system}"' if system else ""
    return (
        '<reasonOf typeCode="RSON"><detectedIssueEvent classCode="ALRT" moodCode="EVN">'
        f'<code code="{escape_attribute(code)}"{scheme}/><text>{escape_text(words)}</text>'
        "</detectedIssueEvent></reasonOf>"
    )


def _patient(patient: Patient, *, is_search: bool = False) -> str:
    told = patient.traits
    # The answer to a search puts how well it matches first, so its observations have another name.
    observed = "subjectOf2" if is_search else "subjectOf"
    match = (
        '<subjectOf1 typeCode="SBJ"><queryMatchObservation classCode="CASE" moodCode="EVN"><code code="IHE_PDQ"/>'
        '<value xsi:type="INT" value="100"/></queryMatchObservation></subjectOf1>' if is_search else ""
    )
    return "".join((
        '<patient classCode="PAT">', *map(_cx, patient.identifiers), f'<statusCode code="{patient.status}"/>',
        f'<effectiveTime><high value="{patient.closed_on}"/></effectiveTime>' if patient.closed_on else "",
        '<patientPerson classCode="PSN" determinerCode="INSTANCE">',
        '<name nullFlavor="NI"/>' if told is None else "".join(_person(told)), "</patientPerson>",
        '<providerOrganization classCode="ORG" determinerCode="INSTANCE"><id nullFlavor="NI"/>'
        '<contactParty classCode="CON"/></providerOrganization>', match,
        *(
            f'<{observed} typeCode="SBJ"><administrativeObservation classCode="OBS" moodCode="EVN"><code code="{code}" '
            f'codeSystem="{OBSERVATIONS}"/><value xsi:type="BL" value="{_bool(said)}"/></administrativeObservation>'
            f"</{observed}>" for code, said in patient.observations.items()
        ),
        "</patient>",
    ))


def _person(told: AdministrativeData) -> Iterable[str]:
    names = "".join((
        _mixed("given", told.birth_given_names), _mixed("given", told.used_given_name, "CL"),
        _mixed("family", told.birth_name, "BR"), _mixed("family", told.used_name, "SP"),
    ))
    yield f"<name>{names}</name>" if names else '<name nullFlavor="NI"/>'
    for value, scheme, use in ((told.phone, "tel:", "H"), (told.mobile, "tel:", "MC"), (told.email, "mailto:", "H")):
        if value:
            yield f'<telecom value="{escape_attribute(scheme + value)}" use="{use}"/>'
    if told.sex:
        yield f'<administrativeGenderCode code="{escape_attribute(told.sex)}" codeSystem="2.16.840.1.113883.5.1"/>'
    if told.birth_date:
        yield f'<birthTime value="{escape_attribute(told.birth_date.replace("-", ""))}"/>'
    address = "".join((
        _mixed("streetAddressLine", told.street), _mixed("postalCode", told.postal_code), _mixed("city", told.city),
        _mixed("country", told.country),
    ))
    if address:
        yield f"<addr>{address}</addr>"
    for one in told.representatives:
        reach = "".join(
            f'<telecom value="{escape_attribute(scheme + value)}"/>'
            for scheme, value in (("tel:", one.phone), ("mailto:", one.email)) if value
        )
        yield (
            f'<personalRelationship classCode="PRS"><code code="{escape_attribute(one.relation)}" '
            f'codeSystem="{RELATIONS}"/>{reach}<relationshipHolder1 classCode="PSN" determinerCode="INSTANCE"><name>'
            f'{_mixed("given", one.given_name)}{_mixed("family", one.family_name)}</name></relationshipHolder1>'
            "</personalRelationship>"
        )
    if told.birth_place:
        yield f'<birthPlace classCode="BIRTHPL"><addr>{_mixed("county", told.birth_place)}</addr></birthPlace>'


def _mixed(name: str, value: str, qualifier: str = "") -> str:
    mark = f' qualifier="{qualifier}"' if qualifier else ""
    return f"<{name}{mark}>{escape_text(value)}</{name}>" if value else ""


def _cx(patient_id: str) -> str:
    number, authority = patient_id.split("^", maxsplit=1)[0], patient_id.split("^")[3].split("&")[1]
    return f'<id root="{escape_attribute(authority)}" extension="{escape_attribute(number)}"/>'


def _device(name: str, kind: str, identifier: str) -> str:
    return (
        f'<{name} typeCode="{kind}"><device classCode="DEV" determinerCode="INSTANCE">{identifier}</device></{name}>'
    )


def _given_id(name: str, given: etree._Element | None) -> str:
    """An II of the sender, repeated."""
    root = given.get("root", "") if given is not None else ""
    if given is None or not root:
        return f'<{name} nullFlavor="NI"/>'
    extension = given.get("extension")
    more = f' extension="{escape_attribute(extension[:MAX_ECHO])}"' if extension else ""
    return f'<{name} root="{escape_attribute(root[:MAX_ECHO])}"{more}/>'


def _echo(parameters: etree._Element) -> str:
    """The parameters of the query, as the answer to a query repeats them."""
    text: str = etree.tostring(parameters, encoding="unicode", with_tail=False)
    return text


def _bool(value: bool) -> str:
    return "true" if value else "false"
