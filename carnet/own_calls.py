"""What the command line itself has sent, in the audit of the installation it belongs to.

``send``, ``query``, ``retrieve`` and ``on-demand`` are a document source and consumer: their side of an exchange is a
line in the repository's log, which no record's own log shows, and an audit message of its outbox. A command that stands
alone, with addresses and no installation, has nowhere to keep them. Where they cannot be kept a warning says so, no
more: the services tell of the same exchange.

Clause: ITI TF-2 3.18.5.1.1, 3.41.5.1.1, 3.43.5.1.1, 3.61.5.1.1; ITI TF-3 5.5.7
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import click
from lxml import etree

import storage
from carnet.settings import Settings
from conformance.client import SIGNED, Client, Exchanged
from guard.audit import access_log
from guard.audit.particulars import Particulars, process_id, request_of
from guard.audit.store import AccessLine
from guard.credentials.caller import Caller, Mode
from xds.limits import DEFAULT
from xds.wire.xml import parse

REPORTER = "client"
SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"


def log_to(settings: Settings, client: Client, *, reporter: str = REPORTER) -> Callable[[Exchanged], None]:
    """Have ``client`` tell the repository's log of every exchange; also what to tell of others made for it."""

    def tell(exchanged: Exchanged) -> None:
        try:
            _write(settings, lines(client, exchanged, reporter))
        except Exception as error:
            click.echo(f"warning: {exchanged.transaction} is not in our audit: {type(error).__name__}", err=True)

    client.tell = tell
    return tell


def _write(settings: Settings, made: list[AccessLine]) -> None:
    database = storage.open_repository(settings.repository_database)
    try:
        with database.write() as unit:
            for line in made:
                unit.audit.append(line)
    finally:
        database.close()


def lines(client: Client, exchanged: Exchanged, reporter: str) -> list[AccessLine]:
    """One line, or one for each repository that documents were asked of."""
    by_repository: dict[str, list[str]] = {}
    for repository, unique_id in exchanged.documents:
        by_repository.setdefault(repository, []).append(unique_id)
    return [_line(client, exchanged, reporter, *one) for one in (by_repository or {"": []}).items()]


def _line(
    client: Client, exchanged: Exchanged, reporter: str, repository: str, documents: list[str]
) -> AccessLine:
    asked = request_of(exchanged.query_id, exchanged.request) if exchanged.query_id else {}
    told = Particulars(
        sent_on=exchanged.transaction, reporter=reporter, endpoint=exchanged.endpoint, process=process_id(),
        client_address=socket.gethostname(), user=_user(client.assertion(exchanged.patient_id)),
        submission_set=exchanged.submission_set, repository=repository, **asked,
    )
    return access_log.own_call(
        _holder(client), exchanged.failure, trace_id=uuid4().hex, event=f"{reporter} {exchanged.transaction}",
        action=_ACTIONS[exchanged.transaction], patient_id=exchanged.patient_id, documents=documents,
        detail=_detail(exchanged), particulars=told,
    )


_ACTIONS = {
    "ITI-18": access_log.SEARCH, "ITI-51": access_log.SEARCH, "ITI-41": access_log.DEPOSIT,
    "ITI-61": access_log.DEPOSIT, "ITI-43": access_log.READ, SIGNED: access_log.SIGNED,
}


def _detail(exchanged: Exchanged) -> str:
    if exchanged.query_id:
        return f"{exchanged.query_id}, {exchanged.results} results"
    return f"submission set {exchanged.submission_set}" if exchanged.submission_set else ""


def _holder(client: Client) -> Caller | None:
    if client.card is None:
        return None
    who = client.card.identity
    return Caller(
        identifier=who.common_name, name=who.name,
        mode=Mode.INDIRECT if client.is_structure else Mode.DIRECT, structure_id=client.structure_id,
    )


def _user(assertion: bytes) -> str:
    """The person an assertion speaks for, "" without one. Clause: ITI TF-2 3.40.4.2"""
    if not assertion:
        return ""
    root = parse(assertion, DEFAULT)
    name, issuer = (_text(root.find(f"{SAML}{tag}")) for tag in ("Subject/" + SAML + "NameID", "Issuer"))
    return f"<{name}@{issuer}>"


def _text(element: Any) -> str:
    return "".join(map(str, element.itertext())).strip() if isinstance(element, etree._Element) else ""
