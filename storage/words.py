"""The stored form of identifiers and URNs, and the form in which text is compared."""

from __future__ import annotations

from unicodedata import normalize

from xds import namespaces as ns

_SHORT = {
    ns.APPROVED: "Approved", ns.DEPRECATED: "Deprecated",
    ns.ARCHIVED: "Archived", ns.DELETED: "Deleted",
    ns.STABLE: "Stable", ns.ON_DEMAND: "OnDemand",
    ns.HAS_MEMBER: "HasMember", ns.RPLC: "RPLC", ns.XFRM: "XFRM", ns.APND: "APND", ns.XFRM_RPLC: "XFRM_RPLC",
    ns.SIGNS: "signs", ns.IS_SNAPSHOT_OF: "IsSnapshotOf",
    ns.UPDATE_AVAILABILITY_STATUS: "UpdateAvailabilityStatus", ns.SUBMIT_ASSOCIATION: "SubmitAssociation",
    "DocumentEntry": "D", "SubmissionSet": "S", "Folder": "F", "Association": "A", "Record": "R",
}
_LONG = {word: urn for urn, word in _SHORT.items()}
_PREFIX = "urn:uuid:"


def short(urn: str) -> str:
    """The stored word of a status, type or kind; any other text is stored as it is."""
    return _SHORT.get(urn, urn)


def long(word: str) -> str:
    return _LONG.get(word, word)


def compared(text: str) -> str:
    """The form in which identifiers and codes are compared: NFC. Clause: ITI TF-3 4.2.3.1 (rule Q-13)"""
    return text if text.isascii() else normalize("NFC", text)


def bare(entry_uuid: str) -> str:
    """The stored form of an entryUUID: lower case, without ``urn:uuid:``; anything else is marked with ``=``."""
    lower = entry_uuid.lower()
    return lower[9:] if lower.startswith(_PREFIX) else f"={lower}"


def urn(stored: str) -> str:
    """The entryUUID that ``bare`` was given, in lower case."""
    return stored[1:] if stored.startswith("=") else _PREFIX + stored
