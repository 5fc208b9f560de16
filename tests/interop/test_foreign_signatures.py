"""Other houses' XML signature and XAdES software agrees with ours, on what we sign and on what it signs.

xmlsec (libxmlsec1) judges the XML signature of both forms; DSS, the European Commission's implementation, judges XAdES,
certificates and the digests of the documents, and signs manifests of ours that we then read. The two share no code.
DSS is installed by ``make interop-dss``.

Rule: R-174, R-175, R-179
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from guard.credentials import xades
from guard.credentials.cards import Card
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.xades_read import SignatureRefused, read
from repository.digests import mismatch
from tests.attack.test_signatures import BY_ANYBODY
from tests.signatures import child, ds, reference, spoiled, the, tree
from xds.namespaces import DS

HERE = Path(__file__).resolve().parent
JARS = Path(os.environ.get("CARNET_DSS", HERE.parents[1] / "build" / "interop-dss"))
"""Where ``make interop-dss`` puts DSS and our program around it."""
SET, FIRST, SECOND = "1.2.250.1.999.9.1", "1.2.250.1.999.9.2", "1.2.250.1.999.9.3"
CONTENT = {FIRST: b"<one/>", SECOND: b"\0two"}
PIN = "1234"
FORMS = {"french": xades.FRENCH, "ihe": xades.IHE}
KEYS = list(KeyKind)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module", params=KEYS)
def card(pki: Pki, request: pytest.FixtureRequest) -> Card:
    return pki.issue_person("899700000018", "ESSAI", "Anne", key=request.param)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> xades.Form:
    return FORMS[request.param]


def made(card: Card, form: xades.Form) -> bytes:
    documents = [xades.Signable(uid, hashlib.sha256(data).hexdigest()) for uid, data in CONTENT.items()]
    return xades.write(card.signature, form, submission_unique_id=SET, documents=documents)


def ours(data: bytes) -> bool:
    """Whether we accept it: form, digests, value, and the digests of both documents."""
    try:
        signature = read(data)
        signature.verify()
    except SignatureRefused:
        return False
    named = {r.uri: r for r in signature.documents}
    return len(named) == 2 and all(
        f"urn:oid:{uid}" in named
        and not mismatch(named[f"urn:oid:{uid}"], len(content), lambda content=content: iter((content,)),  # type: ignore[misc]
                         lambda content=content: hashlib.sha256(content).hexdigest())  # type: ignore[misc]
        for uid, content in CONTENT.items()
    )


# -- xmlsec -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def documents() -> Iterator[None]:
    """xmlsec resolves every reference of a manifest: these are the documents, and the set has no bytes."""
    xmlsec.cleanup_callbacks()
    xmlsec.register_callbacks(
        lambda uri: uri.startswith(b"urn:oid:"), lambda uri: BytesIO(CONTENT.get(uri.decode()[8:], b"")),
        lambda file, into: file.readinto(into), lambda file: file.close(),
    )
    yield
    xmlsec.cleanup_callbacks()
    xmlsec.register_default_callbacks()


def by_xmlsec(data: bytes, card: Card) -> bool:
    """Whether libxmlsec1 accepts the signature with the card's key. What it finds of documents it does not tell."""
    root = tree(data)
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(
        card.signature.certificate.public_bytes(Encoding.PEM), xmlsec.constants.KeyDataFormatCertPem, None
    )
    try:
        context.verify(root)
    except xmlsec.Error:
        return False
    return True


