"""What the HL7 v3 messages of the record services say, as plain values.

The schema has already bounded the wrapper; what stands inside is read tolerantly: an element nobody asked for is
passed over, a value that is missing is "". Whether a value can be kept is for ``record.administrative``.

Clause: DMP TD0.2, TD0.5, TD1.1 to TD1.4; HL7 v3 PRPA_MT201301UV02, PRPA_MT201306UV02, PRPA_MT201307UV02
"""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from record.administrative import AdministrativeData, Representative
from record.identity import IdentityDomain, patient_identifier
from record.lifecycle import RecordRefused
from xds.errors import ErrorCode, Finding, Refused
from xds.namespaces import HL7
from xds.rules import problem

REASONS = "1.2.250.1.213.1.1.4.11"
"""Code system of ``reasonCode``."""
OBSERVATIONS = "1.2.250.1.213.4.1.2.3"
"""Code system of consents, objections and flags of the record."""
CLOSING_REASONS = "1.2.250.1.213.4.1.2.4"
NS = {"h": HL7}
REQUESTED = "h:controlActProcess/h:subject/h:registrationRequest"
_PATIENT = f"{REQUESTED}/h:subject1/h:patient"
_LIST = "h:controlActProcess/h:queryByParameter/h:parameterList"
MAX_VALUES = 20
"""Repetitions read of one element."""


def name_of(message: etree._Element) -> str:
    """The interaction, e.g. ``PRPA_IN201307UV02``."""
    return etree.QName(message).localname


def reason_code(message: etree._Element) -> str:
    """Which act is asked for; "" when the code is missing or of another system. Rule: D-41"""
    found = message.find("h:controlActProcess/h:reasonCode", NS)
    return found.get("code", "") if found is not None and found.get("codeSystem") == REASONS else ""


def patient_element(message: etree._Element) -> etree._Element:
    """The patient of a request to add or revise. Raises Refused."""
    found = message.findall(_PATIENT, NS)
    if len(found) != 1:
        raise Refused([problem(
            "D-42", ErrorCode.XDSRegistryError, name_of(message), "registrationRequest/subject1/patient",
            found=f"{len(found)} times", expected="one patient",
        )])
    return found[0]


def patient_id_of(message: etree._Element, domain: IdentityDomain) -> str:
    """CX of the patient a message is about: the first identifier whose authority is of this domain. Raises Refused.

    Rule: D-42
    """
    ids = message.findall(f"{_LIST}/h:patientIdentifier/h:value", NS) or message.findall(f"{_PATIENT}/h:id", NS)
    known = domain.assigning_authorities
    for one in ids[:MAX_VALUES]:
        root, number = (one.get("root") or "").strip(), (one.get("extension") or "").strip()
        if root and number and (not known or root in known):
            try:
                return patient_identifier(domain, number, root)
            except RecordRefused as error:
                raise Refused([_unnamed(message, str(error.problem))]) from error
    raise Refused([_unnamed(message, f"{len(ids)} identifiers, none of this domain" if ids else "")])


def _unnamed(message: etree._Element, found: str) -> Finding:
    return problem(
        "D-42", ErrorCode.XDSUnknownPatientId, name_of(message), "patient identifier", found=found,
        expected="the number (extension) and the authority (root) of a patient of this domain",
    )


def status_of(message: etree._Element) -> str:
    """The status that is asked for: ``active`` or ``terminated``."""
    found = message.find(f"{_PATIENT}/h:statusCode", NS)
    return found.get("code", "") if found is not None else ""


def observations(patient: etree._Element) -> dict[str, bool]:
    """Consents and objections: code to what is said of it; the last one counts."""
    said = {}
    for one in patient.findall("h:subjectOf/h:administrativeObservation", NS)[:MAX_VALUES]:
        code, value = one.find("h:code", NS), one.find("h:value", NS)
        if code is not None and value is not None and code.get("codeSystem") == OBSERVATIONS:
            said[code.get("code", "")] = value.get("value", "").strip() in ("true", "1")
    return said


def closing_reason(message: etree._Element) -> str:
    """Code, a blank, and the words of the patient; "" when no code of the right system is there. Rule: D-50"""
    event = message.find("h:controlActProcess/h:reasonOf/h:detectedIssueEvent", NS)
    code = event.find("h:code", NS) if event is not None else None
    if event is None or code is None or code.get("codeSystem") != CLOSING_REASONS:
        return ""
    return f"{code.get('code', '').strip()} {_line(_text(event, 'h:text'))}".strip()


