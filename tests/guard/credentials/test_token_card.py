"""Cards behind PKCS#11, on SoftHSM 2: the path a real card's library takes."""

from __future__ import annotations

import copy
import gc
import itertools
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from signxml import XMLVerifier

from guard.credentials import certificate_requests, token_tls, vihf, xades, xades_read
from guard.credentials.cards import Card, CardError, CardLocked, NoSignatureKey, WrongPin
from guard.credentials.pkcs11_uri import TokenAddress, parse
from guard.credentials.pki import KeyKind, Pki
from tests import softhsm

pytestmark = softhsm.needed
KINDS = ("rsa", "ec")


def made(pki: Pki, label: str, *, is_rsa: bool) -> TokenAddress:
    """A token with keys of its own and certificates for them."""
    from guard.credentials import token_card

    address = softhsm.token(label)
    keys = token_card.make_keys(address, softhsm.PIN, is_rsa=is_rsa)
    holder = pki.person("899700000018", "ESSAI", "Anne", specialties=("SM26",))
    certified = pki.certify(holder, certificate_requests.make(*keys))
    del keys
    gc.collect()
    found = token_card.install(
        address, softhsm.PIN, [certified.authentication, certified.signature, *certified.chain]
    )
    assert found == ["authentication", "signature"]
    return address


@pytest.fixture(params=KINDS)
def card(request: pytest.FixtureRequest, pki: Pki) -> Iterator[Card]:
    from guard.credentials import token_card

    label = f"{request.param}-{abs(hash(request.node.name)) % 10**8}"
    opened = token_card.open_card(made(pki, label, is_rsa=request.param == "rsa"), softhsm.PIN)
    yield opened
    del opened
    gc.collect()


def test_a_token_has_the_shape_of_a_card(card: Card, pki: Pki) -> None:
    """Both key pairs with their duties, their chains and the identity; the keys are two."""
    assert (card.identity.common_name, card.identity.name) == ("899700000018", "ESSAI Anne")
    assert card.authentication.chain == card.signature.chain and len(card.signature.chain) == 2
    numbers = {pair.key.public_key().public_numbers() for pair in (card.authentication, card.signature)}
    assert len(numbers) == 2
    for pair in (card.authentication, card.signature):
        assert pair.key.public_key().public_numbers() == pair.certificate.public_key().public_numbers()


def test_the_signature_key_signs_assertions(card: Card) -> None:
    """Made with the token's key, verified by signxml and with the certificate alone."""
    assertion = vihf.issue(vihf.for_card(card, structure_id="10B0000001"), card.signature)
    XMLVerifier().verify(
        etree.fromstring(assertion), x509_cert=card.signature.certificate, id_attribute="ID"
    )
    signed, public = card.sign(b"statement"), card.signature.certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signed, b"statement", padding.PKCS1v15(), hashes.SHA256())
    else:
        public.verify(signed, b"statement", ec.ECDSA(hashes.SHA256()))


def test_the_signature_key_signs_sets(card: Card) -> None:
    """The token computes the value; what comes out is read, and fits the certificate that it holds."""
    documents = [xades.Signable("1.2.3.5", "00" * 32)]
    data = xades.write(card.signature, xades.FRENCH, submission_unique_id="1.2.3.4", documents=documents)
    signature = xades_read.read(data)
    signature.verify()
    assert signature.certificate == card.signature.der


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda d: d.name)
def test_digests_of_the_family_are_signed(card: Card, digest: hashes.HashAlgorithm) -> None:
    """Whole data or a digest made before."""
    hashed = hashes.Hash(digest)
    hashed.update(b"data")
    key: Any = card.signature.key
    public: Any = card.signature.certificate.public_key()
    for data, algorithm in ((b"data", digest), (hashed.finalize(), Prehashed(digest))):
        if isinstance(key, rsa.RSAPrivateKey):
            public.verify(key.sign(data, padding.PKCS1v15(), algorithm), b"data", padding.PKCS1v15(), digest)
        else:
            public.verify(key.sign(data, ec.ECDSA(algorithm)), b"data", ec.ECDSA(digest))


