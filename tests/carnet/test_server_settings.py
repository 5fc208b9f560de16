"""What gunicorn is told, and what it makes of a request's head."""

from __future__ import annotations

import socket
from pathlib import Path

from gunicorn.http import get_parser, wsgi

from carnet.server import Listener, Server
from carnet.workers import Workers
from xds.wire.tls import listening

HEAD = (
    b"POST /services/registry HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nPATH_INFO: /internal/registry\r\n"
    b"SCRIPT_NAME: /services\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
)


def server() -> Server:
    nothing = Path("none.pem")
    listener = Listener(
        name="test", host="127.0.0.1", port=0, threads=2, certificate=nothing, key=nothing, tls=listening(), idle=1.0
    )
    return Server(listener, Workers(1), lambda: lambda _environ, _start: [])


def test_no_peer_says_how_another_one_came() -> None:
    """Nobody stands before us: path, address and scheme are those of the connection, from this machine too."""
    peer, ours = socket.socketpair()
    address = ("127.0.0.1", 1)
    with peer, ours:
        peer.sendall(HEAD)
        config = server().cfg
        request = next(get_parser(config, ours, address))
        _, environ = wsgi.create(request, ours, address, ("127.0.0.1", 2), config)
    assert (environ["PATH_INFO"], environ["SCRIPT_NAME"]) == ("/services/registry", "")
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "https")


def test_every_setting_is_at_hand_and_as_it_was_set() -> None:
    """Those gunicorn works out itself are still worked out."""
    config = server().cfg
    assert {name: vars(config)[name] for name in config.settings} == {
        name: setting.get() for name, setting in config.settings.items()
    }
    assert config.threads == 2 and config.keepalive == 75 and config.worker_class.__name__ == "PatientWorker"
