"""DocumentEntry. Clause: ITI TF-3 4.2.3.2"""

from __future__ import annotations

from dataclasses import dataclass, field

from xds.model.author import Author
from xds.model.codes import Code
from xds.model.text import LocalizedString
from xds.namespaces import STABLE


@dataclass(slots=True, kw_only=True)
class DocumentEntry:
    """Metadata of one document.

    ``entry_uuid`` may be symbolic until the registry has assigned a ``urn:uuid:``.
    Times are DTM text, UTC, 4 to 14 digits, precision as submitted. ``hash`` is the SHA-1 of the
    exact bytes, 40 hex digits; ``size`` is in bytes. "" or None means "not given".
    """

    entry_uuid: str
    object_type: str = STABLE
    status: str = ""
    logical_id: str = ""
    version: int = 0
    mime_type: str = ""
    home_community_id: str = ""
    unique_id: str = ""
    patient_id: str = ""
    source_patient_id: str = ""
    source_patient_info: list[str] = field(default_factory=list)
    title: list[LocalizedString] = field(default_factory=list)
    comments: list[LocalizedString] = field(default_factory=list)
    authors: list[Author] = field(default_factory=list)
    class_code: Code | None = None
    type_code: Code | None = None
    format_code: Code | None = None
    practice_setting_code: Code | None = None
    healthcare_facility_type_code: Code | None = None
    confidentiality_codes: list[Code] = field(default_factory=list)
    event_codes: list[Code] = field(default_factory=list)
    creation_time: str = ""
    service_start_time: str = ""
    service_stop_time: str = ""
    language_code: str = ""
    legal_authenticator: str = ""
    hash: str = ""
    size: int | None = None
    repository_unique_id: str = ""
    reference_ids: list[str] = field(default_factory=list)
    uri: list[str] = field(default_factory=list)
    document_availability: str = ""
    limited_metadata: bool = False
    extra_slots: dict[str, list[str]] = field(default_factory=dict)

    kind = "DocumentEntry"