def test_the_keys_stay(card: Card, tmp_path: Path) -> None:
    """No way out: not as bytes, not as numbers, not into a file, not by asking the token."""
    for pair in (card.authentication, card.signature):
        key: Any = pair.key
        for way in (
            lambda key=key: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            lambda key=key: key.private_numbers(),
        ):
            with pytest.raises(UnsupportedAlgorithm):
                way()
        assert copy.copy(key) is key and copy.deepcopy(key) is key
    with pytest.raises(CardError, match="stays on its token"):
        card.save(tmp_path / "card.p12", "4719")
    assert not (tmp_path / "card.p12").exists()


def test_keys_made_on_a_token_are_marked_so(pki: Pki) -> None:
    """SENSITIVE and never EXTRACTABLE, as the token itself says."""
    import pkcs11

    address = made(pki, "marked", is_rsa=True)
    with pkcs11.lib(softhsm.library()).get_token(token_label="marked").open(user_pin=softhsm.PIN) as session:
        keys = list(session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}))
        assert len(keys) == 2 and address.token == "marked"
        for key in keys:
            assert key[pkcs11.Attribute.NEVER_EXTRACTABLE] and key[pkcs11.Attribute.ALWAYS_SENSITIVE]
            assert not key[pkcs11.Attribute.DECRYPT]
            with pytest.raises(pkcs11.PKCS11Error):
                _ = key[pkcs11.Attribute.PRIVATE_EXPONENT]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_token_opens_tls(card: Card, pki: Pki, own_pki: Pki, version: ssl.TLSVersion) -> None:
    """The authentication key answers for the connection, in both versions; the server sees its certificate."""
    seen, spoken = shaken(card.tls_context(pki.ca_file), pki, version)
    assert (seen, spoken) == (card.authentication.der, f"TLSv1.{int(version) - 769}")


def test_a_token_that_pads_itself_is_used_up_to_tls_1_2(card: Card, pki: Pki) -> None:
    """TLS 1.3 needs PSS, which such a card cannot do: the connection is made with 1.2, not refused."""
    if not isinstance(card.authentication.key, rsa.RSAPrivateKey):
        pytest.skip("elliptic curves have no padding")
    card.authentication.key.raw = None  # type: ignore[attr-defined]
    assert shaken(card.tls_context(pki.ca_file), pki, ssl.TLSVersion.TLSv1_3) == (card.authentication.der, "TLSv1.2")


def test_one_context_serves_many_threads(card: Card, pki: Pki) -> None:
    """The token does one thing at a time; callers need not know."""
    context = card.tls_context(pki.ca_file)
    gc.collect()
    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(lambda _: shaken(context, pki, ssl.TLSVersion.TLSv1_3)[0], range(12)))
    assert seen == [card.authentication.der] * 12


def test_a_server_of_another_authority_is_refused(card: Card, pki: Pki, own_pki: Pki) -> None:
    """The key of a token changes nothing in what the client checks."""
    with pytest.raises(ssl.SSLError):
        shaken(card.tls_context(pki.ca_file), own_pki, ssl.TLSVersion.TLSv1_3)


