"""Assertions of other stacks are accepted here, and ours verify there.

xmlsec1 (Aleksey Sanin's program, over its own libxml2 and OpenSSL), xml-crypto and node-saml (Node.js, ``make
interop-node``), OpenSAML over Apache Santuario (Java, ``make interop-java``). Each signs what we have written without
a signature; each verifies what our card has signed, and refuses it once a letter is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from conformance.hand_signatures import ECDSA_SHA256, ENVELOPED, EXCLUSIVE, RSA_SHA256, SHA256
from conformance.negative_assertions import kit_rule
from conformance.negative_kit import MESSAGE, Kit, put
from guard.credentials import distinguished_name, vihf
from guard.credentials.assertion import Verifier
from guard.credentials.cards import Card, KeyPair
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import Pki
from tests.interop.stacks import HERE, MODULES
from xds.namespaces import DS, SAML

JAVA = Path(os.environ.get("CARNET_JAVA", HERE.parents[1] / "build" / "interop-java"))
"""Where ``make interop-java`` installs."""


@dataclass(frozen=True, slots=True)
class Files:
    """A card's signature key as files, for programs."""

    folder: Path
    pair: KeyPair
    trust: Path

    @property
    def key(self) -> Path:
        path = self.folder / "key.pem"
        path.write_bytes(self.pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return path

    @property
    def certificate(self) -> Path:
        path = self.folder / "certificate.pem"
        path.write_bytes(self.pair.certificate.public_bytes(Encoding.PEM))
        return path

    def put(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


def run(command: list[str | Path], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)  # type: ignore[call-overload]


class Xmlsec1:
    """The command of Debian's package xmlsec1. It builds the chain to our root itself."""

    def __init__(self) -> None:
        if shutil.which("xmlsec1") is None:
            pytest.skip("the command xmlsec1 is not installed")

    def sign(self, assertion: bytes, files: Files) -> bytes:
        template = files.put("template.xml", _template(assertion, files.pair))
        done = run(
            [
                "xmlsec1",
                "--sign",
                "--privkey-pem",
                f"{files.key},{files.certificate}",
                "--id-attr:ID",
                f"{SAML}:Assertion",
                template,
            ]
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.encode()

    def verify(self, assertion: bytes, files: Files) -> bool:
        signed = files.put("signed.xml", assertion)
        done = run(
            [
                "xmlsec1",
                "--verify",
                "--trusted-pem",
                files.trust / "root.pem",
                "--untrusted-pem",
                files.trust / "persons.pem",
                "--enabled-key-data",
                "x509",
                "--id-attr:ID",
                f"{SAML}:Assertion",
                signed,
            ]
        )
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0


class XmlCrypto:
    """Node's xml-crypto; RSA only."""

    def __init__(self) -> None:
        if shutil.which("node") is None or not (MODULES / "node_modules" / "xml-crypto").is_dir():
            pytest.skip("the Node.js package xml-crypto is not installed: make interop-node")

    def ask(self, **order: str) -> dict[str, object]:
        done = run(
            ["node", HERE / "node" / "signatures.cjs"],
            input=json.dumps(order),
            env={"PATH": os.environ["PATH"], "MODULES": str(MODULES)},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def sign(self, assertion: bytes, files: Files) -> bytes:
        said = self.ask(
            do="sign", xml=assertion.decode(), key=files.key.read_text(), cert=files.certificate.read_text()
        )
        return str(said["xml"]).encode()

    def verify(self, assertion: bytes, files: Files) -> bool:
        return bool(self.ask(do="verify", xml=assertion.decode(), cert=files.certificate.read_text())["holds"])


class OpenSaml:
    """Java: OpenSAML 3 over Apache Santuario."""

    def __init__(self) -> None:
        if shutil.which("java") is None or not (JAVA / "classes" / "Assertions.class").is_file():
            pytest.skip("the Java stack OpenSAML is not installed: make interop-java")

    def _run(self, *given: str | Path) -> str:
        done = run(["java", "-cp", f"{JAVA / 'classes'}:{JAVA / 'lib'}/*", "Assertions", *given])
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    def sign(self, assertion: bytes, files: Files) -> bytes:
        self._run("sign", files.put("plain.xml", assertion), files.key, files.certificate, files.folder / "out.xml")
        return (files.folder / "out.xml").read_bytes()

    def verify(self, assertion: bytes, files: Files) -> bool:
        said = self._run("verify", files.put("signed.xml", assertion), files.certificate)
        assert said in ("refused", "899900000011", "899900000022"), said
        return said != "refused"


STACKS: dict[str, type[Xmlsec1] | type[XmlCrypto] | type[OpenSaml]] = {
    "xmlsec1": Xmlsec1,
    "xml-crypto": XmlCrypto,
    "opensaml": OpenSaml,
}
KEYS = [(name, key) for name in STACKS for key in ("rsa", "p-256") if (name, key) != ("xml-crypto", "p-256")]
"""xml-crypto has no ECDSA."""


def _template(assertion: bytes, pair: KeyPair) -> bytes:
    """The assertion with an empty signature in it, for a program that fills it."""
    root = etree.fromstring(assertion)
    signature = etree.Element(f"{{{DS}}}Signature", nsmap={"ds": DS})
    info = etree.SubElement(signature, f"{{{DS}}}SignedInfo")
    etree.SubElement(info, f"{{{DS}}}CanonicalizationMethod", Algorithm=EXCLUSIVE)
    method = RSA_SHA256 if isinstance(pair.key, rsa.RSAPrivateKey) else ECDSA_SHA256
    etree.SubElement(info, f"{{{DS}}}SignatureMethod", Algorithm=method)
    reference = etree.SubElement(info, f"{{{DS}}}Reference", URI=f"#{root.get('ID')}")
    transforms = etree.SubElement(reference, f"{{{DS}}}Transforms")
    for algorithm in (ENVELOPED, EXCLUSIVE):
        etree.SubElement(transforms, f"{{{DS}}}Transform", Algorithm=algorithm)
    etree.SubElement(reference, f"{{{DS}}}DigestMethod", Algorithm=SHA256)
    etree.SubElement(reference, f"{{{DS}}}DigestValue")
    etree.SubElement(signature, f"{{{DS}}}SignatureValue")
    data = etree.SubElement(etree.SubElement(signature, f"{{{DS}}}KeyInfo"), f"{{{DS}}}X509Data")
    etree.SubElement(data, f"{{{DS}}}X509Certificate")
    root.insert(1, signature)
    return etree.tostring(root)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def kit(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(pki, tmp_path_factory.mktemp("foreign"))


def card_of(kit: Kit, key: str) -> Card:
    return kit.card if key == "rsa" else kit.other


def accepted(assertion: bytes, card: Card, pki: Pki) -> str:
    verifier = Verifier(kit_rule(), TrustStore.load(pki.trust))
    envelope = etree.fromstring(put(MESSAGE, vihf.security_header(assertion)))
    return verifier.authenticate(envelope=envelope, security=None, peer_certificate=card.authentication.der).identifier


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_assertion_signed_by_another_stack_is_accepted_here(
    name: str, key: str, kit: Kit, pki: Pki, tmp_path: Path
) -> None:
    """With the stack's own prefixes, order and lists of namespaces. Step: e, f, h"""
    stack, card = STACKS[name](), card_of(kit, key)
    unsigned = etree.tostring(kit.build(None, card))
    signed = stack.sign(unsigned, Files(tmp_path, card.signature, pki.trust))
    start = signed.index(b"<saml2:Assertion")
    assert accepted(signed[start:].rstrip(), card, pki) == card.identity.common_name


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_our_assertion_verifies_there(name: str, key: str, kit: Kit, pki: Pki, tmp_path: Path) -> None:
    """And no longer, once a letter of it is another. Step: f"""
    stack, card = STACKS[name](), card_of(kit, key)
    ours = kit.sign(kit.build(None, card), card.signature)
    files = Files(tmp_path, card.signature, pki.trust)
    assert stack.verify(ours, files)
    changed = ours.replace(b"10B0127189", b"10B0127188")
    assert changed != ours and not stack.verify(changed, files)


def test_node_saml_takes_our_assertion_for_its_own(kit: Kit, pki: Pki) -> None:
    """A service provider of SAML 2.0 reads our holder's name out of a response with our assertion in it. Step: f"""
    stack = XmlCrypto()
    if not (MODULES / "node_modules" / "@node-saml" / "node-saml").is_dir():
        pytest.skip("the Node.js package @node-saml/node-saml is not installed: make interop-node")
    pair = kit.card.signature
    root = kit.build(lifetime=timedelta(minutes=5), audiences=("urn:carnet:dmp",))
    ours = kit.sign(root).decode()
    order = {
        "do": "judge",
        "cert": pair.certificate.public_bytes(Encoding.PEM).decode(),
        "issuer": distinguished_name.write(pair.certificate.subject),
        "now": vihf.instant(datetime.now(UTC)),
    }
    said = stack.ask(**order, xml=ours)
    assert (said["holds"], said.get("name")) == (True, kit.card.identity.common_name), said
    assert stack.ask(**order, xml=ours.replace("10B0127189", "10B0127188"))["holds"] is False
