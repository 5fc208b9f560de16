"""ITI-92 Restricted Update Document Set.

New versions of DocumentEntries, for the attributes a community lets others correct: no change of status, no folder,
no association; what names a document or says where it lies stays as it is. A Deprecated entry may be corrected too and
stays Deprecated. The work is that of ITI-57.

Clause: ITI TF-2 3.92
"""

from __future__ import annotations

from registry.actor import RegistryActor
from registry.iti57_update_document_set import refuse, update
from xds.errors import ErrorCode
from xds.namespaces import LCM
from xds.wire.exchange import Transaction

NAME = "ITI-92"


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2018:RestrictedUpdateDocumentSet",
        response_action="urn:ihe:iti:2018:RestrictedUpdateDocumentSetResponse",
        body=f"{{{LCM}}}SubmitObjectsRequest",
        mtom=False,
        handle=lambda exchange: update(actor, exchange, NAME, restricted=True),
        refuse=refuse,
        schema_error=ErrorCode.XDSRegistryMetadataError,
        internal_error=ErrorCode.XDSRegistryError,
    )
