"""``carnet query``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from carnet.console import DATA, JSON, Misuse, Place, Refused, Unreachable, a_cx, card_options, client_of, emit, table
from conformance.client import MULTI_PATIENT_QUERY, STORED_QUERY, Found
from registry import iti18_stored_query, iti51_multi_patient_query
from xds.check.query_params import Kind, quote, quote_list
from xds.model import DocumentEntry, Folder, SubmissionSet
from xds.namespaces import APPROVED, DEPRECATED
from xds.wire.client import BadAnswer, FaultReceived, PeerUnreachable

MULTI_PATIENT = iti51_multi_patient_query.QUERIES
QUERIES = {module.NAME: module for module in (*iti18_stored_query.QUERIES.values(), *MULTI_PATIENT.values())}
STATUSES = {"approved": [APPROVED], "deprecated": [DEPRECATED], "any": [APPROVED, DEPRECATED]}


@click.command("query")
@click.argument("patient", callback=a_cx)
@card_options
@click.option("--type", "name", type=click.Choice(sorted(QUERIES)), default="FindDocuments", show_default=True)
@click.option("--status", type=click.Choice(list(STATUSES)), default="approved", show_default=True)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Further parameter, value in query syntax: \"$XDSDocumentEntryTypeCode=('11502-2^^2.16.840.1.113883.6.1')\"",
)
@click.option("--references", is_flag=True, help="Ask for references only (ObjectRef).")
@DATA
@JSON
def command(
    patient: str,
    card_file: Place | None,
    pin_file: Path | None,
    structure_id: str,
    purpose: str,
    repository_url: str,
    registry_url: str,
    ca: Path | None,
    name: str,
    status: str,
    params: tuple[str, ...],
    references: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Find what a record holds. PATIENT is whom the query and the assertion name.

    A query that asks for a patient or for a status gets PATIENT and --status unless --param gives them.

    \b
    Examples:
      carnet query "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" --card anne.p12 --structure 10B0000001
      carnet query PATIENT --type GetAll --status any --card anne.p12
      carnet query PATIENT --type GetDocuments --param "\\$XDSDocumentEntryUniqueId=('1.2.3')" --card anne.p12
    """
    module = QUERIES[name]
    slots = given(params)
    named = {key for key, _ in slots}
    for param in module.PARAMS:
        if param.name in named:
            continue
        if param.name == getattr(module, "PATIENT", ""):
            slots.append((param.name, [quote_list([patient]) if param.multiple else quote(patient)]))
        elif param.required and param.kind is Kind.STATUS:
            slots.append((param.name, [quote_list(STATUSES[status])]))
    client = client_of(data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca)
    found = call(
        lambda: client.query(
            module.QUERY_ID,
            slots,
            patient_id=patient,
            return_type="ObjectRef" if references else "LeafClass",
            action=MULTI_PATIENT_QUERY if module.QUERY_ID in MULTI_PATIENT else STORED_QUERY,
        )
    )
    if not found.outcome.is_success:
        raise Refused("\n".join(f"{e.code}: {e.context}" for e in found.outcome.errors))
    emit(as_json, {"objects": [facts(o) for o in found.objects], "references": found.references}, _text(found))


def given(params: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """The slots of ``--param NAME=VALUE``."""
    slots = []
    for param in params:
        key, separator, value = param.partition("=")
        if not separator:
            raise Misuse(f"--param {param!r} is not NAME=VALUE")
        slots.append((key, [value]))
    return slots


def call(action: Any) -> Any:
    """Run one call to a service; its failures become the exit status they stand for."""
    try:
        return action()
    except FaultReceived as fault:
        raise Refused(str(fault)) from fault
    except (PeerUnreachable, BadAnswer) as error:
        raise Unreachable(str(error)) from error


def facts(item: Any) -> dict[str, Any]:
    """One object for programs."""
    if isinstance(item, DocumentEntry):
        return {
            "kind": item.kind,
            "entryUUID": item.entry_uuid,
            "uniqueId": item.unique_id,
            "status": item.status.rpartition(":")[2],
            "title": item.title[0].value if item.title else "",
            "typeCode": item.type_code.key if item.type_code else "",
            "type": item.type_code.display if item.type_code else "",
            "creationTime": item.creation_time,
            "hash": item.hash,
            "size": item.size,
            "mimeType": item.mime_type,
            "repositoryUniqueId": item.repository_unique_id,
        }
    if isinstance(item, SubmissionSet):
        return {
            "kind": item.kind,
            "entryUUID": item.entry_uuid,
            "uniqueId": item.unique_id,
            "submissionTime": item.submission_time,
            "sourceId": item.source_id,
        }
    if isinstance(item, Folder):
        return {
            "kind": item.kind,
            "entryUUID": item.entry_uuid,
            "uniqueId": item.unique_id,
            "status": item.status.rpartition(":")[2],
            "title": item.title[0].value if item.title else "",
            "lastUpdateTime": item.last_update_time,
        }
    return {
        "kind": item.kind,
        "entryUUID": item.entry_uuid,
        "type": getattr(item, "type", ""),
        "source": getattr(item, "source", ""),
        "target": getattr(item, "target", ""),
    }


def _text(found: Found) -> str:
    if found.references:
        return "\n".join(found.references)
    if not found.objects:
        return "nothing found"
    rows = []
    for item in found.objects:
        one = facts(item)
        rows.append(
            (
                one["kind"],
                one.get("creationTime") or one.get("submissionTime") or one.get("lastUpdateTime", ""),
                one.get("status", ""),
                str(one.get("title") or one.get("type", ""))[:48],
                one.get("uniqueId") or one["entryUUID"],
            )
        )
    return table(rows, ("kind", "time (UTC)", "status", "title", "uniqueId"))
