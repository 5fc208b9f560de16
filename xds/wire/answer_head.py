"""The head of an HTTP answer: status line and header fields, read exactly and within bounds.

``http.client`` takes a head apart with the parser for mail, which costs more than all else it does for an answer, and
takes for a header whatever looks a little like one. The body stays with it.

Clause: RFC 9112 3 to 6, RFC 9110 5
"""

from __future__ import annotations

import re
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from typing import Any

LONGEST = 1 << 16
"""Bytes of a head, those of the interim answers before it included."""
MOST_FIELDS = 100
_STATUS = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_FRAMING = frozenset({"content-length", "transfer-encoding", "content-type", "connection"})
"""Fields that say how the answer is to be read: two that differ leave it open which one counts."""
_WITHOUT_BODY = frozenset({204, 304})


class Head(HTTPResponse):
    """An answer whose ``headers`` are a plain dict, names in lower case; of a field given twice the last counts.

    Raises RemoteDisconnected when the peer closes without a word, and HTTPException for what is no head, is cut short
    or too large.

    Tolerated: lines that end in a line feed alone, and folded ones, because old servers write them.
    """

    def begin(self) -> None:
        """Called once the request is sent."""
        if self.headers is not None:
            return
        left = LONGEST
        minor, status = 0, 100
        while 100 <= status < 200:
            line, left = self._line(left)
            match = _STATUS.fullmatch(line)
            if match is None:
                raise HTTPException("no status line")
            minor, status = int(match[1]), int(match[2])
            fields, left = self._fields(left)
        named: Any = fields
        self.headers = self.msg = named
        self.code = self.status = status
        self.version = 11 if minor else 10
        self.chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = self._length(fields, status)
        connection = fields.get("connection", "").lower()
        stays = "close" not in connection if minor else "keep-alive" in connection
        self.will_close = not stays or (self.length is None and not self.chunked)

    def _length(self, fields: dict[str, str], status: int) -> int | None:
        """Bytes of the body, None when chunks or the end of the connection tell."""
        said = fields.get("content-length")
        if said is not None and not _LENGTH.fullmatch(said):
            raise HTTPException("the Content-Length is malformed")
        if status in _WITHOUT_BODY:
            return 0
        return None if said is None or self.chunked else int(said)

    def _fields(self, left: int) -> tuple[dict[str, str], int]:
        fields: dict[str, str] = {}
        name = ""
        for _ in range(MOST_FIELDS + 1):
            line, left = self._line(left)
            if not line:
                return fields, left
            if line[:1] in b" \t":
                if not name:
                    raise HTTPException("a folded line that continues nothing")
                fields[name] = f"{fields[name]} {line.strip().decode('latin-1')}"
                continue
            match = _FIELD.fullmatch(line)
            if match is None:
                raise HTTPException("a header field is malformed")
            name, value = match[1].decode("ascii").lower(), match[2].rstrip(b" \t").decode("latin-1")
            if name in _FRAMING and fields.get(name, value) != value:
                raise HTTPException(f"two fields {name} that differ")
            fields[name] = value
        raise HTTPException("too many header fields")

    def _line(self, left: int) -> tuple[bytes, int]:
        """The next line without its end, and how many bytes the head may still have."""
        line = self.fp.readline(left + 1)
        if len(line) > left:
            raise HTTPException("the head is too large")
        if not line and left == LONGEST:
            raise RemoteDisconnected("the connection ended without an answer")
        if not line.endswith(b"\n"):
            raise HTTPException("the head is cut short")
        return line[:-1].removesuffix(b"\r"), left - len(line)
