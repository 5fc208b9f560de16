"""Step o: the attributes of an assertion.

They are collected over all statements and all values, because several of each are legal. A value outside the
configured set is refused, however many others are inside it; two good values are two good values, but for the texts of
a VIHF and its mode of access (purpose of use), which are one each.

Clause: ITI TF-2 3.40.4.1.2.1 to 3.40.4.1.2.3; DMP VIHF 3.0, 4.0
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree

from guard.credentials import vihf
from guard.credentials.caller import Mode
from guard.credentials.rule import CredentialRule
from guard.credentials.token import text
from xds.model.codes import Code
from xds.namespaces import HL7, SAML
from xds.wire.faults import INVALID_SECURITY_TOKEN, SoapFault, claim_fault, security_fault

_CX = re.compile(r"[^\^&]{1,64}\^\^\^[^\^&]{0,64}&[0-9]+(?:\.[0-9]+)+&ISO(?:\^[A-Z0-9-]{1,8})?")
_SECTOR = re.compile(r"([^\^]{1,32})\^{1,2}([0-9.]{1,64})")
_STATEMENT, _ATTRIBUTE, _VALUE = (
    f"{{{SAML}}}{name}" for name in ("AttributeStatement", "Attribute", "AttributeValue")
)
_ROLE_ELEMENTS = ("Role",)
_PURPOSE_ELEMENTS = ("PurposeOfUse", "PurposeForUse")
_MODES = {mode.value: mode for mode in (Mode.DIRECT, Mode.INDIRECT, Mode.REINFORCED_INDIRECT)}
_VERSIONS = ("3.0", "4.0")
_LONGEST = 256
"""Characters of one text of a VIHF."""
ALWAYS, VOUCHED_FOR, MAY = "always", "in the indirect modes", "may"
TEXTS = {
    vihf.STRUCTURE: ALWAYS,
    vihf.SUBJECT_ID: VOUCHED_FOR,
    vihf.SOFTWARE_ID: MAY,
    vihf.SOFTWARE_NAME: ALWAYS,
    vihf.SOFTWARE_VERSION: ALWAYS,
    vihf.HOMOLOGATION: ALWAYS,
    vihf.USER_PROFILE: MAY,
    vihf.PURPOSE_REASON: MAY,
}
"""Texts of a VIHF and when they must be there. Clause: DMP VIHF attributes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """The attributes an accepted assertion carries; "" where it carries none."""

    mode: Mode
    roles: tuple[Code, ...]
    purposes: tuple[Code, ...]
    structure_id: str
    structure_name: str
    sector: str
    """``code^^system``"""
    name: str
    patient_id: str
    purpose_reason: str
    is_secret_connection: bool
    software: str
    software_version: str
    software_id: str
    homologation: str
    user_profile: str
    version: str


Values = dict[str, list[etree._Element]]
"""AttributeValue elements by the lower-case name of their attribute"""


def read(root: etree._Element, rule: CredentialRule) -> Attributes:
    """Collect and check. Raises SoapFault of step o.

    In the French profile who signs is who calls, so he is told; elsewhere a provider signs, and the caller learns no
    more than the code.
    """
    try:
        return _read(root, rule)
    except SoapFault as fault:
        if not rule.vihf:
            raise
        raise claim_fault(INVALID_SECURITY_TOKEN, fault.detail, fault.step) from fault


def _read(root: etree._Element, rule: CredentialRule) -> Attributes:
    values = _collect(root)
    roles = tuple(_coded(value, _ROLE_ELEMENTS, vihf.ROLE) for value in values.get(vihf.ROLE, ()))
    purposes = tuple(_coded(value, _PURPOSE_ELEMENTS, vihf.PURPOSE) for value in values.get(vihf.PURPOSE, ()))
    single = _single if rule.vihf else _first
    _inside(roles, rule.roles, "role")
    _inside(purposes, rule.purposes, "purpose of use")
    patient_id = _single(values, vihf.RESOURCE_ID)
    if patient_id and not _CX.fullmatch(patient_id):
        raise _refused("resource-id is not a patient identifier (CX)")
    mode, sector = Mode.INDIRECT, ""
    if rule.vihf:
        mode, sector = _french(values, roles, purposes, rule)
    software_version = single(values, vihf.SOFTWARE_VERSION)
    return Attributes(
        mode=mode,
        roles=roles,
        purposes=purposes,
        structure_id=single(values, vihf.STRUCTURE) or single(values, ORGANIZATION_ID),
        structure_name=single(values, ORGANIZATION),
        sector=sector,
        name=single(values, vihf.SUBJECT_ID),
        patient_id=patient_id,
        purpose_reason=single(values, vihf.PURPOSE_REASON),
        is_secret_connection=_is_secret(values),
        software=f"{single(values, vihf.SOFTWARE_NAME)} {software_version}".strip(),
        software_version=software_version,
        software_id=single(values, vihf.SOFTWARE_ID),
        homologation=single(values, vihf.HOMOLOGATION),
        user_profile=single(values, vihf.USER_PROFILE),
        version=single(values, vihf.VIHF_VERSION),
    )


def claimed_purpose(security: etree._Element) -> str:
    """Code of the first purpose of use in a security header, "" when there is none. Nothing is verified here: for an
    assertion that another of our services has just accepted."""
    found = next((e for name in _PURPOSE_ELEMENTS for e in security.iter(f"{{{HL7}}}{name}")), None)
    return "" if found is None else found.get("code", "")


ORGANIZATION = "urn:oasis:names:tc:xspa:1.0:subject:organization"
ORGANIZATION_ID = "urn:oasis:names:tc:xspa:1.0:subject:organization-id"


