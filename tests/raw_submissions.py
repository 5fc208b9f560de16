"""Submissions as XML in the ``connectathon`` domain, spoiled at will and sent to the full services over both ways in.

Why XML: most of what a tester spoils cannot be said in the model.
"""

from __future__ import annotations

from base64 import b64encode

from lxml import etree

from conformance import frames
from tests.direct import Desk
from tests.world import contents
from xds.ebxml.read import read_registry_response
from xds.ebxml.write import submit_objects_request
from xds.model import Submission
from xds.model.messages import ReceivedError
from xds.namespaces import XDS

Element = etree._Element
DE, SS, FO = "Document01", "SubmissionSet01", "Folder01"
MEMBER = f"HasMember-{SS}-{DE}"
INSIDE = f"HasMember-{FO}-{DE}"


def valid(desk: Desk, documents: int = 1, *, folder: bool = False, **changes: object) -> Submission:
    """A valid submission with symbolic ids."""
    return frames.valid_submission(
        desk.domain, documents=documents, folder=folder, patient_id=desk.patient_id,
        **{"repository_unique_id": desk.repository} | changes,
    )


def tree(made: Submission) -> Element:
    """``lcm:SubmitObjectsRequest``, to be spoiled."""
    return etree.fromstring(submit_objects_request(made))


def register(desk: Desk, root: Element) -> tuple[bool, list[ReceivedError]]:
    """ITI-42: is it a success, and what is said."""
    return _read(desk, "registry", "RegisterDocumentSet-b", etree.tostring(root))


def provide(desk: Desk, root: Element, documents: dict[str, bytes]) -> tuple[bool, list[ReceivedError]]:
    """ITI-41 with the documents in line, by id."""
    inner = "".join(f'<xds:Document id="{id_}">{b64encode(d).decode()}</xds:Document>' for id_, d in documents.items())
    return provide_text(desk, root, inner)


def provide_text(desk: Desk, root: Element, documents: str) -> tuple[bool, list[ReceivedError]]:
    """ITI-41 with the ``xds:Document`` elements as written."""
    name = "ProvideAndRegisterDocumentSet"
    body = f'<xds:{name}Request xmlns:xds="{XDS}">{etree.tostring(root).decode()}{documents}</xds:{name}Request>'
    return _read(desk, "repository", f"{name}-b", body.encode())


def bytes_of(made: Submission) -> dict[str, bytes]:
    return contents(made)


def _read(desk: Desk, actor: str, action: str, body: bytes) -> tuple[bool, list[ReceivedError]]:
    answer = desk.world.ask("physician", actor, action, body, desk.patient_id)
    status, errors = read_registry_response(answer.body)
    assert status.endswith((":Success", ":Failure"))
    return status.endswith(":Success"), errors
