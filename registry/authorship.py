"""The author of a submission set, held against the credential.

Clause: DMP R526 (documents imputed to the structure); SubmissionSet author, cardinality 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from guard.credentials import authorship
from guard.credentials.caller import Caller
from xds.errors import ErrorCode, Finding
from xds.model import SubmissionSet
from xds.model.datatypes import Xcn, Xon


def disagreement(caller: Caller, submission_set: SubmissionSet, *, rule: str, trace_id: str) -> list[Finding]:
    """One finding when the author is not who signs and ``rule`` refuses that. The documents' authors may be others."""
    persons = {
        one.id for author in submission_set.authors for one in _parsed(Xcn, author.person)
        if one.authority.universal_id == authorship.PERSONS
    }
    structures = {
        one.id for author in submission_set.authors for one in _parsed(Xon, author.institutions)
        if one.authority.universal_id == authorship.STRUCTURES
    }
    told = Finding(
        code=ErrorCode.XDSRegistryMetadataError, subject=f"SubmissionSet {submission_set.entry_uuid}", field="author",
        clause="DMP R526",
    )
    return authorship.disagreement(caller, told, persons, structures, rule=rule, trace_id=trace_id)


def _parsed(kind: type[Xcn] | type[Xon], texts: Iterable[str]) -> Iterator[Xcn | Xon]:
    """What cannot be read names nobody; that it cannot is another rule's finding."""
    for text in texts:
        with suppress(ValueError):
            yield kind.parse(text)
