"""What a repository needs to know of an on-demand document it may serve: the entry, and the snapshots to replace.

Where rights differ from caller to caller a snapshot holds what one caller might see when it was made, so only a later
one of the same caller replaces it; where everybody sees everything there is one line of snapshots for all.

Clause: ITI TF-2 3.43.4.1.3, 3.61
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

from guard.credentials.caller import Caller
from guard.policy.facts import EVERYTHING
from record.facts import author_ids
from registry.store import EntryCriteria, RegistryUnit
from xds.ebxml.write import document_entry
from xds.model import DocumentEntry
from xds.namespaces import APPROVED, IS_SNAPSHOT_OF, RIM, STABLE


def snapshots_of(
    unit: RegistryUnit, patient_key: int, entry: DocumentEntry, caller: Caller | None
) -> tuple[str, ...]:
    """entryUUIDs of the Approved snapshots of ``entry``, newest first: those that name this caller as an author, or
    of anyone (None)."""
    links = unit.registry.associations_of(patient_key, [entry.entry_uuid], frozenset({IS_SNAPSHOT_OF}))
    sources = frozenset(link.source for link in links if link.target == entry.entry_uuid)
    if not sources:
        return ()
    where = EntryCriteria(entry_uuids=sources, statuses=frozenset({APPROVED}), object_types=frozenset({STABLE}))
    found = unit.registry.entries(patient_key, where, EVERYTHING)
    return tuple(e.entry_uuid for e in found if caller is None or caller.identifier in author_ids(e.authors))


def decision_on_demand(entry: DocumentEntry, snapshots: Iterable[str]) -> str:
    """The ``Decision`` that permits an on-demand document."""
    former = "".join(f"<Snapshot entryUUID={quoteattr(one)}/>" for one in snapshots)
    return (
        f'<Decision xmlns:rim="{RIM}" uniqueId={quoteattr(entry.unique_id)} permitted="true"'
        f" mimeType={quoteattr(entry.mime_type)} entryUUID={quoteattr(entry.entry_uuid)}>"
        f"{document_entry(entry).decode()}{former}</Decision>"
    )
