"""Card files: PIN, file modes, and the TLS connection they open."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from conformance.negative_kit import Kit
from guard.credentials.cards import Card, CardError, NoSignatureKey, WrongPin, signature_path
from guard.credentials.pki import Pki


def test_card_saved_and_opened_is_the_same(kit: Kit, tmp_path: Path) -> None:
    """Both key pairs, their chains and the identity survive the file; the files are for their owner only."""
    path = kit.card.save(tmp_path / "card.p12", "1234")
    opened = Card.open(path, "1234")
    assert opened.authentication.certificate == kit.card.authentication.certificate
    assert opened.signature.certificate == kit.card.signature.certificate
    assert opened.signature.chain == kit.card.signature.chain
    assert opened.identity == kit.card.identity
    for file in (path, signature_path(path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_wrong_pin_is_told_apart_from_a_wrong_file(kit: Kit, tmp_path: Path) -> None:
    """A wrong PIN, a file that is no card and a missing file are three different messages, none with the PIN."""
    path = kit.other.save(tmp_path / "card.p12", "1234")
    with pytest.raises(WrongPin) as refused:
        Card.open(path, "4321")
    assert "4321" not in str(refused.value)
    (tmp_path / "text.p12").write_bytes(b"not a card")
    with pytest.raises(CardError, match="not a card") as wrong:
        Card.open(tmp_path / "text.p12", "1234")
    assert not isinstance(wrong.value, WrongPin)
    with pytest.raises(CardError, match="cannot be read"):
        Card.open(tmp_path / "none.p12", "1234")


def test_file_without_key_is_not_a_card(kit: Kit, tmp_path: Path) -> None:
    """A PKCS#12 that holds only certificates."""
    data = pkcs12.serialize_key_and_certificates(
        b"x", None, None, [kit.other.signature.certificate], NoEncryption()
    )
    (tmp_path / "certificates.p12").write_bytes(data)
    with pytest.raises(CardError):
        Card.open(tmp_path / "certificates.p12", "")


def test_saving_needs_a_pin_and_never_overwrites(kit: Kit, tmp_path: Path) -> None:
    """An existing card stays as it is, the signature file included."""
    with pytest.raises(CardError, match="PIN"):
        kit.other.save(tmp_path / "card.p12", "")
    kit.other.save(tmp_path / "card.p12", "1234")
    (tmp_path / "card.p12").unlink()
    with pytest.raises(FileExistsError):
        kit.other.save(tmp_path / "card.p12", "1234")
    assert not (tmp_path / "card.p12").exists(), "nothing half written"


def test_card_without_signature_file_connects_but_does_not_sign(kit: Kit, tmp_path: Path) -> None:
    """The authentication key never signs in place of the signature key."""
    path = kit.other.save(tmp_path / "card.p12", "1234")
    signature_path(path).unlink()
    card = Card.open(path, "1234")
    with pytest.raises(NoSignatureKey):
        card.sign(b"statement")


@pytest.mark.parametrize("name", ["card", "other"])
def test_card_signs_with_the_signature_key(kit: Kit, name: str) -> None:
    """RSA PKCS#1 v1.5 or ECDSA, with SHA-256."""
    card: Card = getattr(kit, name)
    signature = card.sign(b"statement")
    key = card.signature.certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, b"statement", padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, b"statement", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("name", ["card", "other", "structure"])
def test_tls_connection_shows_the_authentication_certificate(kit: Kit, own_pki: Pki, pki: Pki, name: str) -> None:
    """Mutual TLS 1.3 with a card against a server certificate of the same PKI, under strict certificate checks."""
    card: Card = getattr(kit, name)
    server_name = f"tls-{name}"
    seen, version = connect(pki, card, server_name, "localhost")
    assert seen == card.authentication.der
    assert version == "TLSv1.3"


def test_tls_server_of_another_pki_or_name_is_refused(kit: Kit, own_pki: Pki, pki: Pki) -> None:
    """The client trusts its own authorities only, and checks the name."""
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(own_pki, kit.other, "stranger", "localhost", ca_file=pki.ca_file)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname"):
        connect(pki, kit.other, "wrong-name", "carnet.example")


def connect(
    pki: Pki, card: Card, server_name: str, host: str, ca_file: Path | None = None
) -> tuple[bytes | None, str | None]:
    """Open one connection; returns the client certificate the server saw, and the protocol version."""
    files = pki.issue_server(server_name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate_file, files.key_file)
    server.load_verify_locations(pki.ca_file)
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    client = card.tls_context(ca_file or pki.ca_file)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    seen: list[bytes | None] = []

    def answer(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        with raw, contextlib.suppress(OSError), server.wrap_socket(raw, server_side=True) as connection:
            seen.append(connection.getpeercert(True))
            connection.sendall(b"!")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=5) as raw,
                client.wrap_socket(raw, server_hostname=host) as connection,
            ):
                assert connection.recv(1) == b"!"
                version = connection.version()
        finally:
            thread.join(5)
    return seen[0], version


def test_no_key_is_left_behind_by_tls(kit: Kit, pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ssl module reads keys from files: that file is in memory, without a name, private, and gone afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[tuple[int, str]] = []
    before = sorted(os.listdir("/proc/self/fd"))
    load = ssl.SSLContext.load_cert_chain

    def spy(context: ssl.SSLContext, certfile: str, **arguments: object) -> None:
        seen.append((stat.S_IMODE(Path(certfile).stat().st_mode), os.readlink(certfile)))
        load(context, certfile, **arguments)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    kit.other.tls_context(pki.ca_file)
    [(mode, place)] = seen
    assert mode == 0o600
    assert place == "/memfd:carnet (deleted)"
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert list(tmp_path.iterdir()) == []
