"""Bounds on what comes from outside; the defaults of the settings that carry the same names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """All sizes in bytes, all times in seconds."""

    xml_part: int = 8 * 1024 * 1024
    """A SOAP envelope: the whole body of a simple message, or the root part of a multipart one."""
    document: int = 4 * 1024 * 1024 * 1024
    """One attached document."""
    message: int = 8 * 1024 * 1024 * 1024
    """A whole HTTP body."""
    parts: int = 256
    """Parts in one multipart message, the root included."""
    part_headers: int = 8 * 1024
    """All headers of one part together."""
    boundary: int = 70
    """Characters of a multipart boundary (RFC 2046 5.1.1)."""
    elements: int = 100_000
    """Elements of one XML part; memory of the tree follows this number."""
    body_idle: float = 20.0
    """Longest silence of a sender inside one request."""
    body_rate: int = 4 * 1024
    """Lowest mean rate of a body after its first ``body_idle`` seconds, in bytes per second."""
    findings: int = 200
    """Errors listed in one answer; the rest are counted."""


DEFAULT = Limits()
