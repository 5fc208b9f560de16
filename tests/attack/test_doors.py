"""What a stranger meets at the doors before he has said anything."""

from __future__ import annotations

import socket
import ssl
import warnings

import pytest

from tests.world import World


def _shake(world: World, version: ssl.TLSVersion) -> tuple[str, str]:
    """Version and suite that the repository settles on with a client of one version and any suite it likes."""
    context = world.bare_tls()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", world.settings.repository.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        suite = tls.cipher()
        return str(tls.version()), suite[0] if suite else ""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_turned_away_by_the_service(live: World, version: ssl.TLSVersion) -> None:
    """By its own alert, not by the client's library. Attack: old-tls"""
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version"):
        _shake(live, version)


def test_every_suite_has_forward_secrecy(live: World) -> None:
    """Whatever else a client offers."""
    assert _shake(live, ssl.TLSVersion.TLSv1_3)[0] == "TLSv1.3"
    version, suite = _shake(live, ssl.TLSVersion.TLSv1_2)
    assert version == "TLSv1.2" and suite.startswith("ECDHE") and ("GCM" in suite or "CHACHA20" in suite)


def test_the_admin_port_is_on_one_loopback_address(live: World) -> None:
    """It answers there and nowhere else."""
    for settings in (live.settings.registry, live.settings.repository):
        socket.create_connection(("127.0.0.1", settings.admin_port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", settings.admin_port), timeout=5).close()
