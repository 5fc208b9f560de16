"""Metadata of submissions as strings, from the tables of the framework (ITI TF-3 4.2). No product code."""

# ruff: noqa: E501 - messages are written here as they travel

from __future__ import annotations

import hashlib
import itertools
import uuid
from dataclasses import dataclass, field, replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

LCM = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
XDS = "urn:ihe:iti:xds-b:2007"
STABLE = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
ONDEMAND = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
SS_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
FOLDER_NODE = "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
AUTHORITY = "1.3.6.1.4.1.21367.2005.3.7"
REPOSITORY = "1.2.250.1.999.1.1"

HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
RPLC = "urn:ihe:iti:2007:AssociationType:RPLC"
XFRM = "urn:ihe:iti:2007:AssociationType:XFRM"
APND = "urn:ihe:iti:2007:AssociationType:APND"
XFRM_RPLC = "urn:ihe:iti:2007:AssociationType:XFRM_RPLC"
SIGNS = "urn:ihe:iti:2007:AssociationType:signs"
SNAPSHOT = "urn:ihe:iti:2010:AssociationType:IsSnapshotOf"
UPDATE_STATUS = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
SUBMIT_ASSOCIATION = "urn:ihe:iti:2010:AssociationType:SubmitAssociation"

DE_SCHEMES = {
    "classCode": "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a",
    "typeCode": "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983",
    "formatCode": "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d",
    "confidentialityCode": "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f",
    "practiceSettingCode": "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead",
    "healthcareFacilityTypeCode": "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1",
    "eventCodeList": "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4",
}
AUTHOR, SS_AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d", "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
CONTENT_TYPE = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
FOLDER_CODES = "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5"
DE_PATIENT, DE_UNIQUE = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427", "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
SS_PATIENT, SS_SOURCE, SS_UNIQUE = (
    "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446",
    "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832",
    "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8",
)
FOLDER_PATIENT, FOLDER_UNIQUE = (
    "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a",
    "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a",
)
LOINC, SNOMED, CONFIDENTIALITY = "2.16.840.1.113883.6.1", "2.16.840.1.113883.6.96", "2.16.840.1.113883.5.25"
CODES: dict[str, tuple[tuple[str, str], ...]] = {
    "classCode": (("11488-4", LOINC),),
    "typeCode": (("11488-4", LOINC),),
    "formatCode": (("urn:ihe:iti:xds:2017:mimeTypeSufficient", "1.3.6.1.4.1.19376.1.2.3"),),
    "confidentialityCode": (("N", CONFIDENTIALITY),),
    "practiceSettingCode": (("394802001", SNOMED),),
    "healthcareFacilityTypeCode": (("22232009", SNOMED),),
}
_numbers = itertools.count(1)
_ROOT = f"1.3.6.1.4.1.21367.2026.{uuid.uuid4().int >> 96}"


def oid() -> str:
    """A new OID of this run."""
    return f"{_ROOT}.{next(_numbers)}"


def new_uuid() -> str:
    return f"urn:uuid:{uuid.uuid4()}"


def slot(name: str, *values: str) -> str:
    inner = "".join(f"<rim:Value>{escape(v)}</rim:Value>" for v in values)
    return f"<rim:Slot name={quoteattr(name)}><rim:ValueList>{inner}</rim:ValueList></rim:Slot>"


def code(scheme: str, owner: str, value: str, coding_scheme: str, display: str = "as displayed") -> str:
    return (
        f'<rim:Classification id="c{next(_numbers)}" classificationScheme="{scheme}" classifiedObject={quoteattr(owner)} '
        f"nodeRepresentation={quoteattr(value)}>{slot('codingScheme', coding_scheme)}"
        f"<rim:Name><rim:LocalizedString value={quoteattr(display)}/></rim:Name></rim:Classification>"
    )


def author(scheme: str, owner: str, person: str, *, institution: str = "Clinique des essais") -> str:
    return (
        f'<rim:Classification id="c{next(_numbers)}" classificationScheme="{scheme}" classifiedObject={quoteattr(owner)} '
        f'nodeRepresentation="">{slot("authorPerson", person)}{slot("authorInstitution", institution)}</rim:Classification>'
    )


def identifier(scheme: str, owner: str, value: str, label: str) -> str:
    return (
        f'<rim:ExternalIdentifier id="e{next(_numbers)}" identificationScheme="{scheme}" registryObject={quoteattr(owner)} '
        f'value={quoteattr(value)}><rim:Name><rim:LocalizedString value="{label}"/></rim:Name></rim:ExternalIdentifier>'
    )


