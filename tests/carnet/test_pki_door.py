"""OCSP and revocation lists over HTTP; the openssl command asks, and its word counts."""

from __future__ import annotations

import base64
import http.client
import select
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from carnet import pki_door
from guard.credentials import ocsp as responding
from guard.credentials.cards import Card, pem
from guard.credentials.ocsp import Responder
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.profiles import Authority
from guard.credentials.revocation import Reason


@dataclass
class Door:
    pki: Pki
    card: Card
    port: int
    folder: Path

    def openssl(self, certificate: x509.Certificate, *words: str | Path, issuer: str = "persons") -> str:
        """What ``openssl ocsp`` says, its own checks of signature, delegation and times included."""
        file = self.folder / f"{certificate.serial_number:x}.pem"
        file.write_bytes(pem(certificate))
        said = subprocess.run(
            ["openssl", "ocsp", "-issuer", self.pki.trust / f"{issuer}.pem", "-cert", file, "-CAfile", self.pki.ca_file,
             "-url", f"http://127.0.0.1:{self.port}/ocsp", *words],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return said.stdout + said.stderr

    def get(
        self, path: str, method: str = "GET", body: bytes = b"", **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body or None, {name.replace("_", "-"): v for name, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def post(self, request: bytes) -> ocsp.OCSPResponse:
        status, body, headers = self.get("/ocsp", "POST", request, Content_Type="application/ocsp-request")
        assert (status, headers["content-type"]) == (200, "application/ocsp-response")
        return ocsp.load_der_ocsp_response(body)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    pki = Pki.create(tmp_path / "pki")
    port, stop = pki_door.listen(pki, "127.0.0.1", 0)
    yield Door(pki, pki.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC), port, tmp_path)
    stop()


def request_for(pki: Pki, serial: int, *extensions: x509.ExtensionType, algorithm: hashes.HashAlgorithm | None = None,
                which: Authority = Authority.PERSONS) -> bytes:  # fmt: skip
    issuer = pki.authority(which)
    digest = algorithm or hashes.SHA1()
    sums = []
    for data in (issuer.subject.public_bytes(), responding._key_bits(issuer)):
        one = hashes.Hash(digest)
        one.update(data)
        sums.append(one.finalize())
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(sums[0], sums[1], serial, digest)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    from cryptography.hazmat.primitives.serialization import Encoding

    return builder.build().public_bytes(Encoding.DER)


def test_openssl_gets_good_then_revoked_with_its_reason(door: Door) -> None:
    """At once, signed by a delegate it accepts, with its nonce."""
    certificate = door.card.signature.certificate
    said = door.openssl(certificate)
    assert "Response verify OK" in said and ": good" in said and "WARNING" not in said
    door.pki.revoke(certificate.serial_number, reason=Reason.KEY_COMPROMISE)
    said = door.openssl(certificate)
    assert "Response verify OK" in said and ": revoked" in said and "keyCompromise" in said
    assert ": good" in door.openssl(door.card.authentication.certificate)


def test_every_authority_has_a_responder_of_its_own(door: Door) -> None:
    """Organisations, and the root for the authorities below it."""
    server = door.pki.issue_server("registry").certificate
    for certificate, issuer in ((server, "organisations"), (door.pki.authority(Authority.PERSONS), "root")):
        said = door.openssl(certificate, issuer=issuer)
        assert "Response verify OK" in said and ": good" in said
    keys = {
        door.post(request_for(door.pki, 1, which=which)).responder_key_hash for which in Authority
    }
    assert len(keys) == 3


def test_a_certificate_never_issued_is_unknown(tmp_path: Path, door: Door) -> None:
    """Not good: a serial number of this issuer that nobody was given."""
    answer = door.post(request_for(door.pki, 4711))
    assert answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    other = Pki.create(tmp_path / "other").issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
    assert ": unknown" in door.openssl(other.signature.certificate)


def test_an_issuer_of_others_is_not_spoken_for(tmp_path: Path, door: Door) -> None:
    """RFC 6960 2.3: unauthorized."""
    other = Pki.create(tmp_path / "other")
    answer = door.post(request_for(other, 1))
    assert answer.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_who_signs_may_sign_nothing_else(door: Door) -> None:
    """id-kp-OCSPSigning, nocheck, no authority, issued by the authority itself, and ending soon."""
    pair = door.pki.responder(Authority.PERSONS)
    certificate = pair.certificate
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage.dotted_string for usage in usages] == ["1.3.6.1.5.5.7.3.9"]
    assert certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert certificate.issuer == door.pki.authority(Authority.PERSONS).subject
    assert certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=91)
    assert door.pki.responder(Authority.PERSONS).certificate == certificate, "kept"
    assert (door.pki.folder / "responders" / "persons.key").stat().st_mode & 0o777 == 0o600


