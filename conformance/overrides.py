"""What the submitter adds to, or puts in place of, the metadata a CDA header gives.

A TOML file or a mapping with the keys of ``KEYS``; codes are written ``"code^^scheme"`` or
``{ code = "…", scheme = "…", display = "…" }``, times as DTM in UTC.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xds.domain import AffinityDomain
from xds.model import Code

CODES = (
    "class_code", "type_code", "format_code", "confidentiality_code", "practice_setting_code",
    "healthcare_facility_type_code", "content_type_code",
)  # fmt: skip
TEXTS = (
    "title", "comments", "author_role", "language_code", "creation_time", "service_start_time", "service_stop_time",
    "legal_authenticator", "source_patient_id", "patient_id", "mime_type", "submission_title",
)  # fmt: skip
FLAGS = ("masked", "invisible_to_patient", "invisible_to_representatives")
LISTS = ("reference_ids", "intended_recipients")
KEYS = (*CODES, *TEXTS, *FLAGS, *LISTS, "event_codes")


class OverrideError(Exception):
    """An override file or mapping holds something that is not an override; the text says what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """"" or None leaves the value of the header."""

    title: str = ""
    comments: str = ""
    author_role: str = ""
    """Text of authorRole for the first author."""
    class_code: Code | None = None
    type_code: Code | None = None
    format_code: Code | None = None
    confidentiality_code: Code | None = None
    """In place of the code of the header; the flags below come on top."""
    practice_setting_code: Code | None = None
    healthcare_facility_type_code: Code | None = None
    content_type_code: Code | None = None
    event_codes: tuple[Code, ...] = ()
    """Added to those of the header."""
    language_code: str = ""
    creation_time: str = ""
    service_start_time: str = ""
    service_stop_time: str = ""
    legal_authenticator: str = ""
    """XCN"""
    patient_id: str = ""
    """CX, of the document and of the submission"""
    source_patient_id: str = ""
    """CX"""
    mime_type: str = ""
    reference_ids: tuple[str, ...] = ()
    """CXi"""
    intended_recipients: tuple[str, ...] = ()
    submission_title: str = ""
    masked: bool = False
    """Hide from professionals (masquage)."""
    invisible_to_patient: bool = False
    invisible_to_representatives: bool = False


def read_overrides(path: Path, domain: AffinityDomain) -> Overrides:
    """The overrides in this TOML file. Raises OverrideError naming file and key."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise OverrideError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OverrideError(f"{path}: {error}") from error
    return overrides_from(content, domain, str(path))


def overrides_from(content: Mapping[str, Any], domain: AffinityDomain, where: str = "overrides") -> Overrides:
    """The overrides of a mapping. Raises OverrideError for an unknown key or a value of another type."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        place = f"{where}: {key}"
        if key in CODES:
            values[key] = _code(value, key, domain, place)
        elif key == "event_codes":
            items = _typed(value, list, place, "a list of codes")
            values[key] = tuple(_code(item, key, domain, place) for item in items)
        elif key in TEXTS:
            values[key] = _typed(value, str, place, "a text")
        elif key in FLAGS:
            values[key] = _typed(value, bool, place, "true or false")
        elif key in LISTS:
            items = _typed(value, list, place, "a list of texts")
            values[key] = tuple(_typed(item, str, place, "a list of texts") for item in items)
        else:
            raise OverrideError(f"{place}: unknown key; expected one of {', '.join(sorted(KEYS))}")
    return Overrides(**values)


def _typed(value: Any, wanted: type, place: str, words: str) -> Any:
    if not isinstance(value, wanted):
        raise OverrideError(f"{place}: {value!r} is not {words}")
    return value


def _code(value: Any, attribute: str, domain: AffinityDomain, place: str) -> Code:
    listed = "confidentiality_codes" if attribute == "confidentiality_code" else attribute
    if isinstance(value, str) and all(value.partition("^^")):
        return domain.code(listed, value)
    if isinstance(value, dict) and value.keys() <= {"code", "scheme", "display"} and value.get("code"):
        scheme = str(value.get("scheme", ""))
        if scheme:
            known = domain.code(listed, f"{value['code']}^^{scheme}")
            return Code(known.code, known.scheme, str(value.get("display") or known.display))
    raise OverrideError(f'{place}: {value!r} is not a code; write "code^^scheme" or {{ code = "…", scheme = "…" }}')
