"""Affinity domain: everything that differs from one community to the next, as data.

A domain is a folder with ``domain.toml``, ``codes.xml`` in the form of the IHE test tools, and optional
tables for the step from a CDA header to metadata. Two are shipped, ``dmp`` and ``connectathon``.

Clause: ITI TF-3 4.2.3.1.2, ITI TF-1 10.3.1
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from lxml import etree

from xds import namespaces as ns
from xds.credential_rules import NONE, CredentialRules, Table, credential_rules, nothing
from xds.model import Code
from xds.signature_rules import SignatureRules, signature_rules

DEFAULT = "*"
"""Key of a table's row that answers for everything the table does not list."""

ATTRIBUTE_OF_SCHEME = {
    ns.DE_CLASS_CODE: "class_code",
    ns.DE_TYPE_CODE: "type_code",
    ns.DE_FORMAT_CODE: "format_code",
    ns.DE_CONFIDENTIALITY_CODE: "confidentiality_codes",
    ns.DE_EVENT_CODE: "event_codes",
    ns.DE_PRACTICE_SETTING_CODE: "practice_setting_code",
    ns.DE_FACILITY_TYPE_CODE: "healthcare_facility_type_code",
    ns.SS_CONTENT_TYPE_CODE: "content_type_code",
    ns.FOLDER_CODE_LIST: "folder_codes",
    ns.ASSOCIATION_DOCUMENTATION: "association_documentation",
}
ATTRIBUTE_OF_NAME = {
    "classCode": "class_code",
    "typeCode": "type_code",
    "formatCode": "format_code",
    "confidentialityCode": "confidentiality_codes",
    "eventCodeList": "event_codes",
    "practiceSettingCode": "practice_setting_code",
    "healthcareFacilityTypeCode": "healthcare_facility_type_code",
    "contentTypeCode": "content_type_code",
    "folderCodeList": "folder_codes",
    "codeList": "folder_codes",
    "associationDocumentation": "association_documentation",
}
_ATTRIBUTE_OF_LOWER_NAME = {name.lower(): attribute for name, attribute in ATTRIBUTE_OF_NAME.items()}
_BARE_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Rules = TypeVar("Rules")
MAX_CODES_BYTES = 64 * 1024 * 1024
class DomainError(Exception):
    """A file of the affinity domain cannot be used; the text names file, line and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityDomain:
    """One community's rules. Codes are written ``code^^scheme`` throughout."""

    name: str
    assigning_authorities: frozenset[str] = frozenset()
    """OIDs of the patient identifiers this community uses; empty = any."""
    codes: Mapping[str, Table] = field(default_factory=dict)
    """Attribute -> {``code^^scheme``: display}. An attribute that is not a key takes any code."""
    mime_types: frozenset[str] = frozenset()
    """Empty = any."""
    patient_id_type_codes: frozenset[str] = frozenset()
    """Allowed CX.5 of patientId; empty = CX.5 must be absent."""
    type_of_authority: Table = field(default_factory=nothing)
    """OID -> CX.5 to write for an identifier of that authority, best identifier first."""
    record_needs_consent: bool = False
    """True: a record is opened with the patient's consent only; an identity feed makes nobody known."""
    required: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Kind of object -> model attributes required over and above IHE's own."""
    hidden_from_professionals: frozenset[str] = frozenset()
    hidden_from_patient: frozenset[str] = frozenset()
    hidden_from_representatives: frozenset[str] = frozenset()
    base_confidentiality: frozenset[str] = frozenset()
    """Exactly one of these on every document; empty = no such rule."""
    conflicting_confidentiality: tuple[frozenset[str], ...] = ()
    """Sets of codes that may not stand together on one document."""
    unlisted_types: frozenset[str] = frozenset()
    """Document types no person is ever shown."""
    patient_types: frozenset[str] = frozenset()
    """Document types that only the patient deposits."""
    archived_status: str = ""
    deleted_status: str = ""
    """URNs of availability statuses that the community has beside IHE's, for DocumentEntries; "" where it has none."""
    credentials: CredentialRules = field(default_factory=CredentialRules)
    signatures: SignatureRules = field(default_factory=SignatureRules)
    direct_registration: bool = False
    """ITI-42 is taken from others than our own repositories, unless a setting says otherwise."""
    any_repository: bool = False
    """Documents of any repositoryUniqueId may be registered, unless a setting lists those that may."""
    policy: str = ""
    """Name of the policy folder; "" = open."""
    class_of_type: Table = field(default_factory=nothing)
    """Document type -> class. This and the next tables may hold a row ``*`` for all the rest."""
    format_of_template: Table = field(default_factory=nothing)
    """CDA templateId root -> format."""
    format_of_media: Table = field(default_factory=nothing)
    """Media type of an unstructured CDA body -> format."""
    content_type_of_setting: Table = field(default_factory=nothing)
    """Facility type or practice setting -> content type of the submission set."""
    role_of_function: Table = field(default_factory=nothing)
    """CDA functionCode -> text of authorRole."""

    @property
    def statuses(self) -> frozenset[str]:
        """Availability statuses of the community's own."""
        return frozenset({self.archived_status, self.deleted_status}) - {""}

    def allows(self, attribute: str, code: Code) -> bool:
        """True when ``attribute`` is unconstrained or lists this code; the display name is not compared."""
        listed = self.codes.get(attribute)
        return listed is None or code.key in listed

    def is_cda_format(self, code: Code | None) -> bool:
        """True when the tables give this format to a CDA template or to the body of one; what they give to all the rest
        says nothing.
        """
        tables = (self.format_of_template, self.format_of_media)
        return code is not None and any(
            code.key == listed for table in tables for source, listed in table.items() if source != DEFAULT
        )

    def code(self, attribute: str, key: str) -> Code:
        """The ``Code`` for ``code^^scheme``, with the display name listed for it, else the code itself."""
        value, _, scheme = key.partition("^^")
        return Code(value, scheme, self.codes.get(attribute, NONE).get(key, value))