def _collect(root: etree._Element) -> Values:
    """All values by attribute name; letter case of the name is not compared, stacks differ in it."""
    found: Values = {}
    for statement in root:
        if statement.tag != _STATEMENT:
            continue
        for attribute in statement:
            if attribute.tag == _ATTRIBUTE:
                values = found.setdefault(str(attribute.get("Name", "")).lower(), [])
                values.extend([value for value in attribute if value.tag == _VALUE])
    return found


def _french(
    values: Values, roles: tuple[Code, ...], purposes: tuple[Code, ...], rule: CredentialRule
) -> tuple[Mode, str]:
    """The attributes VIHF makes mandatory, and their forms; returns the mode and the sector."""
    if _single(values, vihf.VIHF_VERSION) not in _VERSIONS:
        raise _refused(f"{vihf.VIHF_VERSION} is not one of {', '.join(_VERSIONS)}")
    mode = _MODES.get(_single(values, vihf.AUTHENTICATION_MODE))
    if mode is None:
        raise _refused(f"{vihf.AUTHENTICATION_MODE} is not one of {', '.join(_MODES)}")
    for name, obligation in TEXTS.items():
        said = _single(values, name)
        if not said and (obligation == ALWAYS or (obligation == VOUCHED_FOR and mode is not Mode.DIRECT)):
            raise _refused(f"{name} is missing")
        if len(said) > _LONGEST:
            raise _refused(f"{name} is longer than {_LONGEST} characters")
    structure = _single(values, vihf.STRUCTURE)
    if rule.structure_forms is not None and not rule.structure_forms.fullmatch(structure):
        raise _refused(f"{vihf.STRUCTURE} is {structure!r}, which is no Struct_IdNat")
    if _single(values, vihf.RESOURCE) != vihf.RESOURCE_URN:
        raise _refused(f"{vihf.RESOURCE} is not {vihf.RESOURCE_URN}")
    if not roles:
        raise _refused(f"{vihf.ROLE} is missing")
    if not purposes:
        raise _refused(f"{vihf.PURPOSE} is missing")
    if len({purpose.key for purpose in purposes}) > 1:
        raise _refused(f"{vihf.PURPOSE} has several values")
    if purposes[0].code in rule.reasons and not _single(values, vihf.PURPOSE_REASON).strip():
        raise _refused(f"{vihf.PURPOSE_REASON} is missing: an access by emergency says why")
    match = _SECTOR.fullmatch(_single(values, vihf.SECTOR))
    if match is None:
        raise _refused(f"{vihf.SECTOR} is missing or not code^OID")
    sector = f"{match[1]}^^{match[2]}"
    if rule.sectors and sector not in rule.sectors:
        raise _refused(f"{vihf.SECTOR} outside the value set: {sector!r}")
    return mode, sector


def check_roles(roles: tuple[Code, ...], rule: CredentialRule) -> None:
    """The profession first; then, for those who have one, the specialty, the section or the role.

    Judged once it is known that the roles are those of the card. Raises SoapFault of step o.
    """
    if roles[0].scheme in rule.second_roles.values():
        raise claim_fault(INVALID_SECURITY_TOKEN, f"the first role is {roles[0].key!r}, which is no profession", "o")
    if any(role.scheme == vihf.PROFESSIONS for role in roles[1:]):
        raise claim_fault(INVALID_SECURITY_TOKEN, "two professions are claimed", "o")
    wanted = rule.second_roles.get(roles[0].key)
    if wanted is not None and not any(role.scheme == wanted for role in roles[1:]):
        problem = f"the second role is missing: {roles[0].key!r} goes with one of the system {wanted}"
        raise claim_fault(INVALID_SECURITY_TOKEN, problem, "o")


def _single(values: Values, name: str) -> str:
    """The text of an attribute that has one value; "" when it is absent, a fault when its values differ."""
    found = values.get(name.lower())
    if not found:
        return ""
    if len(found) == 1 and not len(found[0]):
        return text(found[0])
    if any(len(value) for value in found):
        raise _refused(f"{name} holds elements where text is expected")
    texts = {text(value) for value in found}
    if len(texts) > 1:
        raise _refused(f"{name} has several values")
    return texts.pop()


def _first(values: Values, name: str) -> str:
    """The first text of an attribute, "" when it is absent: plain XUA lets every attribute repeat."""
    return next((found for value in values.get(name.lower(), ()) if (found := text(value))), "")


def _coded(value: etree._Element, names: tuple[str, ...], what: str) -> Code:
    """One HL7 ``CE`` inside an AttributeValue."""
    if len(value) == 1 and not text(value):
        name = etree.QName(value[0])
        code, system = value[0].get("code", ""), value[0].get("codeSystem", "")
        if name.namespace == HL7 and name.localname in names and code and system and not len(value[0]):
            return Code(code, system, value[0].get("displayName", ""))
    raise _refused(f"{what} is not one coded element")


def _inside(codes: tuple[Code, ...], accepted: frozenset[str], what: str) -> None:
    for code in codes:
        if accepted and code.key not in accepted:
            raise _refused(f"{what} outside the value set: {code.key[:200]!r}")


def _is_secret(values: Values) -> bool:
    """Whether the connection is to stay invisible to legal representatives. The code comes as text or as ``CE``."""
    for value in values.get(vihf.CONFIDENTIALITY, ()):
        secret = vihf.SECRET_CONNECTION
        given, _, system = text(value).partition("^")
        if len(value):
            given, system = value[0].get("code", ""), value[0].get("codeSystem", "")
        if given != secret.code or system.strip("^") not in ("", secret.scheme):
            raise _refused(f"confidentiality-code is not {secret.key}")
        return True
    return False


def _refused(detail: str) -> SoapFault:
    return security_fault(INVALID_SECURITY_TOKEN, detail, "o")
