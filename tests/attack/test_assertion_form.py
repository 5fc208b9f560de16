"""The checks on the place and the signature of an assertion, each asked alone.

The schema refuses most of these forms before, and a library that verifies as it should never gives the others: a check
that stands behind another must hold without it.

Step: b, c, e, f, g
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree

from conformance.negative_kit import Kit, saml
from guard.credentials import signature, token
from guard.credentials.certificates import TrustStore, Use
from guard.credentials.pki import Pki
from tests.signatures import child, ds, the
from xds.namespaces import SAML, SOAP12, WSSE
from xds.wire.faults import (
    FAILED_AUTHENTICATION,
    FAILED_CHECK,
    INVALID_SECURITY,
    UNSUPPORTED_ALGORITHM,
    UNSUPPORTED_SECURITY_TOKEN,
    SoapFault,
)

EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def kit(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(pki, tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def good(kit: Kit) -> bytes:
    return kit.good()


def inside(name: str, *, child_name: str = "Other", times: int = 1) -> Callable[[etree._Element], None]:
    """Something more inside an element of the signature."""
    def spoil(root: etree._Element) -> None:
        for _ in range(times):
            etree.SubElement(next(root.iter(ds(name))), child_name)

    return spoil


def renamed(name: str) -> Callable[[etree._Element], None]:
    def spoil(root: etree._Element) -> None:
        next(root.iter(ds(name))).tag = ds("Other")

    return spoil


def last_transform(root: etree._Element) -> None:
    etree.SubElement(list(root.iter(ds("Transform")))[-1], "Other")


def prefixes_twice(root: etree._Element) -> None:
    for _ in range(2):
        etree.SubElement(the(root, "CanonicalizationMethod"), f"{{{EXCLUSIVE}}}InclusiveNamespaces")


FORMS: dict[str, tuple[Callable[[etree._Element], None], Any]] = {
    "an object": (inside("Signature", child_name=ds("Object")), FAILED_CHECK),
    "a second reference": (inside("SignedInfo", child_name=ds("Reference")), FAILED_CHECK),
    "a reference to nothing": (lambda root: the(root, "Reference").attrib.pop("URI"), FAILED_CHECK),
    "more in the reference": (inside("Reference"), FAILED_CHECK),
    "a digest that is none": (renamed("DigestValue"), FAILED_CHECK),
    "a transform that is none": (renamed("Transform"), FAILED_CHECK),
    "a third transform": (inside("Transforms", child_name=ds("Transform")), UNSUPPORTED_ALGORITHM),
    "another canonicalization": (
        lambda root: the(root, "CanonicalizationMethod").set("Algorithm", "urn:x"), UNSUPPORTED_ALGORITHM,
    ),
    "another method": (lambda root: the(root, "SignatureMethod").set("Algorithm", "urn:x"), UNSUPPORTED_ALGORITHM),
    "another digest": (lambda root: the(root, "DigestMethod").set("Algorithm", "urn:x"), UNSUPPORTED_ALGORITHM),
    "parameters of the first transform": (inside("Transform"), UNSUPPORTED_ALGORITHM),
    "parameters of the second transform": (last_transform, UNSUPPORTED_ALGORITHM),
    "parameters of the method": (inside("SignatureMethod"), UNSUPPORTED_ALGORITHM),
    "parameters of the digest": (inside("DigestMethod"), UNSUPPORTED_ALGORITHM),
    "parameters of the canonicalization": (inside("CanonicalizationMethod"), UNSUPPORTED_ALGORITHM),
    "two lists of prefixes": (prefixes_twice, UNSUPPORTED_ALGORITHM),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_refused_without_the_schema(good: bytes, name: str) -> None:
    """Step: e"""
    root = etree.fromstring(good)
    identifier = str(root.get("ID"))
    signature.check_form(child(root, "Signature"), identifier)
    spoil, code = FORMS[name]
    spoil(root)
    with pytest.raises(SoapFault) as fault:
        signature.check_form(child(root, "Signature"), identifier)
    assert (fault.value.step, fault.value.subcode) == ("e", code)


def verify(root: etree._Element, pki: Pki) -> Any:
    return signature.verify(root, TrustStore.load(pki.trust), Use.VIHF_SIGNATURE, datetime.now(UTC))


def test_a_signature_elsewhere_in_the_assertion_is_none(good: bytes, pki: Pki) -> None:
    """Step: e"""
    root = etree.fromstring(good)
    assert verify(root, pki).root.get("ID") == root.get("ID")
    root.find(saml("Subject")).append(child(root, "Signature"))  # type: ignore[union-attr]
    with pytest.raises(SoapFault) as fault:
        verify(root, pki)
    assert (fault.value.step, fault.value.subcode) == ("e", FAILED_CHECK)
    assert "not directly in the assertion" in fault.value.detail


@pytest.mark.parametrize("wrong", ["two results", "nothing", "another element", "another assertion"])
def test_what_a_library_says_was_signed_must_be_the_assertion(
    good: bytes, pki: Pki, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step: f"""
    root = etree.fromstring(good)
    same, other = etree.fromstring(good), etree.fromstring(good)
    other.set("ID", "_other")
    element = etree.Element("Assertion", {"ID": str(root.get("ID"))})
    answers: dict[str, Any] = {
        "two results": [SimpleNamespace(signed_xml=same, signed_data=good)] * 2,
        "nothing": SimpleNamespace(signed_xml=None, signed_data=good),
        "another element": SimpleNamespace(signed_xml=element, signed_data=good),
        "another assertion": SimpleNamespace(signed_xml=other, signed_data=good),
    }
    monkeypatch.setattr(signature.XMLVerifier, "verify", lambda *_, **__: answers[wrong])
    with pytest.raises(SoapFault) as fault:
        verify(root, pki)
    assert (fault.value.step, fault.value.subcode) == ("f", FAILED_CHECK)
    assert fault.value.detail == "what was signed is not the assertion"


