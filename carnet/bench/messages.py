"""Requests ready to send: everything but the unique ids and the assertion is the same in each.

Each request carries an assertion of its own, so that a server which remembers verified assertions verifies all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib.resources import files

from conformance import frames
from conformance.client import bytes_part
from guard.credentials import vihf
from guard.credentials.cards import Card
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.namespaces import APPROVED
from xds.wire.addressing import new_message_id, request_headers
from xds.wire.exchange import OutgoingPart
from xds.wire.http import SOAP
from xds.wire.mime import multipart_response
from xds.wire.soap12 import write_envelope

DOMAIN = "dmp"
DOCUMENT_SIZE = 20_480
"""Bytes of the CDA document of a deposit and of a retrieve."""
LIFETIME = timedelta(minutes=55)
"""Of an assertion: made before the timed part, and still good at its end."""
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
CONTENT_ID = "document1@carnet"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, about whom."""

    card: Card
    structure_id: str
    patient_id: str

    def security(self) -> bytes:
        """A newly signed assertion in its header block."""
        content = vihf.for_card(self.card, structure_id=self.structure_id, patient_id=self.patient_id)
        return vihf.security_header(vihf.issue(content, self.card.signature, lifetime=LIFETIME))


@lru_cache
def document() -> bytes:
    """The shipped laboratory report, brought to 20 kB by white space behind its end."""
    shipped = files("fixtures").joinpath("cda", "cr-bio-v1.xml").read_bytes()
    return shipped.ljust(DOCUMENT_SIZE, b" ")


def unique_id(first: int, number: int) -> str:
    """The uniqueId of deposited document ``number`` of a run that began at ``first``."""
    return f"2.25.{first + number}"


def deposit(sender: Sender, document_id: str) -> bytes:
    """ITI-41 of one 20 kB document."""
    content = document()
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    head, blocks = streamed_deposit(sender, document_id, bytes_part(content, CONTENT_ID, "text/xml"), sha1)
    return head + b"".join(blocks)


def query(sender: Sender) -> bytes:
    """ITI-18 FindDocuments, LeafClass, every approved document of the sender's patient."""
    slots = [
        ("$XDSDocumentEntryPatientId", [quote(sender.patient_id)]),
        ("$XDSDocumentEntryStatus", [quote_list([APPROVED])]),
    ]
    whole = b"".join(_envelope("query", sender, [write.adhoc_query_request(FIND_DOCUMENTS, "LeafClass", slots)]))
    headers = [
        ("Content-Type", f'{SOAP}; charset=UTF-8; action="{_ACTION["query"]}"'), ("Content-Length", str(len(whole))),
    ]
    return http_head("/services/registry", headers) + whole


def retrieve(sender: Sender, repository_id: str, document_id: str) -> bytes:
    """ITI-43 of one document."""
    request = write.retrieve_request([(repository_id, document_id)])
    headers, _, blocks = multipart_response(_envelope("retrieve", sender, [request]), [], _ACTION["retrieve"])
    return http_head("/services/repository", headers) + b"".join(blocks)


def streamed_deposit(sender: Sender, document_id: str, part: OutgoingPart, sha1: str) -> tuple[bytes, Iterator[bytes]]:
    """HTTP head and blocks of an ITI-41 of one document with this uniqueId and SHA-1, never held whole."""
    submission = frames.valid_submission(
        DOMAIN, patient_id=sender.patient_id, unique_id=document_id, size=part.size, hash=sha1
    )
    submission.submission_set.authors = [frames.an_author()]
    request = write.provide_and_register_request(submission, [(submission.entries[0].entry_uuid, part.content_id)])
    headers, _, blocks = multipart_response(_envelope("deposit", sender, request), [part], _ACTION["deposit"])
    return http_head("/services/repository", headers), blocks


def http_head(path: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


_ACTION = {
    "deposit": "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b",
    "query": "urn:ihe:iti:2007:RegistryStoredQuery",
    "retrieve": "urn:ihe:iti:2007:RetrieveDocumentSet",
}


def _envelope(verb: str, sender: Sender, request: Sequence[bytes]) -> list[bytes]:
    headers = request_headers(_ACTION[verb], new_message_id(), "https://127.0.0.1/services")
    return write_envelope(headers + sender.security(), request)
