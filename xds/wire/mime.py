"""multipart/related, streamed both ways in constant memory.

The scanner is ours: python-multipart's parser knows neither line-feed-only messages nor the difference
between a delimiter and a document line that merely begins like one, and both decide whether a document
comes out as it went in.

A document is never touched: a delimiter is a line end, ``--``, the boundary, optional ``--``, blanks and a
line end; anything less is data. The line end in front belongs to the delimiter, every other byte to the part.

Clause: ITI TF-2 Appendix V 3.6; RFC 2046 5.1; RFC 2387 3; W3C XOP 4
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from secrets import token_hex
from urllib.parse import quote, unquote

from xds.limits import DEFAULT, Limits
from xds.wire.exchange import OutgoingPart
from xds.wire.faults import SENDER, SoapFault
from xds.wire.http import BLOCK, RELATED, SOAP, XOP, MediaType, parse_media_type

_PADDING = 128
"""Most blanks between a boundary and its line end."""
_PREAMBLE = 64 * 1024
_BOUNDARY = re.compile(r"[\x20-\x7e]*[\x21-\x7e]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:(.*)", re.DOTALL)
_TAIL = re.compile(rb"(--)?[ \t]*(\r\n|\n)")
_LAST_TAIL = re.compile(rb"(--)[ \t]*\r?")
_CONTENT_CHANGES = frozenset({"", "7bit", "8bit", "binary"})

Chunk = bytes | memoryview
ReadBehind = Callable[[memoryview], bytearray]
"""Returns a new buffer: what it is given, and behind it the next bytes; at the end what it is given."""


def _fault(reason: str) -> SoapFault:
    return SoapFault(SENDER, f"The multipart message cannot be read: {reason}")


def normal_content_id(text: str) -> str:
    """A Content-ID or ``start`` value without angle brackets, percent-decoded. Rule: M-07"""
    text = text.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    return unquote(text)


class IncomingPart:
    """One part while it arrives. Iterate ``chunks()`` once, to its end, before asking for the next part."""

    __slots__ = ("_reader", "content_id", "headers", "is_root")

    def __init__(self, reader: MultipartReader, headers: Mapping[str, str], content_id: str, is_root: bool) -> None:
        self._reader = reader
        self.headers = headers
        """Names in lower case; each header once."""
        self.content_id = content_id
        """Normal form, "" when the part has none."""
        self.is_root = is_root

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    def chunks(self) -> Iterator[Chunk]:
        """The bytes of the part, transfer encoding undone. Chunks are read-only and never overwritten later.

        Raises SoapFault (Sender) when the part is larger than the limit, badly encoded or cut short.
        """
        encoding = self.headers.get("content-transfer-encoding", "").lower()
        raw = self._reader.part_data(self.is_root)
        if encoding in _CONTENT_CHANGES:
            return raw
        if encoding == "base64":
            return _decode_base64(raw)
        if encoding == "quoted-printable":
            return _decode_quoted_printable(raw)
        raise _fault("unknown Content-Transfer-Encoding")


class MultipartReader:
    """Iterate over the parts of one multipart/related body.

    Attachments may stand before the root. Tolerated: parameters quoted or not, missing ``start`` (then the
    first part is the root), missing ``type`` and ``start-info``, line feeds alone as line ends, a preamble and
    an epilogue. Refused with SoapFault (Sender): a missing boundary or closing delimiter, two parts of one
    Content-ID, no part named by ``start``, and everything above its limit.

    Rule: M-04, M-10, M-11, M-13, C-23, C-25
    """

    def __init__(self, read: ReadBehind, content_type: str | MediaType, limits: Limits = DEFAULT) -> None:
        media = _media(content_type)
        boundary = media.get("boundary")
        if media.name != RELATED or not boundary:
            raise _fault("the Content-Type must be multipart/related with a boundary")
        if len(boundary) > limits.boundary or not _BOUNDARY.fullmatch(boundary):
            raise _fault("the boundary is not valid")
        self.media = media
        self._mark = b"\n--" + boundary.encode("ascii")
        self._strict_mark = b"\r" + self._mark
        self._start = normal_content_id(media.get("start")).casefold()
        self._limits = limits
        self._read = read
        self._buffer = bytearray()
        """Never changed, because chunks are views of it: the next bytes come into another one."""
        self._position = 0
        self._ended = False
        self._part_open = False
        self._closed = False
        self._line_feeds = False
        """Delimiters of this message stand behind a line feed alone."""

    def __iter__(self) -> Iterator[IncomingPart]:
        seen: set[str] = set()
        count = 0
        root_found = False
        self._skip_preamble()
        while not self._closed:
            count += 1
            if count > self._limits.parts:
                raise _fault(f"it has more than {self._limits.parts} parts")
            headers = self._read_headers()
            content_id = normal_content_id(headers.get("content-id", ""))
            if content_id and content_id in seen:
                raise _fault("two parts have the same Content-ID")
            seen.add(content_id)
            is_root = content_id.casefold() == self._start if self._start else count == 1
            if is_root and root_found:
                raise _fault("two parts fit the start parameter")
            root_found = root_found or is_root
            self._part_open = True
            yield IncomingPart(self, headers, content_id, is_root)
            if self._part_open:
                for _ in self.part_data(is_root):
                    pass
        if not root_found:
            raise _fault("it holds no part named by the start parameter" if self._start else "it holds no part")
        self._skip_epilogue()

    def part_data(self, is_root: bool) -> Iterator[Chunk]:
        """Raw bytes of the open part, up to its delimiter."""
        loose = self._line_feeds or is_root
        mark = self._mark if loose else self._strict_mark
        room = self._limits.xml_part if is_root else self._limits.document
        keep = len(self._strict_mark) + 1
        search = self._position
        while True:
            found = self._buffer.find(mark, search)
            if found < 0:
                stop = max(self._position, len(self._buffer) - keep)
                room = yield from self._emit(stop, room)
                self._fill("the closing boundary is missing")
                search = self._position
                continue
            ends_at = found
            if loose and not self._line_feeds and found > self._position and self._buffer[found - 1] == 0x0D:
                ends_at = found - 1
            room = yield from self._emit(ends_at, room)
            skipped = found - ends_at
            tail = self._tail(self._position + skipped + len(mark))
            if tail is not None:
                self._position = tail
                self._part_open = False
                return
            search = self._position + skipped + 1

    def _emit(self, stop: int, room: int) -> Generator[Chunk, None, int]:
        """Hand out the buffer up to ``stop`` and move there; returns the room left in the part."""
        start = self._position
        size = stop - start
        if size <= 0:
            return room
        if size > room:
            raise _fault("a part is larger than accepted")
        self._position = stop
        yield memoryview(self._buffer)[start:stop].toreadonly()
        return room - size

    def _tail(self, position: int) -> int | None:
        """Offset behind the delimiter line whose boundary ends at ``position``, None when it is no delimiter.

        The buffer may be refilled; offsets are then those of the new buffer, as ``_position`` is.
        """
        relative = position - self._position
        while not self._ended and len(self._buffer) - self._position - relative < _PADDING:
            self._fill("")
        match = self._match_tail(self._position + relative)
        if match is None:
            return None
        if match[1]:
            self._closed = True
        return match.end()

    def _match_tail(self, position: int) -> re.Match[bytes] | None:
        match = _TAIL.match(self._buffer, position, position + _PADDING)
        if match is None and self._ended:
            match = _LAST_TAIL.fullmatch(self._buffer, position)
        return match

    def _fill(self, missing: str) -> None:
        """Read one more block behind what is not yet handed out; at the end raise for what is ``missing``."""
        rest = memoryview(self._buffer)[self._position :]
        if not self._ended:
            self._buffer = self._read(rest)
            self._position = 0
            self._ended = len(self._buffer) == len(rest)
        if self._ended and missing:
            raise _fault(missing)

    def _skip_preamble(self) -> None:
        """Move behind the first delimiter and learn from it how this message ends its lines."""
        self._buffer += b"\n"
        search = 0
        while True:
            found = self._buffer.find(self._mark, search)
            if found < 0:
                search = max(0, len(self._buffer) - len(self._mark))
                if len(self._buffer) > _PREAMBLE + BLOCK:
                    raise _fault("no boundary within the first bytes")
                self._fill("no boundary was found")
                continue
            tail = self._tail(found + len(self._mark))
            if tail is not None:
                break
            search = found + 1
        if self._closed:
            raise _fault("it holds no part")
        self._line_feeds = self._buffer[tail - 2 : tail] != b"\r\n"
        self._position = tail

    def _skip_epilogue(self) -> None:
        """Take what follows the closing delimiter, so that the connection is clean for the next request."""
        left = _PREAMBLE
        while left > 0 and not self._ended and (data := self._read(memoryview(b""))):
            left -= len(data)

    def _read_headers(self) -> dict[str, str]:
        """Headers of the next part, up to the blank line."""
        lines: list[bytearray] = []
        size = 0
        while True:
            end = self._buffer.find(b"\n", self._position)
            if end < 0 or end - self._position > self._limits.part_headers:
                if len(self._buffer) - self._position > self._limits.part_headers:
                    raise _fault("the headers of a part are too large")
                self._fill("it ends inside the headers of a part")
                continue
            line = self._buffer[self._position : end].removesuffix(b"\r")
            if not line:
                self._begin_data(end + 1 - self._position)
                return _parse_headers(lines)
            size += end + 1 - self._position
            if size > self._limits.part_headers:
                raise _fault("the headers of a part are too large")
            self._position = end + 1
            if line[:1] in b" \t":
                if not lines:
                    raise _fault("a part header is malformed")
                lines[-1] += b" " + line.strip()
            else:
                lines.append(line)

    def _begin_data(self, width: int) -> None:
        """Step over the blank line of ``width`` bytes, unless it is also the line end of the next delimiter.

        Then the part is empty, and its delimiter is found by the ordinary scan. Clause: RFC 2046 5.1.1
        """
        mark = self._mark[1:]
        while not self._ended and len(self._buffer) - self._position < width + len(mark) + _PADDING:
            self._fill("")
        begin = self._position + width
        empty = self._buffer.startswith(mark, begin) and self._match_tail(begin + len(mark)) is not None
        if not (empty and (width == 2 or self._line_feeds)):
            self._position = begin


def _media(content_type: str | MediaType) -> MediaType:
    if isinstance(content_type, MediaType):
        return content_type
    try:
        return parse_media_type(content_type)
    except ValueError:
        raise _fault("its Content-Type is malformed") from None


def _parse_headers(lines: list[bytearray]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None or b"\0" in line or b"\r" in line:
            raise _fault("a part header is malformed")
        name = match[1].decode("ascii").lower()
        if name in headers:
            raise _fault("a part header is given twice")
        headers[name] = match[2].strip().decode("utf-8", "replace")
    return headers


def _decode_base64(raw: Iterator[Chunk]) -> Iterator[Chunk]:
    """Undo base64: line ends and blanks anywhere, otherwise only the alphabet, padding only at the end."""
    rest = b""
    padded = False
    for chunk in raw:
        data = rest + bytes(chunk).translate(None, b"\r\n \t")
        whole = len(data) & ~3
        rest = data[whole:]
        if whole:
            if padded:
                raise _fault("a part is not valid base64")
            padded = data[whole - 1] == 0x3D
            yield _base64_block(data[:whole])
    if rest:
        raise _fault("a part is not valid base64")


def _base64_block(data: bytes) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error:
        raise _fault("a part is not valid base64") from None


def _decode_quoted_printable(raw: Iterator[Chunk]) -> Iterator[Chunk]:
    """Undo quoted-printable; an escape cut by a chunk border is held back."""
    rest = b""
    for chunk in raw:
        data = rest + bytes(chunk)
        cut = data.rfind(b"=", max(0, len(data) - 2))
        rest = data[cut:] if cut >= 0 else b""
        yield binascii.a2b_qp(data[:cut] if cut >= 0 else data)
    if rest:
        yield binascii.a2b_qp(rest)


def cid(content_id: str) -> str:
    """The reference to a part, for ``xop:Include/@href``. Clause: RFC 2392 2"""
    return "cid:" + quote(content_id, safe="@.-_~!$&'()*+,;=:")


def multipart_response(
    root: Sequence[bytes], parts: Sequence[OutgoingPart], action: str
) -> tuple[list[tuple[str, str]], int, Iterator[bytes]]:
    """HTTP headers, exact length in bytes, and the blocks of an MTOM message; a request is written alike.

    ``root`` is the serialised envelope. The blocks of a part are asked for when its turn comes; a part that
    yields another size than it announced ends the message with RuntimeError, because the length is promised.

    Rule: M-01, M-03, M-04, M-05, M-13. Clause: ITI TF-2 Appendix V 3.6
    """
    boundary = f"carnet-{token_hex(16)}"
    root_id = f"root-{token_hex(16)}@carnet"
    heads = [_part_head(boundary, root_id, f'{XOP}; charset=UTF-8; type="{SOAP}"', first=True)]
    heads += [_part_head(boundary, part.content_id, _clean_type(part.content_type)) for part in parts]
    end = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(map(len, root)) + sum(part.size for part in parts) + len(end)
    content_type = (
        f'{RELATED}; boundary="{boundary}"; type="{XOP}"; start="<{root_id}>"; start-info="{SOAP}"; '
        f'action="{_header_safe(action)}"'
    )
    headers = [("Content-Type", content_type), ("Content-Length", str(length)), ("MIME-Version", "1.0")]
    return headers, length, _write_parts(b"".join((heads[0], *root)), heads[1:], parts, end)


def _write_parts(first: bytes, heads: Sequence[bytes], parts: Sequence[OutgoingPart], end: bytes) -> Iterator[bytes]:
    pending = first
    for head, part in zip(heads, parts, strict=True):
        yield pending + head
        pending = b""
        left = part.size
        for chunk in part.chunks():
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise RuntimeError("a part does not have the size it announced")
    yield pending + end


def _part_head(boundary: str, content_id: str, content_type: str, first: bool = False) -> bytes:
    return (
        f"{'' if first else chr(13) + chr(10)}--{boundary}\r\nContent-Type: {content_type}\r\n"
        f"Content-Transfer-Encoding: binary\r\nContent-ID: <{_header_safe(content_id)}>\r\n\r\n"
    ).encode("ascii")


def _header_safe(text: str) -> str:
    """Refuses what could end a header or a quoted value early."""
    if not text.isascii() or not text.isprintable() or any(c in text for c in '"<>\\'):
        raise ValueError("not fit for a MIME header")
    return text


def _clean_type(content_type: str) -> str:
    """A document's media type as submitted, or a neutral one where it cannot stand in a header."""
    if content_type.isascii() and content_type.isprintable() and "/" in content_type and len(content_type) < 256:
        return content_type
    return "application/octet-stream"
