"""Which of these documents does the registry know? Asked by a repository about deposits that never ended.

After a crash or a time-out the repository holds documents whose registration it did not see confirmed.
The registry's answer settles them: known ones stay, the others are swept. Only one of our own nodes may
ask, by its certificate; no patient and no metadata is in the answer.

Clause: ITI TF-2 3.41.4.1.3 (A-4, A-5 of our rules)
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from registry.actor import RegistryActor
from xds.errors import ErrorCode, Finding
from xds.namespaces import INTERNAL
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "reconcile"


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry. Its caller is a node, never a person."""
    return Transaction(
        name=NAME,
        action=f"{INTERNAL}:Reconcile",
        response_action=f"{INTERNAL}:ReconcileResponse",
        body=f"{{{INTERNAL}}}ReconcileRequest",
        mtom=False,
        handle=lambda exchange: reconcile(actor, exchange),
        refuse=refuse,
        schema_error=None,
        internal_error=ErrorCode.XDSRegistryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    raise RuntimeError("; ".join(f.context(exchange.trace_id) for f in findings))


def reconcile(actor: RegistryActor, exchange: Exchange) -> Reply:
    """Answer with the (uniqueId, hash) pairs that are registered."""
    asked = {
        (e.get("uniqueId", ""), e.get("hash", "").lower()) for e in exchange.body.iterfind(f"{{{INTERNAL}}}Document")
    }
    with actor.database.read() as unit:
        known = {
            (o.unique_id, o.hash.lower()) for o in unit.registry.by_unique_id({unique_id for unique_id, _ in asked})
        }
    lines = "".join(
        f"<Known uniqueId={quoteattr(unique_id)} hash={quoteattr(sha1)}/>" for unique_id, sha1 in sorted(asked & known)
    )
    return Reply([f'<ReconcileResponse xmlns="{INTERNAL}">{lines}</ReconcileResponse>'.encode()])
