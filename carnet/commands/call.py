"""``carnet call``"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from lxml import etree

from carnet.commands.query import call
from carnet.console import ACCOUNT, DATA, JSON, Misuse, Place, Refused, card_options, client_of, emit
from conformance.client import Client
from record.td.app import RECORD
from record.td.services import OK, SERVICES
from xds.namespaces import HL7
from xds.wire.faults import SoapFault
from xds.wire.xml import parse

ADDRESSES = {
    HL7: (RECORD, f"{HL7}:{{}}"),
    **{
        service.namespace: (path, f"{service.namespace}:{service.port}:{{}}") for path, service in SERVICES.items()
    },
}
"""Namespace of a message to its address and the form of its action."""
ACCEPTED = "AA"
"""Acknowledgement of an HL7 message that was carried out; a search that found nobody was."""


def typed(
    client: Client, namespace: str, operation: str, patient: str, **arguments: str | Sequence[str]
) -> etree._Element:
    """One call of a typed record service; arguments in the order of its description, empty ones left out, several
    values one after the other.

    Returns the answer. Raises Refused unless it says DMPOk.
    """
    body = etree.Element(f"{{{namespace}}}{operation}")
    for name, value in arguments.items():
        for one in [value] if isinstance(value, str) else value:
            if one:
                etree.SubElement(body, f"{{{namespace}}}{name}").text = one
    path, action = ADDRESSES[namespace]
    answer = call(lambda: client.ask(path, action.format(operation), etree.tostring(body), patient_id=patient))
    status, context = verdict(answer.body)
    if status != OK:
        raise Refused(f"{context} ({status or 'no status'})")
    return answer.body


def verdict(answer: etree._Element) -> tuple[str, str]:
    """What a record service says of a call: DMPOk or the name of the error, AA or AE; and why."""
    acknowledged = answer.find(".//{*}acknowledgement/{*}typeCode")
    if acknowledged is not None:
        texts = answer.iterfind(".//{*}acknowledgement/{*}acknowledgementDetail/{*}text")
        return acknowledged.get("code", ""), "; ".join((one.text or "").strip() for one in texts)
    status, context = (
        "".join(one.text or "" for one in answer.iterfind(f"{{*}}output/{{*}}{name}")) for name in ("status", "context")
    )
    return status, context


def _message(file: Path) -> etree._Element:
    """Raises Misuse for what no service would take."""
    try:
        body = parse(file.read_bytes())
    except SoapFault as fault:
        raise Misuse(f"{file}: {fault.reason}") from fault
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror}") from error
    if etree.QName(body).namespace not in ADDRESSES:
        raise Misuse(f"{file}: no record service takes a message of this namespace")
    return body


@click.command("call")
@click.argument("message", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--patient", default="", metavar="CX", help="Whom the assertion names; empty: nobody.")
@ACCOUNT
@card_options
@DATA
@JSON
def command(
    message: Path, patient: str, card_file: Place | None, pin_file: Path | None, structure_id: str, purpose: str,
    repository_url: str, registry_url: str, ca: Path | None, data: Path, as_json: bool,
) -> None:
    """Send a message of the record services (docs/dmp.md) and print the answer. MESSAGE holds the body element alone.
    Exit status 1 when the answer is a refusal.

    \b
    Example:
      carnet call message.xml --patient "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
    """
    body = _message(message)
    name = etree.QName(body)
    path, action = ADDRESSES[str(name.namespace)]
    client = client_of(data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca)
    answer = call(lambda: client.ask(path, action.format(name.localname), etree.tostring(body), patient_id=patient))
    status, context = verdict(answer.body)
    said = etree.tostring(answer.body, pretty_print=True, encoding="unicode")
    emit(as_json, {"status": status, "context": context, "answer": said}, said)
    if status not in (OK, ACCEPTED):
        raise Refused(f"{context} ({status or 'no status'})")