def test_a_token_that_fails_ends_the_handshake(card: Card, pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    """An error of the card inside of OpenSSL becomes a failed connection, never a crash or a signature."""
    def gone(_: bytes) -> bytes:
        raise CardError("the card was taken out")

    key: Any = card.authentication.key
    key.raw = key.pkcs1 = key._ecdsa = gone
    with pytest.raises(ssl.SSLError):
        shaken(card.tls_context(pki.ca_file), pki, ssl.TLSVersion.TLSv1_3)
    assert "taken out" in caplog.text


def test_certificate_and_key_must_belong_together(card: Card, pki: Pki) -> None:
    """The signature key cannot stand behind the authentication certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(token_tls.NotPossible):
        token_tls.load(context, card.signature.key, [card.authentication.certificate])  # type: ignore[arg-type]


_servers = itertools.count(1)


def shaken(context: ssl.SSLContext, pki: Pki, newest: ssl.TLSVersion) -> tuple[bytes, str]:
    """A handshake with a server of that PKI: the certificate it saw, and the version."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for kind in (KeyKind.RSA, KeyKind.EC):  # as our servers have both: the suites of TLS 1.2 need RSA
        files = pki.issue_server(f"tls-{next(_servers)}", key=kind)
        server.load_cert_chain(files.certificate_file, files.key_file)
    server.load_verify_locations(pki.ca_file)
    server.verify_mode, server.maximum_version = ssl.CERT_REQUIRED, newest
    ours, theirs = socket.socketpair()
    seen: list[tuple[bytes, str]] = []

    def serve() -> None:
        with theirs:
            try:
                with server.wrap_socket(theirs, server_side=True) as connection:
                    seen.append((connection.getpeercert(binary_form=True) or b"", str(connection.version())))
                    connection.sendall(b"!")
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ours.settimeout(20)
        with ours, context.wrap_socket(ours, server_hostname="localhost") as connection:
            assert connection.recv(1) == b"!"
    finally:
        thread.join(20)
    return seen[0]


# -- PINs and tokens ---------------------------------------------------------------------------------------------------


def test_a_wrong_pin_is_told_with_what_the_token_tells(pki: Pki) -> None:
    """Its own counter decides; the text never holds the PIN."""
    from guard.credentials import token_card

    address = made(pki, "wrong", is_rsa=False)
    with pytest.raises(WrongPin, match="counts wrong tries") as refused:
        token_card.open_card(address, "9999")
    assert "9999" not in str(refused.value)
    with pytest.raises(WrongPin):
        token_card.open_card(address, "")
    token_card.open_card(address, softhsm.PIN)


def test_three_wrong_pins_lock_a_token_whose_keys_are_made_here(pki: Pki) -> None:
    """SoftHSM never would. Once locked no PIN is looked at; the PUK (its SO PIN) gives the tries back, and so does the
    right PIN in time."""
    from guard.credentials import token_card

    address = made(pki, "three", is_rsa=False)

    def told(pin: str) -> str:
        with pytest.raises(CardError) as refused:
            token_card.open_card(address, pin)
        return f"{type(refused.value).__name__}: {refused.value}"

    assert told("9999").endswith("2 tries left")
    token_card.open_card(address, softhsm.PIN)
    gc.collect()
    assert [told("9999").rpartition("; ")[2] for _ in range(3)] == ["2 tries left", "1 try left", "it is locked now"]
    assert told("9999") == told(softhsm.PIN) and told(softhsm.PIN).startswith("CardLocked")
    assert unblock("three", "00000000").endswith("; 4 tries left\n")
    assert told(softhsm.PIN).startswith("CardLocked")
    assert "3 tries again" in unblock("three", softhsm.SO_PIN)
    token_card.open_card(address, softhsm.PIN)
    gc.collect()


def unblock(label: str, puk: str) -> str:
    """By the command: SoftHSM wants no other session in the process."""
    words = [sys.executable, "-m", "carnet", "card", "unblock", softhsm.uri(label)]
    done = subprocess.run(words, env=os.environ | {"CARNET_PUK": puk}, capture_output=True, text=True, check=False)
    assert puk not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_token_counts_a_try_before_it_looks(pki: Pki) -> None:
    """A process that dies in between has had its try, and others at the same time win none."""
    import pkcs11

    from guard.credentials import token_card, token_tries

    address = made(pki, "atonce", is_rsa=False)
    token = next(one for one in pkcs11.lib(address.module_path).get_tokens() if one.label.strip() == "atonce")
    with pytest.raises(KeyboardInterrupt), token_tries.one_try(token, "x"):
        raise KeyboardInterrupt
    one = f"""
from guard.credentials import token_card
from guard.credentials.pkcs11_uri import parse
try:
    token_card.open_card(parse({softhsm.uri("atonce")!r}), "9999")
except token_card.CardError as error:
    print(type(error).__name__)
"""
    tried = [subprocess.Popen([sys.executable, "-c", one], stdout=subprocess.PIPE, text=True) for _ in range(5)]
    told = [process.communicate(timeout=120)[0].strip() for process in tried]
    tries = told.count("WrongPin") + told.count("CardError")  # SoftHSM fails now and then when several log in at once
    assert tries <= 2 and set(told) <= {"WrongPin", "CardError", "CardLocked"}, told
    with pytest.raises(CardLocked):
        token_card.open_card(address, softhsm.PIN)


def test_a_token_made_elsewhere_counts_for_itself() -> None:
    """We put nothing on it; and unlocking is its maker's."""
    from guard.credentials import token_card

    address = softhsm.token("elsewhere")
    for _ in range(4):
        with pytest.raises(WrongPin):
            token_card.open_card(address, "9999")
    assert "maker's tool" in unblock("elsewhere", softhsm.SO_PIN)


class Locking:
    """A token that locks, as cards do and SoftHSM does not: three wrong PINs."""

    def __init__(self) -> None:
        import pkcs11

        self.label, self.serial, self.model, self.manufacturer_id = "locks", b"1", "m", "m"
        self.left, self._pkcs11 = 3, pkcs11

    @property
    def flags(self) -> Any:
        flag = self._pkcs11.TokenFlag
        return {3: flag(0), 2: flag.USER_PIN_COUNT_LOW, 1: flag.USER_PIN_FINAL_TRY, 0: flag.USER_PIN_LOCKED}[self.left]

    def open(self, *, rw: bool = False, user_pin: str | None = None) -> Any:
        if user_pin is None:
            return SimpleNamespace(get_objects=lambda _: [], close=lambda: None)
        if self.left == 0:
            raise self._pkcs11.PinLocked
        self.left -= 1
        raise self._pkcs11.PinIncorrect

    def get_tokens(self) -> list[Locking]:
        return [self]


def test_a_token_that_locks_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the token tells of its tries, then its lock, in words."""
    import pkcs11

    from guard.credentials import token_card

    token = Locking()
    monkeypatch.setattr(pkcs11, "lib", lambda _: token)
    told = []
    for _ in range(4):
        with pytest.raises(CardError) as refused:
            token_card.open_card(parse("pkcs11:token=locks?module-path=/x.so"), "0000")
        told.append(f"{type(refused.value).__name__} {refused.value}")
    assert "counts wrong tries" in told[0] and "one try is left" in told[1] and "locked now" in told[2]
    assert told[3].startswith(CardLocked.__name__) and "maker's tool" in told[3]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("pkcs11:token=nobody?module-path=LIBRARY", "no such token"),
        ("pkcs11:token=nobody", "no PKCS#11 library"),
        ("pkcs11:token=nobody?module-path=libsofthsm2.so", "whole path"),
        ("pkcs11:token=nobody?module-path=/nowhere/lib.so", "cannot be used"),
        (f"pkcs11:token=nobody?module-path={sys.executable}", "cannot be used"),
    ],
)
def test_a_token_that_is_not_there(uri: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its words."""
    from guard.credentials import token_card

    softhsm.token("somebody")
    monkeypatch.delenv(token_card.MODULE_VARIABLE, raising=False)
    with pytest.raises(CardError, match=told):
        token_card.open_card(parse(uri.replace("LIBRARY", softhsm.library())), softhsm.PIN)


def test_the_library_may_come_from_the_environment(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who have one card reader and type its address often."""
    from guard.credentials import token_card

    made(pki, "environment", is_rsa=False)
    monkeypatch.setenv(token_card.MODULE_VARIABLE, softhsm.library())
    assert token_card.open_card(parse("pkcs11:token=environment"), softhsm.PIN).identity.surname == "ESSAI"


def test_a_token_open_already_is_not_opened_with_any_pin(pki: Pki) -> None:
    """A second login is not checked by the library, so it is refused, whatever the PIN."""
    from guard.credentials import token_card

    address = made(pki, "open", is_rsa=False)
    first = token_card.open_card(address, softhsm.PIN)
    for pin in (softhsm.PIN, "9999"):
        with pytest.raises(CardError, match="open already"):
            token_card.open_card(address, pin)
    first.sign(b"still there")


def test_an_empty_token_is_no_card_and_one_with_keys_is_not_filled_again(pki: Pki) -> None:
    """Nothing is made over; a renewal says that it is one, and the newest certificate counts then."""
    from guard.credentials import token_card

    address = softhsm.token("empty")
    with pytest.raises(CardError, match="holds no key"):
        token_card.open_card(address, softhsm.PIN)
    gc.collect()
    address = made(pki, "renewed", is_rsa=False)
    before = token_card.open_card(address, softhsm.PIN)
    old = before.authentication.certificate
    del before
    gc.collect()
    with pytest.raises(CardError, match="holds keys already"):
        token_card.make_keys(address, softhsm.PIN, is_rsa=False)
    gc.collect()
    keys = token_card.make_keys(address, softhsm.PIN, is_rsa=False, again=True)
    number = next(line.card for line in pki.issued() if line.serial == f"{old.serial_number:x}")
    made_new = pki.certify(pki.renewal(number), certificate_requests.make(*keys), days=2000)
    del keys
    gc.collect()
    token_card.install(address, softhsm.PIN, [made_new.signature, made_new.authentication])
    gc.collect()
    after = token_card.open_card(address, softhsm.PIN)
    assert after.authentication.certificate == made_new.authentication != old
    assert after.identity.card_number == number


def test_certificates_of_other_keys_are_not_put_on_a_token(pki: Pki) -> None:
    """A mix-up of two cards is told."""
    from guard.credentials import token_card

    address = made(pki, "mixed", is_rsa=False)
    other = pki.issue_person("899700000026", "FICTIF", "Paul")
    with pytest.raises(CardError, match="none of these"):
        token_card.install(address, softhsm.PIN, [other.signature.certificate])


def test_a_token_without_signature_certificate_connects_and_does_not_sign(pki: Pki) -> None:
    """The authentication key never signs in its place."""
    from guard.credentials import token_card

    address = softhsm.token("half")
    keys = token_card.make_keys(address, softhsm.PIN, is_rsa=False)
    certified = pki.certify(pki.person("899700000018", "ESSAI", "Anne"), certificate_requests.make(*keys))
    del keys
    gc.collect()
    token_card.install(address, softhsm.PIN, [certified.authentication])
    gc.collect()
    half = token_card.open_card(address, softhsm.PIN)
    with pytest.raises(NoSignatureKey):
        half.sign(b"statement")


def test_openssl_agrees_on_the_request_of_a_token(pki: Pki, tmp_path: Path) -> None:
    """Proof of possession, checked by the openssl command on both halves of the request file."""
    from guard.credentials import token_card

    request = certificate_requests.make(*token_card.make_keys(softhsm.token("asks"), softhsm.PIN, is_rsa=True))
    end = b"-----END CERTIFICATE REQUEST-----\n"
    for number, part in enumerate(request.split(end)[:-1]):
        (tmp_path / f"{number}.csr").write_bytes(part + end)
        words = ["openssl", "req", "-verify", "-noout", "-in", str(tmp_path / f"{number}.csr")]
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "verify OK" in said.stdout + said.stderr
    assert x509.load_pem_x509_csr(request).is_signature_valid