def test_a_responder_that_ends_soon_is_made_anew(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty days before."""
    first = door.pki.responder(Authority.PERSONS).certificate
    monkeypatch.setattr("guard.credentials.pki._RESPONDER_SPARE", timedelta(days=89, hours=23, minutes=59))
    assert door.pki.responder(Authority.PERSONS).certificate != first


def test_get_and_post_say_the_same_and_get_may_be_kept(door: Door) -> None:
    """RFC 5019: base64 in the path, percent-encoded or not; caches are told how long."""
    request = request_for(door.pki, door.card.signature.certificate.serial_number)
    text = base64.b64encode(request).decode()
    for path in (f"/ocsp/{urllib.parse.quote(text, safe='')}", f"/ocsp/{text}"):
        status, body, headers = door.get(path)
        assert status == 200 and headers["content-type"] == "application/ocsp-response"
        assert ocsp.load_der_ocsp_response(body).certificate_status is ocsp.OCSPCertStatus.GOOD
        assert headers["cache-control"].startswith("max-age=60") and "etag" in headers
    assert door.get("/ocsp", "POST", request, Content_Type="application/ocsp-request")[2]["cache-control"] == "no-store"


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384()], ids=lambda a: a.name)
def test_hashes_of_the_request_are_answered_in_kind(door: Door, algorithm: hashes.HashAlgorithm) -> None:
    """Whatever names the certificate, by openssl's default or the newer ones."""
    serial = door.card.signature.certificate.serial_number
    answer = door.post(request_for(door.pki, serial, algorithm=algorithm))
    assert answer.hash_algorithm.name == algorithm.name
    assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD and answer.serial_number == serial
    ends = answer.next_update_utc
    assert ends is not None and ends - answer.this_update_utc == responding.VALID


def test_a_nonce_comes_back_and_is_never_kept(door: Door) -> None:
    """RFC 9654: 1 to 128 bytes; a wrong length is malformed."""
    serial = door.card.signature.certificate.serial_number
    for length in (1, 32, 128):
        answer = door.post(request_for(door.pki, serial, x509.OCSPNonce(b"n" * length)))
        assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * length
    responder, again = Responder(door.pki), request_for(door.pki, serial, x509.OCSPNonce(b"n"))
    first = responder.answer(again)
    assert not first.is_cacheable and responder.answer(again).der != first.der
    for length in (0, 129):
        answer = door.post(request_for(door.pki, serial, x509.OCSPNonce(b"n" * length)))
        assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_answers_are_kept_until_something_changes(door: Door) -> None:
    """The same bytes while nothing happens; a revocation by another process is seen at once."""
    responder = Responder(door.pki)
    request = request_for(door.pki, door.card.signature.certificate.serial_number)
    first = responder.answer(request)
    assert first.is_cacheable and responder.answer(request).der == first.der
    Pki.open(door.pki.folder).revoke(door.card.signature.certificate.serial_number)
    assert ocsp.load_der_ocsp_response(responder.answer(request).der).certificate_status is ocsp.OCSPCertStatus.REVOKED


def test_a_certificate_issued_later_is_good_at_once(door: Door) -> None:
    """Also while an answer to somebody else is kept."""
    door.post(request_for(door.pki, 1))
    new = Pki.open(door.pki.folder).issue_person("899700000026", "FICTIF", "Paul", key=KeyKind.EC)
    answer = door.post(request_for(door.pki, new.signature.certificate.serial_number))
    assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD


@pytest.mark.parametrize("junk", [b"x", b"0\x00", b"\x30\x80" * 50, b"\x00" * 4096])
def test_what_is_no_request_is_malformed(door: Door, junk: bytes) -> None:
    """An OCSP answer that says so, whatever comes; signed by nobody."""
    assert door.post(junk).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    status, body, _ = door.get(f"/ocsp/{base64.b64encode(junk)[:600].decode()}")
    assert status == 200
    assert ocsp.load_der_ocsp_response(body).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("path", "method", "headers", "expected"),
    [
        ("/ocsp", "POST", {"Content_Type": "text/plain"}, 415),
        ("/ocsp", "POST", {"Content_Type": "application/ocsp-request", "Content_Length": "5000"}, 413),
        ("/ocsp", "POST", {"Content_Type": "application/ocsp-request", "Content_Length": "-1"}, 411),
        ("/other", "POST", {"Content_Type": "application/ocsp-request"}, 404),
        ("/crl/private.crl", "GET", {}, 404),
        ("/crl/../private/persons.key", "GET", {}, 404),
        ("/crl/persons.crl/..", "GET", {}, 404),
        ("/private/persons.key", "GET", {}, 404),
        ("/ocsp/" + "A" * 9000, "GET", {}, 404),
        ("/ocsp", "DELETE", {}, 501),
    ],
)
def test_anything_else_is_refused(door: Door, path: str, method: str, headers: dict[str, str], expected: int) -> None:
    """Nothing but the three kinds of things, within their sizes."""
    assert door.get(path, method, b"x" if method == "POST" and "Content_Length" not in headers else b"", **headers)[0] \
        == expected  # fmt: skip


