"""Separators and escapes of HL7 v2 values. Clause: HL7 v2.5 2.7; ITI TF-3 4.2.3.1.7"""

from __future__ import annotations

import re

_FROM_ESCAPE = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
_TO_ESCAPE = str.maketrans({character: f"\\{letter}\\" for letter, character in _FROM_ESCAPE.items()})
_ESCAPE = re.compile(r"\\([FSTRE])\\")


def split(text: str, separator: str) -> list[str]:
    """Components, still escaped, without the empty ones at the end."""
    parts = text.split(separator)
    while parts and not parts[-1].strip("&"):
        parts.pop()
    return parts


def unescape(text: str) -> str:
    """Escapes to the characters they stand for; any other backslash is left alone."""
    return _ESCAPE.sub(lambda m: _FROM_ESCAPE[m[1]], text) if "\\" in text else text


def escape(text: str) -> str:
    """The inverse of ``unescape``."""
    return text.translate(_TO_ESCAPE)
