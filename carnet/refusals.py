"""Lines of the access log for what no transaction has seen: refused credentials, faults, failed handshakes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from guard.audit import access_log
from guard.audit.particulars import Particulars, particulars, process_id, subject
from xds.errors import Finding
from xds.wire.exchange import Exchange, Peer, Transaction
from xds.wire.faults import SoapFault

log = logging.getLogger("carnet.refusals")


class AuditDatabase(Protocol):
    """Either actor's database, as far as its access log is concerned."""

    def write(self) -> Any: ...


def fault_logger(
    database: AuditDatabase, actor_name: str, name_of: Callable[[Exchange], tuple[str, str]] | None = None
) -> Callable[[str, Peer, SoapFault, Exchange | None], None]:
    """Write the access-log line of a refused credential, with the reason the caller is not told, and of a known
    caller's request that ended in a fault; other faults are not accesses. Rule: K-06

    ``name_of`` gives event and action of an exchange; without it both are the actor's name."""

    def on_fault(trace_id: str, peer: Peer, fault: SoapFault, exchange: Exchange | None) -> None:
        log.info("fault %s %s %s: %s", trace_id, fault.code[1], fault.subcode and fault.subcode[1], fault.detail)
        if fault.is_security and (exchange is None or exchange.accepted is None):
            line = access_log.login_refused(
                trace_id=trace_id,
                event=actor_name,
                peer=peer.address,
                reason=fault.detail,
                clause=_step(fault.step),
                particulars=_of_login(fault, peer, exchange),
            )
            with database.write() as unit:
                unit.audit.append(line)
        elif exchange is not None and exchange.accepted is not None:
            event, action = (actor_name, actor_name) if name_of is None else name_of(exchange)
            refused(database, exchange, event, fault.detail, "ITI TF-2 Appendix V 3.2", action)

    return on_fault


def refusal_logger(database: AuditDatabase) -> Callable[[Exchange, Transaction, Sequence[Finding]], None]:
    """Write the access-log line of a request its transaction never saw, or failed on."""

    def on_refused(exchange: Exchange, transaction: Transaction, findings: Sequence[Finding]) -> None:
        refused(database, exchange, transaction.name, str(findings[0].code), findings[0].clause)

    return on_refused


def refused(
    database: AuditDatabase, exchange: Exchange, event: str, reason: str, clause: str, action: str = ""
) -> None:
    """One line: a known caller's request came to nothing. It names the patient of the assertion only."""
    caller = exchange.accepted
    line = access_log.refusal(
        caller,
        trace_id=exchange.trace_id,
        event=event,
        action=action or event,
        patient_key=None,
        patient_id=caller.patient_id,
        reason=reason,
        clause=clause,
        peer=exchange.peer.address,
        particulars=particulars(exchange),
    )
    with database.write() as unit:
        unit.audit.append(line)


def _step(step: str) -> str:
    """The clause of a step of the verification procedure."""
    if step == "software":
        return "DMP homologation"
    return f"ITI TF-2 3.40.4.1.3, step {step}" if len(step) == 1 else "ITI TF-2 3.19"


def _of_login(fault: SoapFault, peer: Peer, exchange: Exchange | None) -> Particulars:
    """A credential that is refused is a failed login; a node that is refused is told of as such."""
    row = "node authentication" if fault.step in ("tls", "node") else "login"
    endpoint = exchange.endpoint if exchange is not None else ""
    return Particulars(row=row, endpoint=endpoint, client=subject(peer.certificate), process=process_id())


def handshake_logger(open_database: Callable[[], Any], actor_name: str) -> Callable[[str, str], None]:
    """Write the access-log line of a failed TLS handshake; the database is opened at the first one."""
    opened: list[Any] = []
    lock = threading.Lock()

    def on_failure(address: str, reason: str) -> None:
        with lock:
            if not opened:
                opened.append(open_database())
        line = access_log.login_refused(
            trace_id="",
            event=actor_name,
            peer=address,
            reason=f"TLS: {reason}",
            clause="ITI TF-2 3.19",
            particulars=Particulars(row="node authentication", process=process_id()),
        )
        with opened[0].write() as unit:
            unit.audit.append(line)

    return on_failure
