"""What a service tells about itself on GET: its contract, or a page for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape

from xds.wire.exchange import Transaction

Describe = Callable[[str, str], tuple[str, bytes] | None]
"""(path, query string) to (content type, document), None when there is none."""


def describe_service(
    title: str, path: str, query: str, transactions: Iterable[Transaction], describe: Describe | None
) -> tuple[str, bytes] | None:
    """(content type, bytes) of the answer to a GET; None when a contract is asked for that does not exist."""
    wanted = query.split("&", 1)[0].lower()
    if wanted.startswith(("wsdl", "xsd")):
        return None if describe is None else describe(path, query)
    rows = "".join(
        f"<tr><td>{escape(t.name)}</td><td><code>{escape(t.action)}</code></td>"
        f"<td>{'MTOM' if t.mtom else 'simple SOAP'}</td></tr>"
        for t in transactions
    )
    contract = f'<p>Contract: <a href="{escape(path)}?wsdl">WSDL</a></p>' if describe is not None else ""
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1><p>A SOAP 1.2 service for programs: send POST requests here. "
        f"The transaction is chosen by <code>wsa:Action</code>.</p>{contract}"
        f"<table><tr><th>Transaction</th><th>wsa:Action</th><th>Packaging</th></tr>{rows}</table></html>\n"
    )
    return "text/html; charset=utf-8", page.encode()
