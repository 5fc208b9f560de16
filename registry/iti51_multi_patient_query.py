"""ITI-51 Multi-Patient Stored Query.

A stored query as ITI-18, about several patients at once, named or not. Every record is decided on by itself and gets
its own line in the access log; objects of several patients may come in one full answer.

Clause: ITI TF-2 3.51
"""

from __future__ import annotations

from registry.actor import RegistryActor
from registry.iti18_stored_query import queries_of, refuse, stored_query
from xds.errors import ErrorCode
from xds.namespaces import QUERY
from xds.wire.exchange import Transaction

NAME = "ITI-51"
QUERIES = queries_of(NAME)


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2009:MultiPatientStoredQuery",
        response_action="urn:ihe:iti:2009:MultiPatientStoredQueryResponse",
        body=f"{{{QUERY}}}AdhocQueryRequest",
        mtom=False,
        handle=lambda exchange: stored_query(actor, exchange, NAME, QUERIES),
        refuse=refuse,
        schema_error=ErrorCode.XDSRegistryError,
        internal_error=ErrorCode.XDSRegistryError,
    )
