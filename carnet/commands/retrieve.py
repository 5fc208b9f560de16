"""``carnet retrieve``"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from carnet.commands.query import call
from carnet.console import DATA, JSON, Place, Refused, a_cx, card_options, client_of, emit, table
from conformance.client import Client, Found
from conformance.files import FileSink, Saved
from conformance.source import GET_DOCUMENTS
from xds.check.query_params import quote_list
from xds.model import DocumentEntry

VERDICTS = {True: "identical", False: "DIFFERS", None: "made on demand, not kept"}
SUFFIX = {"text/xml": ".xml", "application/xslt+xml": ".xml", "application/pdf": ".pdf", "text/plain": ".txt"}


@click.command("retrieve")
@click.argument("patient", callback=a_cx)
@click.argument("unique_ids", nargs=-1, required=True)
@card_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    show_default=True,
    help="Folder to write to.",
)
@DATA
@JSON
def command(
    patient: str,
    unique_ids: tuple[str, ...],
    card_file: Place | None,
    pin_file: Path | None,
    structure_id: str,
    purpose: str,
    repository_url: str,
    registry_url: str,
    ca: Path | None,
    out: Path,
    data: Path,
    as_json: bool,
) -> None:
    """Retrieve documents by uniqueId and prove them against the registry: size and hash must agree.

    An on-demand document is made for this card: it is proved when the repository has kept it as a snapshot.

    \b
    Example:
      carnet retrieve "279...^^^&1.2.250.1.213.1.4.10&ISO^NH" 1.2.250.1.999.7.1 --card anne.p12 --structure 10B0000001
    """
    client = client_of(data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca)
    out.mkdir(parents=True, exist_ok=True)
    reports, errors = call(lambda: fetch(client, patient, unique_ids, out))
    rows = [(r["uniqueId"], str(r["size"]), VERDICTS[r["identical"]], r["file"]) for r in reports]
    if reports or not errors:
        emit(
            as_json,
            {"documents": reports, "errors": errors},
            table(rows, ("uniqueId", "bytes", "against registry", "file")),
        )
    if errors or any(r["identical"] is False for r in reports):
        raise Refused("\n".join(errors) or "a document differs from what the registry says")


def fetch(
    client: Client, patient: str, unique_ids: tuple[str, ...], out: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ask the registry where they are and what they are, retrieve, compare. Raises like ``Client``."""
    found = _get(client, patient, unique_ids)
    entries = _entries(found)
    errors = [f"{e.code}: {e.context}" for e in found.outcome.errors]
    errors += [f"{u}: no such document for this card" for u in unique_ids if u not in entries and not errors]
    if not entries:
        return [], errors
    wanted = [(e.repository_unique_id, e.unique_id) for e in entries.values()]
    outcome, items = client.retrieve(wanted, lambda: FileSink(out), patient_id=patient)
    errors += [f"{e.code}: {e.context}" for e in outcome.errors if e.is_error]
    kept = [item.new_unique_id for item in items if item.new_repository_unique_id]
    if kept:
        entries |= _entries(_get(client, patient, kept))
    reports = []
    for item in items:
        entry, saved = entries.get(item.new_unique_id or item.unique_id), item.received
        assert isinstance(saved, Saved)
        file = saved.rename(
            out / f"{re.sub(r'[^0-9A-Za-z.-]', '_', item.unique_id)}{SUFFIX.get(item.mime_type, '.bin')}"
        )
        identical = None
        if entry is not None:
            identical = saved.sha1 == entry.hash.lower() and saved.size == entry.size
        elif not item.new_unique_id or item.new_repository_unique_id:
            identical = False
        reports.append(
            {
                "uniqueId": item.unique_id,
                "newUniqueId": item.new_unique_id,
                "kept": bool(item.new_repository_unique_id),
                "file": str(file),
                "size": saved.size,
                "hash": saved.sha1,
                "identical": identical,
            }
        )
    return reports, errors


def _get(client: Client, patient: str, unique_ids: Sequence[str]) -> Found:
    slots = [("$XDSDocumentEntryUniqueId", [quote_list([u]) for u in unique_ids])]
    return client.query(GET_DOCUMENTS, slots, patient_id=patient)


def _entries(found: Found) -> dict[str, DocumentEntry]:
    return {o.unique_id: o for o in found.objects if isinstance(o, DocumentEntry)}
