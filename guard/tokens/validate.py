"""Validate: would the services of this domain believe this assertion now?

Judged like an assertion in use, but for its use itself: who connects, and whether it was shown before. Any party with
an accepted certificate may ask; why not is told by the kind of fault alone, the rest is in the log.

Clause: WS-Trust 1.3 7 (Validation Binding)
"""

from __future__ import annotations

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.tokens import request
from guard.tokens.actor import TokensActor
from guard.tokens.answer import status
from guard.tokens.issue import refuse
from xds.errors import ErrorCode
from xds.namespaces import WST
from xds.wire.exchange import Exchange, Reply, Transaction
from xds.wire.faults import SoapFault

NAME = "WS-Trust Validate"


def transaction(actor: TokensActor) -> Transaction:
    """The verb, bound to one token service."""
    return Transaction(
        name=NAME,
        action=f"{WST}/RST/Validate",
        response_action=f"{WST}/RSTR/ValidateFinal",
        body=f"{{{WST}}}RequestSecurityToken",
        mtom=False,
        handle=lambda exchange: validate(actor, exchange),
        refuse=refuse,
        schema_error=None,
        internal_error=ErrorCode.XDSRegistryError,
    )


def validate(actor: TokensActor, exchange: Exchange) -> Reply:
    """Valid or invalid, with a line in the log either way. Rule: W-10"""
    asked = request.read(exchange.body, "Validate")
    if asked.target is None:
        raise request.invalid("ValidateTarget: expected the whole Assertion, found a reference (WS-Trust 1.3 7)")
    told, reason = "valid", ""
    try:
        actor.verifier.examine(asked.target)
    except SoapFault as error:
        told, reason = f"invalid: {error.detail}", error.reason
    line = access_log.token_act(
        exchange.caller, trace_id=exchange.trace_id, event=NAME, action=access_log.TOKEN_EXAMINED, detail=told,
        peer=exchange.peer.address, assertion_id=asked.target_id, particulars=particulars(exchange),
    )
    with actor.database.write() as unit:
        unit.audit.append(line)
    return Reply([status(asked, reason)])