@dataclass
class Entry:
    """A DocumentEntry; ``drop`` leaves attributes out, ``slots`` replaces or adds Slots."""

    patient: str
    data: bytes = b"a document"
    id: str = field(default_factory=lambda: f"doc{next(_numbers)}")
    unique: str = field(default_factory=oid)
    codes: dict[str, Any] = field(default_factory=dict)
    slots: dict[str, Any] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    mime: str = "text/plain"
    kind: str = STABLE
    lid: str = ""
    title: str = "A title"
    author: str = "^Welby^Marcus^^^Dr"
    registered: bool = True
    status: str = ""
    extra: str = ""
    version: str = ""

    @property
    def hash(self) -> str:
        return hashlib.sha1(self.data).hexdigest()

    def but(self, **changes: Any) -> Entry:
        return replace(self, **changes)

    def as_version(self, lid: str, **changes: Any) -> Entry:
        """The same document as an update of the logical object ``lid``."""
        return replace(self, lid=lid, id=f"upd{next(_numbers)}", **changes)

    def xml(self) -> str:
        slots: dict[str, Any] = {
            "creationTime": "20260314120000",
            "languageCode": "en-us",
            "sourcePatientId": f"SRC-1^^^&{AUTHORITY}.99&ISO",
            "serviceStartTime": "202603140900",
            "serviceStopTime": "202603141000",
        }
        if self.registered:
            slots |= {"hash": self.hash, "size": str(len(self.data)), "repositoryUniqueId": REPOSITORY}
        if self.kind == ONDEMAND:
            for name in ("creationTime", "hash", "size"):
                slots.pop(name, None)
        slots |= self.slots
        text = "".join(
            slot(name, *([values] if isinstance(values, str) else values))
            for name, values in slots.items()
            if name not in self.drop and values is not None
        )
        codes = "".join(
            code(DE_SCHEMES[name], self.id, *pair)
            for name, pairs in (CODES | self.codes).items()
            for pair in pairs
            if name not in self.drop
        )
        codes += author(AUTHOR, self.id, self.author) if self.author else ""
        ids = identifier(DE_PATIENT, self.id, self.patient, "XDSDocumentEntry.patientId") * (
            "patientId" not in self.drop
        )
        ids += identifier(DE_UNIQUE, self.id, self.unique, "XDSDocumentEntry.uniqueId") * ("uniqueId" not in self.drop)
        lid = f' lid="{self.lid}"' if self.lid else ""
        status = f' status="{self.status}"' if self.status else ""
        mime = f' mimeType="{self.mime}"' if "mimeType" not in self.drop else ""
        version = f'<rim:VersionInfo versionName="{self.version}"/>' if self.version else ""
        return (
            f'<rim:ExtrinsicObject id="{self.id}"{lid}{status}{mime} objectType="{self.kind}">{text}'
            f"<rim:Name><rim:LocalizedString value={quoteattr(self.title)}/></rim:Name>{version}{codes}{self.extra}{ids}"
            "</rim:ExtrinsicObject>"
        )


@dataclass
class Folder:
    patient: str
    id: str = field(default_factory=lambda: f"fol{next(_numbers)}")
    unique: str = field(default_factory=oid)
    codes: tuple[tuple[str, str], ...] = (("34133-9", LOINC),)
    drop: frozenset[str] = frozenset()
    lid: str = ""
    title: str = "A folder"
    slots: dict[str, str] = field(default_factory=dict)

    def but(self, **changes: Any) -> Folder:
        return replace(self, **changes)

    def xml(self) -> str:
        lid = f' lid="{self.lid}"' if self.lid else ""
        name = f"<rim:Name><rim:LocalizedString value={quoteattr(self.title)}/></rim:Name>" * ("title" not in self.drop)
        codes = "".join(code(FOLDER_CODES, self.id, *pair) for pair in self.codes if "codeList" not in self.drop)
        ids = identifier(FOLDER_PATIENT, self.id, self.patient, "XDSFolder.patientId") * ("patientId" not in self.drop)
        ids += identifier(FOLDER_UNIQUE, self.id, self.unique, "XDSFolder.uniqueId") * ("uniqueId" not in self.drop)
        slots = "".join(slot(key, value) for key, value in self.slots.items())
        return (
            f'<rim:RegistryPackage id="{self.id}"{lid}>{slots}{name}'
            f'<rim:Classification id="c{next(_numbers)}" classifiedObject="{self.id}" classificationNode="{FOLDER_NODE}"/>'
            f"{codes}{ids}</rim:RegistryPackage>"
        )


def link(kind: str, source: str, target: str, *slots: str, id: str = "", extra: str = "") -> str:
    return (
        f'<rim:Association id="{id or f"as{next(_numbers)}"}" associationType="{kind}" '
        f'sourceObject="{source}" targetObject="{target}">{"".join(slots)}{extra}</rim:Association>'
    )


