"""Every operation of our service descriptions, called by clients of other makers."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache

import pytest

from tests.interop.rows import ROWS, Case, Row
from tests.interop.stacks import STACKS, Node, Zeep
from tests.world import FIND_DOCUMENTS, World

OpenWorlds = Callable[[str], World]


@pytest.fixture(scope="session")
def stacks(open_worlds: OpenWorlds) -> Callable[[str, str, str], Zeep | Node]:
    """A client of this stack, for this domain and actor; a description is read once."""

    @cache
    def client_of(stack: str, domain: str, actor: str) -> Zeep | Node:
        return STACKS[stack](open_worlds(domain), actor)

    return client_of


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.transaction)
@pytest.mark.parametrize("stack", STACKS)
def test_an_operation_is_called(
    open_worlds: OpenWorlds, stacks: Callable[[str, str, str], Zeep | Node], stack: str, row: Row
) -> None:
    """The answer is understood, and what was asked for is done.

    Rule: I-01, I-03, I-06, I-08, R-052
    """
    client = stacks(stack, row.domain, row.actor)
    if row.operation not in client.operations():
        pytest.skip(f"{row.transaction} is not served")
    case = Case.of(open_worlds(row.domain))
    answer = client.answer(row.operation, case.patient_id, row.arguments(case))
    assert answer.errors == [] and answer.status == row.status
    row.check(case, answer)


@pytest.mark.parametrize("actor", ["registry", "repository"])
def test_no_operation_is_left_out(open_registry: World, actor: str) -> None:
    """An operation that a description offers has a row in ``rows``; HL7 v3 messages are tried with their own kit."""
    listed = {row.operation for row in ROWS if row.actor == actor}
    offered = {name for name in Zeep(open_registry, actor).operations() if not re.match("[A-Z]{4}_IN", name)}
    assert offered <= listed


@pytest.mark.parametrize("actor", ["registry", "repository"])
def test_both_stacks_read_the_same_operations(open_registry: World, actor: str) -> None:
    """Two readers of one description agree on what is offered."""
    assert Node(open_registry, actor).operations() == Zeep(open_registry, actor).operations()


def test_node_reads_a_fault(open_registry: World) -> None:
    """No assertion: a SOAP 1.2 fault with its subcode, status 400. Rule: I-04"""
    said = Node(open_registry, "registry").call("RegistryStoredQuery", b"", {"AdhocQuery": {"id": FIND_DOCUMENTS}})
    assert said["status"] == 400 and said["fault"]["Code"]["Subcode"]["Value"].endswith("InvalidSecurity")


def test_node_reads_a_refusal_and_sends_base64_in_the_text(open_registry: World) -> None:
    """A document inside the text of an MTOM message, and a wrong one refused by name. Rule: M-06"""
    client = Node(open_registry, "repository")
    case = Case.of(open_registry)
    arguments = ROWS[0].arguments(case)
    for document in arguments["Document"]:
        document["$value"] = base64.b64encode(document.pop("_value_1")).decode()
    said = client.call(
        "ProvideAndRegisterDocumentSet-b", client.source.security(case.patient_id), arguments, mtom=True
    )
    assert said["result"]["attributes"]["status"].endswith(":Success"), said
    again = client.answer("RetrieveDocumentSet", case.patient_id, {"DocumentRequest": [
        {"RepositoryUniqueId": "1.2.3", "DocumentUniqueId": case.unique_ids[0]},
    ]})
    assert [error.partition(":")[0] for error in again.errors] == ["XDSUnknownRepositoryId"]