def test_a_certificate_that_is_no_base64_is_none(good: bytes, pki: Pki) -> None:
    """Step: g"""
    root = etree.fromstring(good)
    the(root, "X509Certificate").text = "!!!"
    with pytest.raises(SoapFault) as fault:
        verify(root, pki)
    assert (fault.value.step, fault.value.subcode) == ("g", FAILED_AUTHENTICATION)


# -- where the assertion stands ----------------------------------------------------------------------------------------


def enveloped(before: str, after: str, attributes: str = "") -> etree._Element:
    inside = f'<w:Security xmlns:w="{WSSE}" {attributes}><a:Assertion xmlns:a="{SAML}" ID="_1"/></w:Security>'
    return etree.fromstring(f'<s:Envelope xmlns:s="{SOAP12}">{before}{inside}{after}</s:Envelope>')


@pytest.mark.parametrize(("before", "after"), [
    ("<s:Header><s:Other>", "</s:Other></s:Header>"), ("<s:Body>", "</s:Body>"), ("<Header>", "</Header>"),
    ("<s:Body><s:Header>", "</s:Header></s:Body>"), ("", ""),
])
def test_a_security_header_is_a_header(before: str, after: str) -> None:
    """Step: b"""
    assert token.locate(enveloped("<s:Header>", "</s:Header>"), None).get("ID") == "_1"
    with pytest.raises(SoapFault) as fault:
        token.locate(enveloped(before, after), None)
    assert (fault.value.step, fault.value.detail) == ("b", "wsse:Security is not a header block of the message")


def test_a_security_header_that_is_the_message_is_none() -> None:
    """Step: b"""
    root = etree.fromstring(etree.tostring(enveloped("", "")[0]))
    with pytest.raises(SoapFault) as fault:
        token.locate(root, None)
    assert (fault.value.step, fault.value.subcode) == ("b", INVALID_SECURITY)


def test_two_readers_see_one_header() -> None:
    """What the wire layer has found is what is read here. Step: b"""
    envelope = enveloped("<s:Header>", "</s:Header>")
    assert token.locate(envelope, envelope[0][0]).get("ID") == "_1"
    with pytest.raises(SoapFault) as fault:
        token.locate(envelope, etree.fromstring(etree.tostring(envelope[0][0])))
    assert (fault.value.step, fault.value.detail) == ("b", "two readings of the security header")


def test_a_header_for_another_role_is_not_ours() -> None:
    """Step: b"""
    role = "http://www.w3.org/2003/05/soap-envelope/role/"
    assert token.locate(enveloped("<s:Header>", "</s:Header>", f's:role="{role}next"'), None) is not None
    for other in (f"{role}none", "urn:other"):
        with pytest.raises(SoapFault) as fault:
            token.locate(enveloped("<s:Header>", "</s:Header>", f's:role="{other}"'), None)
        assert (fault.value.step, fault.value.detail) == ("b", "wsse:Security is addressed to another role")


@pytest.mark.parametrize("other", [
    f'<a:EncryptedAssertion xmlns:a="{SAML}"/>', f'<e:EncryptedData xmlns:e="{token.XENC}"/>',
    f'<o:Assertion xmlns:o="{token.SAML1}"/>',
])
def test_a_token_of_another_kind_is_refused_anywhere_in_the_message(other: str) -> None:
    """Beside a good assertion, in the body: nobody shall read the one and believe the other. Step: c"""
    with pytest.raises(SoapFault) as fault:
        token.locate(enveloped("<s:Header>", f"</s:Header><s:Body>{other}</s:Body>"), None)
    assert (fault.value.step, fault.value.subcode) == ("c", UNSUPPORTED_SECURITY_TOKEN)
