"""SubmissionSet. Clause: ITI TF-3 4.2.3.3"""

from __future__ import annotations

from dataclasses import dataclass, field

from xds.model.author import Author
from xds.model.codes import Code
from xds.model.text import LocalizedString


@dataclass(slots=True, kw_only=True)
class SubmissionSet:
    """The act of submitting; permanent once stored. ``source_id`` and ``unique_id`` are OIDs."""

    entry_uuid: str
    status: str = ""
    home_community_id: str = ""
    unique_id: str = ""
    patient_id: str = ""
    source_id: str = ""
    submission_time: str = ""
    content_type_code: Code | None = None
    title: list[LocalizedString] = field(default_factory=list)
    comments: list[LocalizedString] = field(default_factory=list)
    authors: list[Author] = field(default_factory=list)
    intended_recipients: list[str] = field(default_factory=list)
    limited_metadata: bool = False
    extra_slots: dict[str, list[str]] = field(default_factory=dict)

    kind = "SubmissionSet"
