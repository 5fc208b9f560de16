"""A source of revocation that drips: the time for the whole answer ends it, however it says it will close."""

from __future__ import annotations

import socket
import threading

import pytest

from guard.credentials.fetch import fetch


def test_a_peer_that_closes_and_drips_is_left() -> None:
    """An answer without a length, a byte at a time: it is neither waited for nor taken for whole."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        left = threading.Event()

        def drip() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                for _ in range(100):
                    if left.wait(0.1):
                        return
                    try:
                        peer.sendall(b"x")
                    except OSError:
                        left.set()
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(OSError, match="too long"):
            fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/crl", None, 1 << 20, 0.5)
        thread.join(20)
        assert left.is_set(), "the peer was cut off before it had ended"
