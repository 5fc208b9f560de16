"""``carnet remove``"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import click

from carnet import wiring
from carnet.commands.patient import operator
from carnet.console import DATA, JSON, Refused, emit, settings_of
from guard.audit.particulars import Particulars, process_id
from registry import iti62_remove_metadata
from registry.iti62_remove_metadata import everything_of
from repository import iti86_remove_documents
from xds.errors import Refused as Findings
from xds.model.messages import DocumentRequest
from xds.namespaces import WSA_ANONYMOUS


@click.command("remove")
@click.argument("unique_ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Really remove (required): nothing brings it back.")
@DATA
@JSON
def command(unique_ids: tuple[str, ...], yes: bool, data: Path, as_json: bool) -> None:
    """Remove documents for good: first their metadata (ITI-62), so that nobody sees them, then the bytes (ITI-86).

    Every version goes, with its relationships, its places in folders and the submission sets that brought nothing
    else. Both acts are in the access logs. May be repeated after an interruption.

    \b
    Example:
      carnet remove 2.25.329800735698586629295641978511506172918 --yes
    """
    if not yes:
        raise click.UsageError("nothing was removed; add --yes to remove these documents for good")
    settings = settings_of(data)
    registry = wiring.registry_actor(settings)
    local = wiring.registry_service(settings, registry).app
    repository = wiring.repository_actor(settings, wiring.link_of(settings, local))
    trace_id = uuid4().hex
    with registry.database.read() as unit:
        objects = everything_of(unit.registry, unique_ids)
    told: list[str] = []
    try:
        if objects:
            iti62_remove_metadata.remove(registry, operator(), objects, trace_id=trace_id, told=told_of("ITI-62"))
        requests = [DocumentRequest(repository.unique_id, one) for one in unique_ids]
        told = [f.context(trace_id) for f in iti86_remove_documents.remove(
            repository, operator(), requests, trace_id=trace_id,
            told=replace(told_of("ITI-86"), repository=repository.unique_id),
        )]
    except Findings as refused:
        raise Refused("; ".join(f.context(trace_id) for f in refused.findings)) from refused
    report = {"objects": len(objects), "documents": len(unique_ids) - len(told), "problems": told, "trace": trace_id}
    summary = f"removed: {report['objects']} objects of the registry, {report['documents']} documents; trace {trace_id}"
    emit(as_json, report, "\n".join([summary, *told]))


def told_of(transaction: str) -> Particulars:
    """Both sides of an act that nobody has called for over the network: ours as the administrator, and the actor's."""
    service = "registry" if transaction == "ITI-62" else "repository"
    return Particulars(
        endpoint=f"/services/{service}", client=WSA_ANONYMOUS, client_address=socket.gethostname(),
        process=process_id(), user=operator().identifier, sent_on=transaction, reporter="administrator",
    )