@dataclass
class Set:
    """A SubmissionSet and all that it brings."""

    patient: str
    entries: list[Entry] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    id: str = "SubmissionSet01"
    unique: str = field(default_factory=oid)
    source: str = f"{AUTHORITY}.1"
    drop: frozenset[str] = frozenset()
    time: str = "20260314130000"
    author: str = "^Smitty^Gerald^^^"
    content_type: tuple[str, str] = ("11488-4", LOINC)
    marker_beside: bool = False
    with_members: bool = True
    slots: dict[str, str] = field(default_factory=dict)
    previous: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def into(self, folder: str, entry: str) -> Set:
        """Add a document to a folder: the membership and the set's membership of it."""
        name = f"fd{next(_numbers)}"
        self.links += [link(HAS_MEMBER, folder, entry, id=name), link(HAS_MEMBER, self.id, name)]
        return self

    def xml(self) -> str:
        marker = (
            f'<rim:Classification id="c{next(_numbers)}" classifiedObject="{self.id}" classificationNode="{SS_NODE}"/>'
        )
        ids = ""
        for name, scheme, value in (
            ("patientId", SS_PATIENT, self.patient),
            ("sourceId", SS_SOURCE, self.source),
            ("uniqueId", SS_UNIQUE, self.unique),
        ):
            ids += identifier(scheme, self.id, value, f"XDSSubmissionSet.{name}") * (name not in self.drop)
        text = slot("submissionTime", self.time) * ("submissionTime" not in self.drop)
        text += "".join(slot(key, value) for key, value in self.slots.items())
        codes = code(CONTENT_TYPE, self.id, *self.content_type) * ("contentTypeCode" not in self.drop)
        codes += author(SS_AUTHOR, self.id, self.author)
        package = (
            f'<rim:RegistryPackage id="{self.id}">{text}<rim:Name><rim:LocalizedString value="A set"/></rim:Name>'
            f"{'' if self.marker_beside else marker}{codes}{ids}</rim:RegistryPackage>"
        )
        members = ""
        if self.with_members:
            for entry in self.entries:
                more = self.previous.get(entry.id, ())
                members += link(HAS_MEMBER, self.id, entry.id, slot("SubmissionSetStatus", "Original"), *more)
            for folder in self.folders:
                members += link(HAS_MEMBER, self.id, folder.id, *self.previous.get(folder.id, ()))
        return (
            f'<lcm:SubmitObjectsRequest xmlns:lcm="{LCM}" xmlns:rim="{RIM}"><rim:RegistryObjectList>'
            f"{package}{marker if self.marker_beside else ''}{''.join(e.xml() for e in self.entries)}"
            f"{''.join(f.xml() for f in self.folders)}{members}{''.join(self.links)}"
            "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"
        )


def provide(submission: Set, documents: str) -> str:
    """Body of ITI-41."""
    return (
        f'<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds="{XDS}">{submission.xml()}{documents}'
        "</xds:ProvideAndRegisterDocumentSetRequest>"
    )


def document(entry_id: str, href: str = "", inline: str = "") -> str:
    inner = f'<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="{href}"/>' if href else inline
    return f'<xds:Document id="{entry_id}">{inner}</xds:Document>'


def query(query_id: str, *slots: str, return_type: str = "LeafClass", attributes: str = "", request: str = "") -> str:
    """Body of ITI-18 or ITI-51; a slot is made by ``slot``."""
    return (
        f'<query:AdhocQueryRequest xmlns:query="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0" xmlns:rim="{RIM}"{request}>'
        f'<query:ResponseOption returnType="{return_type}" returnComposedObjects="true"/>'
        f'<rim:AdhocQuery id="{query_id}"{attributes}>{"".join(slots)}</rim:AdhocQuery></query:AdhocQueryRequest>'
    )


def retrieve(
    *wanted: tuple[str, str], home: str = "", root: str = "xds:RetrieveDocumentSetRequest", more: str = ""
) -> str:
    """Body of ITI-43; ``wanted`` are (repositoryUniqueId, DocumentUniqueId)."""
    inner = "".join(
        "<xds:DocumentRequest>"
        + (f"<xds:HomeCommunityId>{home}</xds:HomeCommunityId>" if home else "")
        + f"<xds:RepositoryUniqueId>{escape(repository)}</xds:RepositoryUniqueId>"
        f"<xds:DocumentUniqueId>{escape(unique)}</xds:DocumentUniqueId></xds:DocumentRequest>"
        for repository, unique in wanted
    )
    return f'<{root} xmlns:xds="{XDS}"{more}>{inner}</{root}>'


def remove(*ids: str, inner: str = "") -> str:
    """Body of ITI-62."""
    refs = "".join(f'<rim:ObjectRef id="{i}"/>' for i in ids)
    content = inner or f"<rim:ObjectRefList>{refs}</rim:ObjectRefList>"
    return f'<lcm:RemoveObjectsRequest xmlns:lcm="{LCM}" xmlns:rim="{RIM}">{content}</lcm:RemoveObjectsRequest>'
