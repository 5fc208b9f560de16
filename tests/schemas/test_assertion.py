"""The schema of assertions takes a signed VIHF token as it is and refuses every spoilt structure."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree
from signxml import XMLSigner

from xds import namespaces as ns
from xds.ebxml import schema

SAML = f"{{{ns.SAML}}}"
DS = f"{{{ns.DS}}}"
XML = f"""<saml:Assertion xmlns:saml="{ns.SAML}" xmlns:ds="{ns.DS}" xmlns:xs="http://www.w3.org/2001/XMLSchema"
    xmlns:xsi="{ns.XSI}" ID="_a1" IssueInstant="2026-04-12T10:15:00.000Z" Version="2.0">
  <saml:Issuer Format="urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName">CN=899700000017,O=TEST,C=FR</saml:Issuer>
  <ds:Signature Id="placeholder"/>
  <saml:Subject><saml:NameID>899700000017</saml:NameID></saml:Subject>
  <saml:Conditions NotBefore="2026-04-12T10:15:00Z" NotOnOrAfter="2026-04-12T11:15:00Z">
    <saml:AudienceRestriction><saml:Audience>https://carnet.example</saml:Audience></saml:AudienceRestriction>
    <saml:OneTimeUse/>
  </saml:Conditions>
  <saml:AuthnStatement AuthnInstant="2026-04-12T10:00:00Z" SessionIndex="1">
    <saml:AuthnContext>
      <saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:SmartcardPKI</saml:AuthnContextClassRef>
      <saml:AuthnContextDecl xsi:type="xs:string">APP_BROWSER_AUTH</saml:AuthnContextDecl>
    </saml:AuthnContext>
  </saml:AuthnStatement>
  <saml:AttributeStatement>
    <saml:Attribute Name="VIHF_Version"><saml:AttributeValue xsi:type="xs:string">4.0</saml:AttributeValue></saml:Attribute>
    <saml:Attribute Name="Authentification_mode"><saml:AttributeValue>DIRECTE</saml:AttributeValue></saml:Attribute>
    <saml:Attribute Name="urn:oasis:names:tc:xacml:2.0:subject:role">
      <saml:AttributeValue><Role xmlns="urn:hl7-org:v3" xsi:type="CE" code="10" codeSystem="1.2.250.1.71.1.2.7"/></saml:AttributeValue>
      <saml:AttributeValue><Role xmlns="urn:hl7-org:v3" xsi:type="CE" code="SM26" codeSystem="1.2.250.1.71.4.2.5"/></saml:AttributeValue>
    </saml:Attribute>
    <saml:Attribute Name="urn:ihe:iti:bppc:2007:docid" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">
      <saml:AttributeValue xsi:type="xs:anyURI">urn:oid:1.2.3</saml:AttributeValue>
    </saml:Attribute>
  </saml:AttributeStatement>