def load(name_or_folder: str | Path, codes_file: Path | None = None) -> AffinityDomain:
    """The domain of that shipped name, or of that folder. ``codes_file`` replaces its ``codes.xml``.

    Raises DomainError naming file, line and what to do.
    """
    folder = _folder(name_or_folder)
    settings, where = _settings(folder / "domain.toml")
    source = codes_file if codes_file is not None else folder / "codes.xml"
    authorities, codes, mime_types = read_codes(_read(source, MAX_CODES_BYTES), str(source))
    tables = {
        "class_of_type": _table(folder / "type-class.csv", "type", "class"),
        "format_of_template": _table(folder / "template-format.csv", "template", "format"),
        "format_of_media": _table(folder / "media-format.csv", "media", "format"),
        "content_type_of_setting": _table(folder / "setting-content-type.csv", "setting", "content_type"),
        "role_of_function": _table(folder / "author-roles.csv", "function", "role"),
    }
    domain = _assemble(
        settings, where, authorities=authorities, codes=codes, mime_types=mime_types, tables=tables
    )
    if codes_file is None:
        _agree(domain, folder)
    return domain


def shipped() -> list[str]:
    """Names of the domains that come with the program."""
    return sorted(entry.name for entry in (files("schemas") / "domains").iterdir() if entry.is_dir())


def _folder(name_or_folder: str | Path) -> Traversable:
    if isinstance(name_or_folder, str) and name_or_folder in shipped():
        return files("schemas") / "domains" / name_or_folder
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise DomainError(
            f"affinity domain {str(name_or_folder)!r} not found: give one of {', '.join(shipped())}"
            " or the path of a folder that holds domain.toml and codes.xml"
        )
    return folder


def _read(source: Traversable, limit: int) -> bytes:
    try:
        with source.open("rb") as stream:
            data: bytes = stream.read(limit + 1)
    except OSError as error:
        raise DomainError(f"{source}: cannot be read ({error.strerror}); check the path and its rights") from error
    if len(data) > limit:
        raise DomainError(f"{source}: larger than {limit} bytes; this is not a file of an affinity domain")
    return data


def _settings(source: Traversable) -> tuple[dict[str, Any], str]:
    data = _read(source, 1024 * 1024)
    try:
        return tomllib.loads(data.decode("utf-8")), str(source)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DomainError(f"{source}: {error}; correct the TOML text at that place") from error


# --- codes.xml -------------------------------------------------------------------------------------------------------


def read_codes(data: bytes, where: str) -> tuple[frozenset[str], dict[str, dict[str, str]], frozenset[str]]:
    """Assigning authorities, codes by attribute and MIME types of a code-set file.

    CodeTypes are told by ``classScheme`` (with or without ``urn:uuid:``, in any letter case), else by ``name``;
    unknown ones are passed over. Tolerated: authority written ``&OID&ISO``, MIME types as a CodeType, a namespace on
    every element.
    ``where`` names the file in errors. Raises DomainError.
    """
    root = _parse_codes(data, where)
    authorities: set[str] = set()
    codes: dict[str, dict[str, str]] = {}
    mime_types: set[str] = set()
    for element in root.iterchildren(etree.Element):
        match etree.QName(element).localname:
            case "AssigningAuthority":
                authorities.add(_authority(_attribute(element, "id", where), element, where))
            case "mimeType":
                mime_types.add(_attribute(element, "code", where).lower())
            case "CodeType":
                _code_type(element, where, codes, mime_types)
    return frozenset(authorities), codes, frozenset(mime_types)