def traits(patient: etree._Element) -> AdministrativeData:
    """Administrative data of a patient. The family name marked BR (or unmarked) is that of birth, SP or CL the used
    one; a given name marked CL is the used one. Clause: CI-SIS Structuration minimale 3.5.5.12
    """
    person = patient.find("h:patientPerson", NS)
    if person is None:
        return AdministrativeData()
    families = _qualified(person.findall("h:name/h:family", NS))
    givens = _qualified(person.findall("h:name/h:given", NS))
    address = _first(person.findall("h:addr", NS) + patient.findall("h:addr", NS))
    reach = person.findall("h:telecom", NS) + patient.findall("h:telecom", NS)
    born, unmarked = _pick(families, "BR"), _pick(families, "")
    return AdministrativeData(
        birth_name=born or unmarked,
        used_name=_pick(families, "SP") or _pick(families, "CL") or (unmarked if born else ""),
        birth_given_names=" ".join(value for mark, value in givens if mark in ("", "BR")),
        used_given_name=_pick(givens, "CL"),
        sex=_attribute(person, "h:administrativeGenderCode", "code"),
        birth_date=day(_attribute(person, "h:birthTime", "value")),
        birth_place=_text(person, "h:birthPlace/h:addr/h:county"),
        street=" ".join(_lines(address, "h:streetAddressLine")),
        postal_code=_text(address, "h:postalCode"),
        city=_text(address, "h:city"),
        country=_text(address, "h:country"),
        phone=_reach(reach, "tel:", mobile=False),
        mobile=_reach(reach, "tel:", mobile=True),
        email=_reach(reach, "mailto:"),
        representatives=tuple(_representatives(person)),
    )


def criteria(message: etree._Element) -> AdministrativeData:
    """What is searched for in TD0.5. Clause: HL7 v3 PRPA_MT201306UV02"""
    asked = message.find(_LIST, NS)
    name = asked.find("h:livingSubjectName/h:value", NS) if asked is not None else None
    address = asked.find("h:patientAddress/h:value", NS) if asked is not None else None
    born = _attribute(asked, "h:livingSubjectBirthTime/h:value", "value")
    if not born:
        born = _attribute(asked, "h:livingSubjectBirthTime/h:value/h:center", "value")
    return AdministrativeData(
        birth_name=_text(name, "h:family"),
        birth_given_names=_text(name, "h:given"),
        sex=_attribute(asked, "h:livingSubjectAdministrativeGender/h:value", "code"),
        birth_date=day(born),
        postal_code=_text(address, "h:postalCode"),
        city=_text(address, "h:city"),
    )


def day(value: str) -> str:
    """``19790514…`` as ``1979-05-14``; anything else comes back as it is, for the check to name."""
    value = value.strip()
    head = value[:8]
    is_day = len(head) == 8 and head.isascii() and head.isdigit()
    return f"{head[:4]}-{head[4:6]}-{head[6:]}" if is_day else value


def _representatives(person: etree._Element) -> Iterable[Representative]:
    for one in person.findall("h:personalRelationship", NS)[:MAX_VALUES]:
        holder = one.find("h:relationshipHolder1", NS)
        reach = one.findall("h:telecom", NS)
        yield Representative(
            family_name=_text(holder, "h:name/h:family"), given_name=_text(holder, "h:name/h:given"),
            relation=_attribute(one, "h:code", "code"), phone=_reach(reach, "tel:"), email=_reach(reach, "mailto:"),
        )


def _qualified(elements: list[etree._Element]) -> list[tuple[str, str]]:
    return [(one.get("qualifier", ""), _line("".join(map(str, one.itertext())))) for one in elements[:MAX_VALUES]]


def _pick(values: list[tuple[str, str]], mark: str) -> str:
    return next((value for given, value in values if given == mark), "")


def _reach(elements: list[etree._Element], scheme: str, mobile: bool | None = None) -> str:
    for one in elements[:MAX_VALUES]:
        value = one.get("value", "").strip()
        if value.startswith(scheme) and mobile in (None, "MC" in one.get("use", "").split()):
            return value.removeprefix(scheme)
    return ""


def _first(elements: list[etree._Element]) -> etree._Element | None:
    return elements[0] if elements else None


def _attribute(element: etree._Element | None, path: str, name: str) -> str:
    found = element.find(path, NS) if element is not None else None
    return (found.get(name) or "").strip() if found is not None else ""


def _text(element: etree._Element | None, path: str) -> str:
    return next(iter(_lines(element, path)), "")


def _lines(element: etree._Element | None, path: str) -> list[str]:
    found = element.findall(path, NS) if element is not None else []
    return [_line("".join(map(str, one.itertext()))) for one in found[:MAX_VALUES]]


def _line(text: str) -> str:
    """White space and line ends as one blank each."""
    return " ".join(text.split())