</saml:Assertion>"""  # noqa: E501
Element = etree._Element


@pytest.fixture(scope="module")
def signed() -> Element:
    """A VIHF-like assertion signed by signxml with a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "899700000017")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=3650)).sign(key, hashes.SHA256())
    )
    signer = XMLSigner(signature_algorithm="ecdsa-sha256", c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#")
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return signer.sign(etree.fromstring(XML), key=key, cert=pem, reference_uri="#_a1", id_attribute="ID")


def test_signed_assertion_is_accepted(signed: Element) -> None:
    """Issuer, Signature, Subject, Conditions, AuthnStatement, AttributeStatement, with HL7 types in the values.

    Step: d
    """
    assert signed[1].tag == f"{DS}Signature" and len(signed[1]) == 3
    assert schema.validate_assertion(signed) == []


def test_assertion_is_accepted_where_it_stands_and_more_than_once(signed: Element) -> None:
    """In an envelope that declares its prefixes; validating it leaves no trace and registers no identifier."""
    text = etree.tostring(signed).decode()
    envelope = etree.fromstring(f'<s:Envelope xmlns:s="{ns.SOAP12}"><s:Header>{text}{text}</s:Header></s:Envelope>')
    before = etree.tostring(envelope)
    for _ in range(3):
        assert [schema.validate_assertion(assertion) for assertion in envelope[0]] == [[], []]
    assert etree.tostring(envelope) == before


@pytest.mark.parametrize("tag", ["Conditions", "AuthnStatement", "AttributeStatement", f"{DS}Signature", "OneTimeUse"])
def test_parts_that_later_steps_judge_may_be_absent(signed: Element, tag: str) -> None:
    """An unsigned token, or one without statement, is refused by its own step with its own fault, not here."""
    assertion = copy.deepcopy(signed)
    part = next(assertion.iter(tag if "}" in tag else SAML + tag))
    part.getparent().remove(part)
    assert schema.validate_assertion(assertion) == []


def test_holder_of_key_confirmation_is_accepted(signed: Element) -> None:
    """Bearer and holder-of-key confirmations, the latter with a type and a key."""
    assertion = copy.deepcopy(signed)
    subject = assertion.find(f"{SAML}Subject")
    for text in (
        f'<SubjectConfirmation xmlns="{ns.SAML}" Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
        '<SubjectConfirmationData NotOnOrAfter="2026-04-12T11:15:00Z" Recipient="https://carnet.example"/>'
        "</SubjectConfirmation>",
        f'<saml:SubjectConfirmation xmlns:saml="{ns.SAML}" Method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key">'
        f'<saml:SubjectConfirmationData xmlns:xsi="{ns.XSI}" xsi:type="saml:KeyInfoConfirmationDataType">'
        f'<KeyInfo xmlns="{ns.DS}"><KeyValue><RSAKeyValue><Modulus>AQAB</Modulus><Exponent>AQAB</Exponent>'
        "</RSAKeyValue></KeyValue></KeyInfo></saml:SubjectConfirmationData></saml:SubjectConfirmation>",
    ):
        subject.append(etree.fromstring(text))
    assert schema.validate_assertion(assertion) == []


def _named(tag: str) -> Callable[[Element], Element]:
    return lambda assertion: next(assertion.iter(tag if "}" in tag else SAML + tag))


def _drop(tag: str) -> Callable[[Element], None]:
    def spoil(assertion: Element) -> None:
        element = _named(tag)(assertion)
        element.getparent().remove(element)

    return spoil


def _twice(tag: str) -> Callable[[Element], None]:
    def spoil(assertion: Element) -> None:
        element = _named(tag)(assertion)
        element.addnext(copy.deepcopy(element))

    return spoil


def _without(tag: str, attribute: str) -> Callable[[Element], None]:
    return lambda assertion: _named(tag)(assertion).attrib.pop(attribute) and None


def _with(tag: str, attribute: str, value: str) -> Callable[[Element], None]:
    return lambda assertion: _named(tag)(assertion).set(attribute, value)


def _inside(tag: str, text: str) -> Callable[[Element], None]:
    return lambda assertion: _named(tag)(assertion).append(etree.fromstring(text))


def _text(tag: str, text: str) -> Callable[[Element], None]:
    return lambda assertion: setattr(_named(tag)(assertion), "text", text)


def _last(tag: str) -> Callable[[Element], None]:
    def spoil(assertion: Element) -> None:
        element = _named(tag)(assertion)
        element.getparent().append(element)

    return spoil


ADVICE = f'<Advice xmlns="{ns.SAML}"><AssertionIDRef>_b</AssertionIDRef></Advice>'
NESTED = f'<Assertion xmlns="{ns.SAML}" Version="2.0" ID="_b" IssueInstant="2026-04-12T10:15:00Z"><Issuer/></Assertion>'
SPOILS = {
    "no issuer": _drop("Issuer"),
    "two issuers": _twice("Issuer"),
    "no subject": _drop("Subject"),
    "two subjects": _twice("Subject"),
    "no name": _drop("NameID"),
    "two names": _twice("NameID"),
    "element in the name": _inside("NameID", "<b/>"),
    "no identifier": _without("Assertion", "ID"),
    "identifier with a space": _with("Assertion", "ID", "a b"),
    "identifier from a digit": _with("Assertion", "ID", "1a"),
    "no version": _without("Assertion", "Version"),
    "no issue instant": _without("Assertion", "IssueInstant"),
    "issue instant is no date": _with("Assertion", "IssueInstant", "yesterday"),
    "unknown attribute": _with("Assertion", "Trusted", "true"),
    "signature at the end": _last(f"{DS}Signature"),
    "two signatures": _twice(f"{DS}Signature"),
    "issuer at the end": _last("Issuer"),
    "conditions at the end": _last("Conditions"),
    "two conditions": _twice("Conditions"),
    "end of validity is no date": _with("Conditions", "NotOnOrAfter", "never"),
    "restriction without audience": _drop("Audience"),
    "unknown condition": _inside("Conditions", f'<Condition xmlns="{ns.SAML}"/>'),
    "foreign condition": _inside("Conditions", '<DelegationRestriction xmlns="urn:x"/>'),
    "no authentication instant": _without("AuthnStatement", "AuthnInstant"),
    "no authentication context": _drop("AuthnContext"),
    "two authentication contexts": _twice("AuthnContext"),
    "empty authentication context": lambda a: _named("AuthnContext")(a).clear(),
    "two context classes": _twice("AuthnContextClassRef"),
    "attribute without name": _without("Attribute", "Name"),
    "value outside an attribute": _inside("AttributeStatement", f'<AttributeValue xmlns="{ns.SAML}"/>'),
    "attribute inside an attribute": _inside("Attribute", f'<Attribute xmlns="{ns.SAML}" Name="n"/>'),
    "foreign element in an attribute": _inside("Attribute", '<AttributeValue xmlns="urn:x">1</AttributeValue>'),
    "text in an attribute": _text("Attribute", "DIRECTE"),
    "text in the statement": _text("AttributeStatement", "x"),
    "advice": _inside("Assertion", ADVICE),
    "nested assertion": _inside("Assertion", NESTED),
    "assertion in an attribute": _inside("Attribute", NESTED),
    "assertion in the subject": _inside("Subject", NESTED),
    "decision": _inside("Assertion", f'<AuthzDecisionStatement xmlns="{ns.SAML}" Resource="r" Decision="Permit"/>'),
    "encrypted attribute": _inside("AttributeStatement", f'<EncryptedAttribute xmlns="{ns.SAML}"/>'),
    "confirmation without method": _inside("Subject", f'<SubjectConfirmation xmlns="{ns.SAML}"/>'),
    "object in the signature": _inside(f"{DS}Signature", f'<Object xmlns="{ns.DS}">{NESTED}</Object>'),
    "no signed info": _drop(f"{DS}SignedInfo"),
    "no signature value": _drop(f"{DS}SignatureValue"),
    "no reference": _drop(f"{DS}Reference"),
    "no digest": _drop(f"{DS}DigestValue"),
    "digest is no base64": _text(f"{DS}DigestValue", "A"),
    "two digests": _twice(f"{DS}DigestValue"),
    "no digest method": _drop(f"{DS}DigestMethod"),
    "method without algorithm": _without(f"{DS}SignatureMethod", "Algorithm"),
    "no canonicalization": _drop(f"{DS}CanonicalizationMethod"),
    "empty transforms": lambda a: _named(f"{DS}Transforms")(a).clear(),
    "XPath transform": _inside(f"{DS}Transform", f'<XPath xmlns="{ns.DS}">true()</XPath>'),
    "two key infos": _twice(f"{DS}KeyInfo"),
    "empty key info": lambda a: _named(f"{DS}KeyInfo")(a).clear(),
    "retrieval of the key": _inside(f"{DS}KeyInfo", f'<RetrievalMethod xmlns="{ns.DS}" URI="http://attacker.invalid/k"/>'),
    "empty X509 data": lambda a: _named(f"{DS}X509Data")(a).clear(),
    "other namespace": lambda a: setattr(a, "tag", "{urn:oasis:names:tc:SAML:1.0:assertion}Assertion"),
    "other element": lambda a: setattr(a, "tag", f"{SAML}EncryptedAssertion"),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
def test_spoilt_assertion_is_refused(signed: Element, spoil: Callable[[Element], None]) -> None:
    """One change of structure, one refusal that says where, without values of the token.

    Step: d
    """
    assertion = copy.deepcopy(signed)
    spoil(assertion)
    problems = schema.validate_assertion(assertion)
    assert problems
    assert not any("899700000017" in problem or "DIRECTE" in problem for problem in problems)


def test_an_assertion_is_not_a_message(signed: Element) -> None:
    """Neither validator takes what is the other's."""
    assert schema.validate(signed)
    assert schema.validate_assertion(etree.fromstring(f'<RegistryObjectList xmlns="{ns.RIM}"/>')) == [
        "the element is not a SAML 2.0 Assertion"
    ]
