"""One message off the wire: its envelope in memory, its attachments in their sinks.

Requests and answers are received alike, by the service and by the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from xds.limits import Limits
from xds.wire.exchange import Part, PartSink
from xds.wire.faults import SENDER, SoapFault
from xds.wire.http import RELATED, SOAP, XOP, BodyReader, HttpError, MediaType, parse_media_type
from xds.wire.mime import IncomingPart, MultipartReader

_ROOT_TYPES = frozenset({"", SOAP, XOP, "text/xml", "application/xml"})


class Packaging(Enum):
    """How a message was wrapped."""

    SIMPLE = "simple"
    """The envelope alone."""
    MTOM = "mtom"
    """multipart/related whose type or root says application/xop+xml."""
    RELATED = "related"
    """multipart/related that does not claim to be XOP."""


@dataclass(slots=True)
class Message:
    """``envelope`` is the serialised SOAP envelope. Whoever holds the message aborts unclaimed ``parts``."""

    envelope: bytes
    packaging: Packaging
    parts: dict[str, Part] = field(default_factory=dict)
    failure: OSError | None = None
    """Why attachments could not be kept (disk full); the rest of the message was read, not stored."""


def receive(
    body: BodyReader, content_type: str, limits: Limits, begin_part: Callable[[], PartSink] | None,
    foresee: Callable[[bytes], Callable[[], PartSink]] | None = None,
) -> Message:
    """Read one message to its end. Attachments go to ``begin_part()`` as they arrive, or nowhere when it is None.

    ``foresee`` is given the serialised envelope as soon as it is there, and says where attachments after it go.

    Raises HttpError (415: neither SOAP 1.2 nor multipart/related; and those of BodyReader) or SoapFault
    (Sender); then every part begun has been aborted. A message of SOAP 1.1 is received: the envelope check
    tells its sender which version is spoken here.
    """
    try:
        media = parse_media_type(content_type)
    except ValueError:
        raise HttpError(415, f"The Content-Type cannot be read; {SOAP} or {RELATED} is expected") from None
    if media.name == RELATED:
        return _receive_multipart(body, media, limits, begin_part, foresee)
    if media.name not in (SOAP, "text/xml"):
        raise HttpError(415, f"The Content-Type must be {SOAP} or {RELATED}", (("Accept-Post", f"{SOAP}, {RELATED}"),))
    _check_charset(media)
    return Message(body.read_whole(limits.xml_part), Packaging.SIMPLE)


def abort_unclaimed(parts: Iterable[Part]) -> None:
    """Drop the bytes nobody took over."""
    for part in parts:
        if not part.claimed:
            part.sink.abort()


def _check_charset(media: MediaType) -> None:
    """Tolerated: single quotes around the name, which are no quotes in HTTP, because some stacks write them.

    Clause: ITI TF-2 Appendix V 3.2 (T-12: UTF-8)
    """
    if media.get("charset").strip("'").lower() not in ("", "utf-8", "utf8", "us-ascii"):
        raise SoapFault(SENDER, "The message is not encoded in UTF-8")


def _receive_multipart(
    body: BodyReader, media: MediaType, limits: Limits, begin_part: Callable[[], PartSink] | None,
    foresee: Callable[[bytes], Callable[[], PartSink]] | None,
) -> Message:
    message = Message(b"", Packaging.RELATED)
    declared = media.get("type").lower()
    try:
        for part in MultipartReader(body.read, media, limits):
            if part.is_root:
                kind = _root_type(part)
                if XOP in (declared, kind):
                    message.packaging = Packaging.MTOM
                message.envelope = b"".join(part.chunks())
                if foresee is not None:
                    begin_part = foresee(message.envelope)
            elif begin_part is not None and message.failure is None and part.content_id:
                _keep(message, part, begin_part)
    except BaseException:
        abort_unclaimed(message.parts.values())
        raise
    return message


def _root_type(part: IncomingPart) -> str:
    """Media type of the root part, which must be able to hold an envelope in UTF-8. Rule: M-04"""
    try:
        media = parse_media_type(part.content_type) if part.content_type else MediaType("")
    except ValueError:
        media = MediaType("unreadable")
    if media.name not in _ROOT_TYPES:
        raise SoapFault(SENDER, f"The root part must be {XOP}")
    _check_charset(media)
    return media.name


def _keep(message: Message, part: IncomingPart, begin_part: Callable[[], PartSink]) -> None:
    """Write one attachment to its sink. A sink that fails is aborted; the failure waits until the request is known.

    An OSError here is the sink's: those of the connection arrive as HttpError.
    """
    sink: PartSink | None = None
    try:
        sink = begin_part()
        for chunk in part.chunks():
            sink.write(chunk)
        received = sink.finish()
    except OSError as error:
        if sink is not None:
            sink.abort()
        message.failure = error
        return
    except BaseException:
        if sink is not None:
            sink.abort()
        raise
    message.parts[part.content_id] = Part(part.content_id, part.content_type, sink, received)