def _parse_codes(data: bytes, where: str) -> etree._Element:
    """A file of the operator, in any encoding, with errors that name its line: so not ``wire.xml.parse``."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DomainError(f"{where}: line {error.lineno}: {error.msg}; the file must be well-formed XML") from error
    if getattr(root.getroottree().docinfo, "doctype", ""):
        raise DomainError(f"{where}: line 1: a DOCTYPE is not accepted; remove it")
    if etree.QName(root).localname != "Codes":
        raise DomainError(f"{where}: line {root.sourceline}: root is {root.tag}; expected Codes")
    return root


def _attribute(element: etree._Element, name: str, where: str) -> str:
    value = (element.get(name) or "").strip()
    if not value:
        place = f"{where}: line {element.sourceline}: {etree.QName(element).localname}"
        raise DomainError(f"{place} has no {name}; add the attribute or drop the line")
    return value


def _authority(value: str, element: etree._Element, where: str) -> str:
    oid = value.split("&")[1] if "&" in value else value
    if not oid or not oid.replace(".", "").isdigit():
        raise DomainError(
            f"{where}: line {element.sourceline}: AssigningAuthority {value!r} is not an OID;"
            " write 1.2.3 or &amp;1.2.3&amp;ISO"
        )
    return oid


def _code_type(element: etree._Element, where: str, codes: dict[str, dict[str, str]], mime_types: set[str]) -> None:
    name = (element.get("name") or "").strip()
    attribute = ATTRIBUTE_OF_SCHEME.get(_scheme(element)) or _ATTRIBUTE_OF_LOWER_NAME.get(name.lower())
    entries = [e for e in element.iterchildren(etree.Element) if etree.QName(e).localname == "Code"]
    if name.lower() == "mimetype":
        mime_types.update(_attribute(entry, "code", where).lower() for entry in entries)
        return
    if attribute is None:
        return
    if not entries:
        raise DomainError(
            f"{where}: line {element.sourceline}: CodeType {name} lists no Code;"
            " add codes, or drop the CodeType to accept any code"
        )
    listed = codes.setdefault(attribute, {})
    for entry in entries:
        value = _attribute(entry, "code", where)
        listed.setdefault(f"{value}^^{_attribute(entry, 'codingScheme', where)}", entry.get("display") or value)


def _scheme(element: etree._Element) -> str:
    """classScheme as ``urn:uuid:`` and lower case, whichever way it is written."""
    value = (element.get("classScheme") or "").strip().lower()
    return f"urn:uuid:{value}" if _BARE_UUID.fullmatch(value) else value


# --- tables ----------------------------------------------------------------------------------------------------------


def _table(source: Traversable, key: str, value: str) -> dict[str, str]:
    """Two named columns of a CSV file as a mapping; empty when the file is absent."""
    if not source.is_file():
        return {}
    reader = csv.DictReader(io.StringIO(_read(source, 4 * 1024 * 1024).decode("utf-8"), newline=""))
    if not {key, value} <= set(reader.fieldnames or ()):
        raise DomainError(f"{source}: line 1: expected the columns {key} and {value}")
    table: dict[str, str] = {}
    for row in reader:
        if not row[key] or not row[value]:
            raise DomainError(f"{source}: line {reader.line_num}: {key} or {value} is empty; fill it or drop the line")
        if row[key] in table:
            raise DomainError(f"{source}: line {reader.line_num}: {row[key]} is listed twice; keep one line")
        table[row[key]] = row[value]
    return table


# --- assembly --------------------------------------------------------------------------------------------------------

SECTIONS = {
    "": {
        "name", "policy", "unlisted_types", "patient_types", "patient_id", "required", "statuses", "confidentiality",
        "credentials", "registry", "signatures",
    },
    "patient_id": {"type_codes", "type_of_authority", "record_needs_consent"},
    "required": {"DocumentEntry", "SubmissionSet", "Folder"},
    "statuses": {"archived", "deleted"},
    "confidentiality": {
        "hidden_from_professionals", "hidden_from_patient", "hidden_from_representatives", "base", "conflicting",
    },
    "credentials": {
        "required", "mode", "profile", "audiences", "issuers", "authn_classes", "lenient_certificates", "max_age",
        "max_lifetime", "max_authn_age", "clock_skew", "roles", "purposes", "sectors", "direct_classes", "software",
        "author", "siren_covers_siret", "person_forms", "structure_forms", "second_roles",
    },
    "registry": {"direct_registration", "any_repository"},
    "signatures": {
        "deposit", "form", "format_code", "class_code", "type_code", "purpose", "confidentiality", "names_set",
    },
}  # fmt: skip


def _known_keys(settings: dict[str, Any], where: str) -> None:
    for section, known in SECTIONS.items():
        content = settings.get(section, {}) if section else settings
        if not isinstance(content, dict):
            raise DomainError(f"{where}: {section} must be a table [{section}]")
        for key in content:
            if key not in known:
                path = f"{section}.{key}" if section else key
                raise DomainError(f"{where}: unknown key {path}; expected one of {', '.join(sorted(known))}")
    if not settings.get("name"):
        raise DomainError(f'{where}: name is missing; add name = "…"')


def _assemble(
    settings: dict[str, Any],
    where: str,
    *,
    authorities: frozenset[str],
    codes: dict[str, dict[str, str]],
    mime_types: frozenset[str],
    tables: dict[str, dict[str, str]],
) -> AffinityDomain:
    _known_keys(settings, where)
    patient_id = settings.get("patient_id", {})
    confidentiality = settings.get("confidentiality", {})
    return AffinityDomain(
        name=settings["name"],
        assigning_authorities=authorities,
        codes=MappingProxyType({attribute: MappingProxyType(listed) for attribute, listed in codes.items()}),
        mime_types=mime_types,
        patient_id_type_codes=frozenset(patient_id.get("type_codes", ())),
        type_of_authority=MappingProxyType(dict(patient_id.get("type_of_authority", {}))),
        record_needs_consent=bool(patient_id.get("record_needs_consent", False)),
        required=MappingProxyType({kind: frozenset(names) for kind, names in settings.get("required", {}).items()}),
        hidden_from_professionals=frozenset(confidentiality.get("hidden_from_professionals", ())),
        hidden_from_patient=frozenset(confidentiality.get("hidden_from_patient", ())),
        hidden_from_representatives=frozenset(confidentiality.get("hidden_from_representatives", ())),
        base_confidentiality=frozenset(confidentiality.get("base", ())),
        conflicting_confidentiality=tuple(frozenset(group) for group in confidentiality.get("conflicting", ())),
        unlisted_types=frozenset(settings.get("unlisted_types", ())),
        patient_types=frozenset(settings.get("patient_types", ())),
        archived_status=settings.get("statuses", {}).get("archived", ""),
        deleted_status=settings.get("statuses", {}).get("deleted", ""),
        credentials=_section(credential_rules, where, settings.get("credentials", {}), codes),
        signatures=_section(signature_rules, where, settings.get("signatures", {})),
        policy=settings.get("policy", ""),
        direct_registration=bool(settings.get("registry", {}).get("direct_registration", False)),
        any_repository=bool(settings.get("registry", {}).get("any_repository", False)),
        **{name: MappingProxyType(table) for name, table in tables.items()},
    )


def _section(read: Callable[..., Rules], where: str, *given: Any) -> Rules:
    try:
        return read(*given)
    except ValueError as error:
        raise DomainError(f"{where}: {error}") from error


def _agree(domain: AffinityDomain, folder: Traversable) -> None:
    """Every code that domain.toml and the tables name is listed in codes.xml: catches a slip of the pen."""
    flags = domain.hidden_from_professionals | domain.hidden_from_patient | domain.hidden_from_representatives
    flags |= domain.base_confidentiality.union(*domain.conflicting_confidentiality)
    rules = domain.signatures
    used: list[tuple[str, str, Iterable[str]]] = [
        ("domain.toml", "confidentiality_codes", flags),
        ("domain.toml", "type_code", domain.unlisted_types | domain.patient_types | {rules.type_code} - {""}),
        ("domain.toml", "format_code", {rules.format_code} - {""}),
        ("domain.toml", "class_code", {rules.class_code} - {""}),
        ("domain.toml", "confidentiality_codes", rules.confidentiality),
        ("type-class.csv", "type_code", set(domain.class_of_type) - {DEFAULT}),
        ("type-class.csv", "class_code", domain.class_of_type.values()),
        ("template-format.csv", "format_code", domain.format_of_template.values()),
        ("media-format.csv", "format_code", domain.format_of_media.values()),
        ("setting-content-type.csv", "content_type_code", domain.content_type_of_setting.values()),
    ]
    for file_name, attribute, keys in used:
        if attribute not in domain.codes:
            continue
        for key in sorted(set(keys)):
            if key not in domain.codes[attribute]:
                raise DomainError(
                    f"{folder / file_name}: {key} is not among the {attribute} values of codes.xml;"
                    " correct it here or add it there"
                )