def test_lists_and_authorities_are_downloaded(door: Door) -> None:
    """DER, as distribution points give it; openssl checks the signature."""
    door.pki.revoke(door.card.signature.certificate.serial_number)
    for name, count in (("persons", 1), ("persons.delta", 1), ("organisations", 0), ("root", 0)):
        status, body, headers = door.get(f"/crl/{name}.crl")
        assert (status, headers["content-type"]) == (200, "application/pkix-crl")
        assert len(list(x509.load_der_x509_crl(body))) == count
        (door.folder / "list.crl").write_bytes(body)
        words = ["openssl", "crl", "-inform", "DER", "-in", str(door.folder / "list.crl"), "-noout", "-CAfile",
                 str(door.pki.ca_file)]  # fmt: skip
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "verify OK" in said.stdout + said.stderr
    status, body, headers = door.get("/ca/persons.crt")
    assert x509.load_der_x509_certificate(body) == door.pki.authority(Authority.PERSONS)


def test_an_address_with_a_path_is_served_under_it(tmp_path: Path) -> None:
    """What certificates say is where the answers are."""
    pki = Pki.create(tmp_path / "pki", base_url="http://127.0.0.1:8880/a/pki")
    port, stop = pki_door.listen(pki, "127.0.0.1", 0)
    try:
        card = pki.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
        here = Door(pki, card, port, tmp_path)
        assert here.get("/a/pki/crl/persons.crl")[0] == here.get("/crl/persons.crl")[0] == 200
        assert here.get("/b/crl/persons.crl")[0] == 404
    finally:
        stop()


def test_a_slow_peer_is_left(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends a byte now and then is cut at the end of its time; others get their answers meanwhile."""
    monkeypatch.setattr(pki_door, "LONGEST", 1.0)
    dripping = socket.create_connection(("127.0.0.1", door.port), timeout=10)

    def drip() -> None:
        try:
            while True:
                dripping.sendall(b"G")
                time.sleep(0.1)
        except OSError:
            return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    assert door.get("/crl/persons.crl")[0] == 200
    thread.join(20)
    assert not thread.is_alive()
    dripping.close()


def test_more_peers_than_the_door_holds_are_closed_unanswered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four silent ones are waited for, two more are not; afterwards there is room again."""
    monkeypatch.setattr(pki_door, "CONNECTIONS", 4)
    monkeypatch.setattr(pki_door, "PATIENCE", 60.0)
    monkeypatch.setattr(pki_door, "LONGEST", 60.0)
    pki = Pki.create(tmp_path / "pki")
    port, stop = pki_door.listen(pki, "127.0.0.1", 0)
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(6)]
    try:
        closed: list[socket.socket] = []
        while len(closed) < 2:
            ready, _, _ = select.select([one for one in idle if one not in closed], [], [], 20)
            assert ready, "nobody is closed"
            closed += ready
        assert len(closed) == 2
        assert not select.select([one for one in idle if one not in closed], [], [], 0.3)[0]
    finally:
        for one in idle:
            one.close()
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                here = Door(pki, pki.issue_person("899700000018", "A", "B", key=KeyKind.EC), port, tmp_path)
                assert here.get("/crl/persons.crl")[0] == 200
                break
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        stop()
