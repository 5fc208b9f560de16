"""ITI-61 Register On-Demand Document Entry.

An on-demand entry describes a document that is made when it is retrieved: it names its repository and has no
creation time, no hash and no size. Beyond that a registration is a registration: the same rules, the same
transaction, the same line in the access log as ITI-42 (R-135).

Clause: ITI TF-2 3.61
"""

from __future__ import annotations

from registry.actor import RegistryActor
from registry.iti42_register import refuse, register
from xds.check.context import Stage
from xds.errors import ErrorCode
from xds.namespaces import LCM
from xds.wire.exchange import Transaction

NAME = "ITI-61"


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry. The action of the answer has no "Entry" in it (E-01)."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2010:RegisterOnDemandDocumentEntry",
        response_action="urn:ihe:iti:2010:RegisterOnDemandDocumentResponse",
        body=f"{{{LCM}}}SubmitObjectsRequest",
        mtom=False,
        handle=lambda exchange: register(actor, exchange, Stage.ON_DEMAND),
        refuse=refuse,
        schema_error=ErrorCode.XDSRegistryMetadataError,
        internal_error=ErrorCode.XDSRegistryError,
    )
