"""Cancel: take an issued token back, by the one it was issued to.

Services learn of it from a list (``guard.credentials.vouched``) that is written before the answer leaves. A token that
never was and one of another holder get one answer.

Clause: WS-Trust 1.3 8 (Cancel Binding)
"""

from __future__ import annotations

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.tokens import request
from guard.tokens.actor import TokensActor
from guard.tokens.answer import cancelled
from guard.tokens.issue import refuse
from guard.tokens.proof import holder_of
from xds.errors import ErrorCode
from xds.namespaces import WST
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "WS-Trust Cancel"


def transaction(actor: TokensActor) -> Transaction:
    """The verb, bound to one token service."""
    return Transaction(
        name=NAME,
        action=f"{WST}/RST/Cancel",
        response_action=f"{WST}/RSTR/CancelFinal",
        body=f"{{{WST}}}RequestSecurityToken",
        mtom=False,
        handle=lambda exchange: cancel(actor, exchange),
        refuse=refuse,
        schema_error=None,
        internal_error=ErrorCode.XDSRegistryError,
    )


def cancel(actor: TokensActor, exchange: Exchange) -> Reply:
    """The assertion need not be verified: only its ID is looked at, and that is known here. Rule: W-12"""
    asked = request.read(exchange.body, "Cancel")
    holder = holder_of(actor.peer(exchange))
    line = access_log.token_act(
        exchange.caller, trace_id=exchange.trace_id, event=NAME, action=access_log.TOKEN_CANCELLED,
        peer=exchange.peer.address, assertion_id=asked.target_id, particulars=particulars(exchange),
    )
    with actor.database.write() as unit:
        if not unit.tokens.cancel(asked.target_id, holder):
            raise request.fault("RequestFailed", "No such token was issued to this holder")
        unit.audit.append(line)
    publish(actor)
    return Reply([cancelled(asked)])


def publish(actor: TokensActor) -> None:
    """Write the list of everything taken back that would hold still. Raises OSError."""
    with actor.publishing:
        with actor.database.read() as unit:
            keys = unit.tokens.cancelled(int(actor.clock().timestamp()))
        actor.publish(keys)


def forget(actor: TokensActor) -> int:
    """Remove what has ended, an hour after its end; returns how many rows went."""
    with actor.database.write() as unit:
        return unit.tokens.forget(int(actor.clock().timestamp()) - 3600)
