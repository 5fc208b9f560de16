"""Localised text. Clause: ebRIM 3.0 2.6"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LocalizedString:
    """One ``rim:LocalizedString``; ``lang`` is an RFC 5646 tag."""

    value: str
    lang: str = "en-US"
    charset: str = "UTF-8"
