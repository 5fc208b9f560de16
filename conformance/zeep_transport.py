"""zeep over mutual TLS and MTOM: typed calls made from a service's own description.

zeep alone cannot send MTOM and changes line ends of binary parts. Here the documents of an outgoing message become
attached parts, and those of an answer are put back as base64 before zeep reads it, so a program gives and gets bytes.
Everything is held in memory: for tests and small tools, not for large documents (``conformance.client`` streams).

Needs zeep, which only the ``dev`` extra installs. Clause: ITI TF-2 Appendix V 3.6
"""

from __future__ import annotations

import base64
import io
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import requests
from lxml import etree
from requests.adapters import HTTPAdapter
from zeep.transports import Transport

from conformance.client import bytes_part
from guard.credentials.cards import Card
from xds.limits import DEFAULT, Limits
from xds.namespaces import SOAP12, WSA, XDS
from xds.namespaces import XOP as XOP_NAMESPACE
from xds.wire.exchange import OutgoingPart, PartSink
from xds.wire.http import RELATED, SOAP, BodyReader
from xds.wire.mime import multipart_response
from xds.wire.receive import receive
from xds.wire.xml import parse
from xds.wire.xop import decode_inline, include

DOCUMENT = f"{{{XDS}}}Document"
INCLUDE = f"{{{XOP_NAMESPACE}}}Include"


class MtomTransport(Transport):
    """Calls and descriptions of one service, by a card.

    ``address`` is the base of the service (``https://host:port/``): nothing else is ever asked for, whatever a
    description refers to. ``ca_file`` holds the authorities trusted (PEM). ``timeout`` in seconds.
    """

    def __init__(
        self, address: str, card: Card, ca_file: Path, *, timeout: float = 30.0, limits: Limits = DEFAULT
    ) -> None:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(ca_file)
        session.mount("https://", _CardAdapter(card.tls_context(ca_file)))
        super().__init__(session=session, timeout=timeout, operation_timeout=timeout)
        self._address = address.rstrip("/") + "/"
        self._limits = limits

    def post_xml(self, address: str, envelope: etree._Element, headers: Mapping[str, str]) -> requests.Response:
        """Send one message and return the answer as if it had never had parts. Raises requests' errors."""
        self._require_ours(address)
        message, headers = self._written(envelope, headers)
        response = self.session.post(address, data=message, headers=headers, timeout=self.operation_timeout)
        content_type = response.headers.get("Content-Type", "")
        if content_type.lower().startswith(RELATED):
            response._content = self._inlined(response.content, content_type)
            response.headers["Content-Type"] = f"{SOAP}; charset=UTF-8"
        return response

    def _load_remote_data(self, url: str) -> bytes:
        self._require_ours(url)
        loaded: bytes = super()._load_remote_data(url)
        return loaded

    def _require_ours(self, url: str) -> None:
        if not url.startswith(self._address):
            raise ValueError(f"{url} is not at {self._address}; no other place is asked")

    def _written(self, envelope: etree._Element, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
        """ITI-41 and ITI-43 go as MTOM, everything else as it is. Clause: ITI TF-2 Appendix V 3.6"""
        body = envelope.find(f"{{{SOAP12}}}Body")
        if body is None or not len(body) or etree.QName(body[0]).namespace != XDS:
            return etree.tostring(envelope, encoding="UTF-8", xml_declaration=True), dict(headers)
        parts = list(_detached(body))
        action = envelope.findtext(f".//{{{WSA}}}Action") or ""
        written, _, blocks = multipart_response([etree.tostring(envelope)], parts, action)
        return b"".join(blocks), dict(headers) | dict(written)

    def _inlined(self, content: bytes, content_type: str) -> bytes:
        """The envelope of a multipart answer, each Include replaced by the base64 of its part."""
        body = BodyReader(io.BytesIO(content).readinto, len(content), self._limits)
        message = receive(body, content_type, self._limits, _Memory)
        envelope = parse(message.envelope, self._limits)
        for reference in list(envelope.iter(INCLUDE)):
            holder = reference.getparent()
            part = message.parts.get(unquote(reference.get("href", "").removeprefix("cid:")))
            if holder is None or part is None:
                raise ValueError("the answer refers to a part it does not have")
            holder.remove(reference)
            holder.text = base64.b64encode(part.received).decode("ascii")
        return etree.tostring(envelope)


def _detached(body: etree._Element) -> Iterator[OutgoingPart]:
    """Take the base64 of each Document out of the tree and leave an Include in its place."""
    for number, element in enumerate(body.iter(DOCUMENT), 1):
        if len(element):
            continue
        data = b"".join(decode_inline(element.text or ""))
        content_id = f"document{number}@carnet"
        element.text = None
        element.append(etree.fromstring(include(content_id)))
        yield bytes_part(data, content_id, "application/octet-stream")


class _CardAdapter(HTTPAdapter):
    """Connections made with a context that was given: the card's key is never written to a file that stays."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)


class _Memory(PartSink):
    """A part in memory; ``finish`` gives its bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, chunk: bytes | memoryview) -> None:
        self._data += chunk

    def finish(self) -> bytes:
        return bytes(self._data)

    def abort(self) -> None:
        self._data.clear()
