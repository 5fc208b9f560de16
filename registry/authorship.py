"""Whether a submission says it comes from whom the credential names.

A person who signs for himself is the author of what he submits; staff, whose submissions count as their structure's,
and a structure that vouches for its people, are so by the institution. The authors of the documents may be others.
That the two agree is our reading of the national profile, which states neither the contrary nor how it is checked;
so the domain says what a disagreement comes to.

Clause: DMP R526 (documents imputed to the structure); SubmissionSet author, cardinality 1
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress

from guard.credentials.caller import Caller, Mode
from xds.errors import ErrorCode, Finding
from xds.model import SubmissionSet
from xds.model.datatypes import Xcn, Xon

log = logging.getLogger(__name__)

OFF, WARN, REFUSE = "off", "warn", "refuse"
_PERSONAL, _VOUCHED = (Mode.DIRECT,), (Mode.INDIRECT, Mode.REINFORCED_INDIRECT)


def disagreement(caller: Caller, submission_set: SubmissionSet, *, rule: str) -> list[Finding]:
    """One finding when the author is not who signs and ``rule`` refuses that; both are named, both are his words."""
    if rule == OFF or not caller.assertion_sha256 or caller.mode not in (*_PERSONAL, *_VOUCHED):
        return []
    persons = {one.id for author in submission_set.authors for one in _parsed(Xcn, author.person)}
    structures = {one.id for author in submission_set.authors for one in _parsed(Xon, author.institutions)}
    by_person = caller.mode in _PERSONAL and caller.identifier in persons
    has_profession = caller.mode in _PERSONAL and caller.profession is not None and caller.profession.code.isdigit()
    if by_person or (not has_profession and caller.structure_id in structures):
        return []
    found = Finding(
        code=ErrorCode.XDSRegistryMetadataError,
        subject=f"SubmissionSet {submission_set.entry_uuid}",
        field="author",
        found=", ".join(sorted((persons if has_profession else structures) - {""})) or "nobody",
        expected=f"{caller.identifier if has_profession else caller.structure_id}, whom the assertion names",
        clause="DMP R526",
    )
    if rule == REFUSE:
        return [found]
    log.warning("%s: author %s, expected %s", found.subject, found.found, found.expected)
    return []


def _parsed(kind: type[Xcn] | type[Xon], texts: Iterable[str]) -> Iterator[Xcn | Xon]:
    """What cannot be read names nobody; that it cannot is another rule's finding."""
    for text in texts:
        with suppress(ValueError):
            yield kind.parse(text)
