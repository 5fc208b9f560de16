"""Folder. Clause: ITI TF-3 4.2.3.4"""

from __future__ import annotations

from dataclasses import dataclass, field

from xds.model.codes import Code
from xds.model.text import LocalizedString


@dataclass(slots=True, kw_only=True)
class Folder:
    """A named group of documents of one patient. ``last_update_time`` is the registry's, UTC, 14 digits."""

    entry_uuid: str
    status: str = ""
    logical_id: str = ""
    version: int = 0
    home_community_id: str = ""
    unique_id: str = ""
    patient_id: str = ""
    codes: list[Code] = field(default_factory=list)
    title: list[LocalizedString] = field(default_factory=list)
    comments: list[LocalizedString] = field(default_factory=list)
    last_update_time: str = ""
    limited_metadata: bool = False
    extra_slots: dict[str, list[str]] = field(default_factory=dict)

    kind = "Folder"