@pytest.mark.usefixtures("documents")
def test_xmlsec_agrees_on_what_we_sign(card: Card, form: xades.Form) -> None:
    """Value, canonical forms and digests of manifest and properties."""
    assert by_xmlsec(made(card, form), card)


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("name", BY_ANYBODY)
def test_xmlsec_refuses_what_we_refuse(card: Card, name: str) -> None:
    """The same changes to the same documents."""
    data = spoiled(made(card, xades.FRENCH), BY_ANYBODY[name][0])
    assert (by_xmlsec(data, card), ours(data)) == (False, False)


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("algorithm", [
    xades.C14N_1_0, xades.C14N_1_0 + "#WithComments", xades.C14N_1_1, xades.C14N_1_1 + "#WithComments",
    xades.EXCLUSIVE, xades.EXCLUSIVE + "WithComments",
])
def test_we_agree_on_what_xmlsec_signs(card: Card, form: xades.Form, algorithm: str) -> None:
    """Under every canonicalization that is accepted, in SignedInfo and as a transform: so C14N 1.0 and 1.1 give one
    result for this form. xmlsec computes every digest, those of the documents too, and the value."""
    root = tree(made(card, form))
    info, manifest = child(root, "SignedInfo"), the(root, "Manifest")
    child(info, "CanonicalizationMethod").set("Algorithm", algorithm)
    manifest.remove(reference(root, f"urn:oid:{SET}"))  # it would get a digest
    for each in root.iter(ds("Reference")):
        child(each, "DigestValue").text = None
        if each.getparent() is info:
            transforms = etree.Element(ds("Transforms"))
            etree.SubElement(transforms, ds("Transform")).set("Algorithm", algorithm)
            each.insert(0, transforms)
    child(root, "SignatureValue").text = None
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    key = card.signature.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context.key = xmlsec.Key.from_memory(key, xmlsec.constants.KeyDataFormatPem, None)
    context.sign(root)
    data = etree.tostring(root)
    assert ours(data)

    def other(root: etree._Element) -> None:
        child(reference(root, f"urn:oid:{FIRST}"), "DigestValue").text = base64.b64encode(b"\1" * 32).decode()

    assert not ours(spoiled(data, other))


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("algorithm", [xades.C14N_1_0, xades.C14N_1_0 + "#WithComments", xades.C14N_1_1])
def test_canonical_documents_are_those_of_xmlsec(
    card: Card, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """French software digests the canonical form of a CDA document: ours is the same, comments or not."""
    text = (
        b'<?xml version="1.0"?>\n<?pi a?>\n<a xmlns:b="urn:b" z="1" a="&lt;2">'
        b'<!-- n\xc3\xb4te --><b:c xml:lang="fr"/>\r\n</a>\n'
    )
    monkeypatch.setitem(CONTENT, FIRST, text)
    root = tree(made(card, xades.FRENCH))
    the(root, "Manifest").remove(reference(root, f"urn:oid:{SET}"))
    transforms = etree.Element(ds("Transforms"))
    etree.SubElement(transforms, ds("Transform")).set("Algorithm", algorithm)
    reference(root, f"urn:oid:{FIRST}").insert(0, transforms)
    for each in root.iter(ds("Reference")):
        child(each, "DigestValue").text = None
    child(root, "SignatureValue").text = None
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    key = card.signature.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context.key = xmlsec.Key.from_memory(key, xmlsec.constants.KeyDataFormatPem, None)
    context.sign(root)
    assert ours(etree.tostring(root))


# -- DSS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def dss() -> Callable[..., str]:
    """Our program around DSS; what it prints."""
    java = shutil.which("java")
    if java is None or not (JARS / "Dss.class").is_file():
        pytest.skip("DSS is not installed: make interop-dss")

    def run(*arguments: object, given: str = "") -> str:
        command = [java, "-cp", f"{JARS}:{JARS}/*", "Dss", *(str(a) for a in arguments)]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def judged(dss: Callable[..., str], pki: Pki, data: bytes, folder: Path) -> dict[str, Any]:
    pki.write_crls()  # DSS takes no list that is older than the certificate
    signature = folder / "signature.xml"
    signature.write_bytes(data)
    named = []
    for number, (uid, content) in enumerate(CONTENT.items()):
        file = folder / f"{number}.bin"
        file.write_bytes(content)
        named.append(f"urn:oid:{uid}={file}")
    said: dict[str, Any] = json.loads(dss("verify", pki.folder / "trust", signature, *named))
    return said


def test_dss_agrees_on_what_we_sign(
    dss: Callable[..., str], pki: Pki, card: Card, form: xades.Form, tmp_path: Path
) -> None:
    """A XAdES baseline B signature of a trusted certificate, in force, over these very documents."""
    said = judged(dss, pki, made(card, form), tmp_path)
    assert (said["intact"], said["valid"], said["certificate"], said["trusted"]) == (True, True, True, True), said
    assert said["format"] == "XAdES-BASELINE-B"
    assert said["indication"] == "TOTAL_PASSED", said
    found = {(r["type"], r["uri"]): r["intact"] for r in said["references"]}
    assert found.pop(("MANIFEST_ENTRY", f"urn:oid:{SET}")) is False  # a set has no bytes
    assert len(found) == 4 and all(found.values()), said


@pytest.mark.parametrize("name", BY_ANYBODY)
def test_dss_refuses_what_we_refuse(dss: Callable[..., str], pki: Pki, name: str, tmp_path: Path) -> None:
    card = pki.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC)
    data = spoiled(made(card, xades.FRENCH), BY_ANYBODY[name][0])
    assert judged(dss, pki, data, tmp_path)["indication"] == "TOTAL_FAILED"
    assert not ours(data)


def signed_by_dss(dss: Callable[..., str], card: Card, folder: Path) -> bytes:
    """A manifest of ours, with the set and both documents, under a signature that DSS makes with the card's key."""
    card.save(folder / "card.p12", PIN)
    root = tree(made(card, xades.IHE))
    manifest = folder / "manifest.xml"
    prefixed = re.sub(rb"<(/?)([A-Z])", rb"<\1ds:\2", xades.canonical(the(root, "Manifest")))
    manifest.write_bytes(prefixed.replace(b"xmlns=", b"xmlns:ds="))  # DSS gives it that prefix after hashing it
    out = folder / "out.xml"
    dss("sign", folder / "card.sign.p12", manifest, out, given=PIN)
    return out.read_bytes()


def test_we_agree_on_what_dss_signs(dss: Callable[..., str], card: Card, tmp_path: Path) -> None:
    """Its own choice of canonicalization, transforms and properties; and a change of one letter is seen by both."""
    data = signed_by_dss(dss, card, tmp_path)
    signature = read(data)
    signature.verify()
    assert signature.set_uri == f"urn:oid:{SET}" and ours(data)
    assert signature.certificate == card.signature.der

    def other(root: etree._Element) -> None:
        child(reference(root, f"urn:oid:{FIRST}"), "DigestValue").text = base64.b64encode(b"\1" * 32).decode()

    assert not ours(spoiled(data, other))
    assert DS.encode() in data
