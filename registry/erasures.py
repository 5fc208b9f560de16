"""What has this repository still to erase? Asked by a repository, again and again.

A destroyed record leaves a list of documents by repository. The repository asks for its part, erases bytes and index,
and names what is gone with the next question; only then it leaves the list. A crash anywhere makes it ask, erase and
say so once more, which changes nothing. Why it is not the registry that calls: a repository may stand where nobody
reaches it, and it need not be up at the moment of a destruction.

Only one of our own nodes may ask, by its certificate; no patient is in the answer.

Clause: CSP L1111-18
"""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from record import destruction
from record.actor import system
from record.store import Erasure
from registry.actor import RegistryActor
from registry.reconcile import refuse
from xds.errors import ErrorCode
from xds.namespaces import INTERNAL
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "erasures"
AT_ONCE = 500


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry. Its caller is a node, never a person."""
    return Transaction(
        name=NAME,
        action=f"{INTERNAL}:Erasures",
        response_action=f"{INTERNAL}:ErasuresResponse",
        body=f"{{{INTERNAL}}}ErasuresRequest",
        mtom=False,
        handle=lambda exchange: erasures(actor, exchange),
        refuse=refuse,
        schema_error=None,
        internal_error=ErrorCode.XDSRegistryError,
    )


def erasures(actor: RegistryActor, exchange: Exchange) -> Reply:
    """Take what is erased off the list, complete what has nothing left on it, and answer with the next part."""
    repository = exchange.body.findtext(f"{{{INTERNAL}}}RepositoryUniqueId", "")
    gone = [
        Erasure(repository, e.get("uniqueId", ""), e.get("hash", "").lower())
        for e in exchange.body.iterfind(f"{{{INTERNAL}}}Erased")
    ]
    if gone:
        node = system(exchange.caller.identifier, event=NAME, trace_id=exchange.trace_id, peer=exchange.peer.address)
        with actor.database.write() as unit:
            unit.record.erased(gone)
            destruction.settle(unit, by=node)
    with actor.database.read() as unit:
        left = unit.record.erasures(repository, AT_ONCE)
    lines = "".join(
        f"<Erase uniqueId={quoteattr(one.unique_id)} hash={quoteattr(one.sha1)} decidedAt={quoteattr(one.decided_at)}/>"
        for one in left
    )
    return Reply([f'<ErasuresResponse xmlns="{INTERNAL}">{lines}</ErasuresResponse>'.encode()])
