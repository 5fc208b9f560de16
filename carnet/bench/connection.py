"""HTTP/1.1 over TLS with as little as possible in between: shared by the load generator and the floors."""

from __future__ import annotations

import re
import socket
import ssl

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")
BLOCK = 1 << 16


class Connection:
    """One kept-alive connection, seen from either side. Messages must announce their length."""

    def __init__(self, sock: ssl.SSLSocket):
        self.sock = sock
        self._rest = b""

    def receive(self) -> tuple[bytes, bytes | bytearray] | None:
        """Head and body of the next message; None when the peer has closed between two messages."""
        head, have, length = self.receive_head()
        if not head:
            return None
        if len(have) >= length:
            self._rest = have[length:]
            return head, have[:length]
        body = bytearray(length)
        body[: len(have)] = have
        place, view = len(have), memoryview(body)
        while place < length:
            got = self.sock.recv_into(view[place:])
            if not got:
                raise ConnectionError("closed inside a body")
            place += got
        return head, body

    def receive_head(self) -> tuple[bytes, bytes, int]:
        """Head, what has come of the body (and perhaps beyond), announced length. The head is b"" at the end."""
        data, self._rest = self._rest, b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = self.sock.recv(BLOCK)
            if not more:
                if data:
                    raise ConnectionError("closed inside a head")
                return b"", b"", 0
            data += more
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            raise ConnectionError(f"no Content-Length: {data[:80]!r}")
        return data[:end], data[end + 4 :], int(length[1])

    def close(self) -> None:
        self.sock.close()


def connect(port: int, context: ssl.SSLContext, timeout: float = 60.0) -> Connection:
    """To a server on this machine; the handshake is done when this returns."""
    plain = socket.create_connection(("127.0.0.1", port), timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(context.wrap_socket(plain, server_hostname="127.0.0.1"))
