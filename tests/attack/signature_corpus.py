"""Forms of signature that a careless verifier follows where they lead; ``key_corpus`` has those of the key.

Sources: W3C "XML Signature Best Practices" (XSLT, XPath, retrieval, many references, HMAC truncation); CVE-2009-0217
(HMACOutputLength); CVE-2022-21449 (ECDSA of zeros); CVE-2025-29774 and 29775 (several SignedInfo, a comment in
DigestValue); CVE-2025-48994 (HMAC where a key pair was meant); RFC 6931 for the names of algorithms.

Unless it says otherwise the arithmetic of each signature holds: the form alone must refuse it (step e, or d where the
schema knows no such thing), before a key is used.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric import utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from conformance.hand_signatures import (
    ECDSA_SHA256,
    ENVELOPED,
    EXCLUSIVE,
    HMAC_SHA256,
    INCLUSIVE,
    MD5,
    NONE,
    RSA_MD5,
    RSA_PSS,
    RSA_SHA1,
    SHA1,
    Form,
    certificate_info,
    sign,
)
from conformance.negative_kit import Kit, parse
from conformance.spoiled_assertions import after, by, handmade, signature_part
from guard.credentials.cards import Card
from tests.attack.attack import Attack, in_header
from xds.namespaces import DS

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256."""
_C14N11 = "http://www.w3.org/2006/12/xml-c14n11"
Make = Callable[[Kit], bytes]


def ds(name: str) -> str:
    return f"{{{DS}}}{name}"


def _shaped(shape: Callable[[etree._Element], object]) -> Make:
    return handmade(Form(shape=shape))


def _reference(info: etree._Element) -> etree._Element:
    return info[2]


def _uri(value: str | None) -> Make:
    def shape(info: etree._Element) -> None:
        if value is None:
            del _reference(info).attrib["URI"]
        else:
            _reference(info).set("URI", value.replace("ID", _reference(info).get("URI", "")[1:]))

    return _shaped(shape)


def _transforms(*algorithms: str) -> Make:
    return handmade(Form(transforms=algorithms))


def _references() -> Iterator[tuple[str, str, Make]]:
    for name, value in (
        ("none", None),
        ("xpointer_root", "#xpointer(/)"),
        ("xpointer_id", "#xpointer(id('ID'))"),
        ("xpointer_other", "#xmlns(a=urn:x)xpointer(//a:b)"),
        ("http", "http://attacker.invalid/x"),
        ("file", "file:///etc/hostname"),
        ("cid", "cid:document@x"),
        ("bare", "ID"),
        ("space", "#ID "),
        ("percent", "#%5FID"),
        ("fragment", "http://localhost/#ID"),
    ):
        yield f"reference_{name}", f"Reference with URI {value!r}", _uri(value)
    bad = ENVELOPED, EXCLUSIVE
    yield "transforms_swapped", "canonicalised before the signature is taken out", _transforms(EXCLUSIVE, ENVELOPED)
    for name, algorithm in (
        ("xslt", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
        ("base64", f"{DS}base64"),
        ("xpath2", "http://www.w3.org/2002/06/xmldsig-filter2"),
        ("c14n11", _C14N11),
        ("inclusive", INCLUSIVE),
        ("decrypt", "http://www.w3.org/2002/07/decrypt#XML"),
        ("unknown", "urn:x"),
        ("token", "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform"),
    ):
        yield f"transform_{name}", "a transform that may change what is digested", _transforms(*bad, algorithm)
        yield f"transform_{name}_first", "the same before the others", _transforms(algorithm, *bad)
    yield "enveloped_twice", "two signatures taken out", _transforms(ENVELOPED, *bad)
    yield "only_exclusive", "the signature stays in what is digested", _transforms(EXCLUSIVE)
    yield "no_transforms", "Reference without Transforms", _shaped(lambda info: _reference(info).remove(info[2][0]))
    yield (
        "xpath_parameter",
        "an XPath filter as parameter of the enveloped transform",
        _shaped(lambda info: etree.SubElement(info[2][0][0], "{urn:x}XPath")),
    )
    yield (
        "xslt_parameter",
        "a stylesheet as parameter of the canonicalisation",
        _shaped(lambda info: etree.SubElement(info[2][0][1], "{http://www.w3.org/1999/XSL/Transform}stylesheet")),
    )
    yield (
        "inclusive_twice",
        "two lists of inclusive prefixes",
        _shaped(lambda info: [etree.SubElement(info[2][0][1], f"{{{EXCLUSIVE}}}InclusiveNamespaces") for _ in "ab"]),
    )
    yield "second_reference", "one good reference, one to something else", _shaped(_second_reference)


def _second_reference(info: etree._Element) -> None:
    other = etree.fromstring(etree.tostring(_reference(info)))
    other.set("URI", "")
    info.append(other)


def _algorithms() -> Iterator[tuple[str, str, Make]]:
    more = "http://www.w3.org/2001/04/xmldsig-more#"
    for name, method in (("rsa_md5", RSA_MD5), ("rsa_sha1", RSA_SHA1), ("rsa_pss", RSA_PSS), ("none", NONE)):
        yield f"method_{name}", "a weak method, one that is not ours, or none", handmade(Form(method=method))
    for name, method in (
        ("empty", ""),
        ("dsa_sha1", f"{DS}dsa-sha1"),
        ("rsa_sha224", f"{more}rsa-sha224"),
        ("ecdsa_sha1", f"{more}ecdsa-sha1"),
        ("space", f" {more}rsa-sha256"),
        ("case", f"{more}RSA-SHA256"),
        ("hmac_sha1", f"{DS}hmac-sha1"),
    ):
        yield (
            f"method_{name}",
            f"the right signature, called {method!r}",
            _shaped(lambda info, method=method: info[1].set("Algorithm", method)),
        )
    for name, digest in (("sha1", SHA1), ("md5", MD5), ("unknown", "urn:x"), ("empty", "")):
        yield f"digest_{name}", "a weak digest, or none", handmade(Form(digest=digest))
    for name, secret in (
        ("public_key_pem", lambda kit: _public(kit, Encoding.PEM)),
        ("public_key", lambda kit: _public(kit, Encoding.DER)),
        ("certificate", lambda kit: kit.card.signature.der),
        ("nothing", lambda kit: b""),
    ):
        yield f"hmac_{name}", "HMAC under what everybody has", _hmac(secret)
    yield "hmac_short", "CVE-2009-0217: HMAC of no length", _shaped(_hmac_length)
    yield (
        "method_parameter",
        "parameters of the method",
        _shaped(lambda info: etree.SubElement(info[1], "{urn:x}Params")),
    )
    yield (
        "digest_parameter",
        "parameters of the digest",
        _shaped(lambda info: etree.SubElement(info[2][1], "{urn:x}Params")),
    )
    for name, canonicalization in (
        ("inclusive", INCLUSIVE),
        ("comments", f"{EXCLUSIVE}WithComments"),
        ("c14n11", _C14N11),
        ("none", "urn:x"),
    ):
        yield (
            f"signed_info_{name}",
            "SignedInfo made canonical in another way",
            handmade(Form(canonicalization=canonicalization)),
        )


def _hmac(secret: Callable[[Kit], bytes]) -> Make:
    return lambda kit: handmade(Form(method=HMAC_SHA256, secret=secret(kit)))(kit)


def _public(kit: Kit, encoding: Encoding) -> bytes:
    return kit.card.signature.certificate.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def _hmac_length(info: etree._Element) -> None:
    info[1].set("Algorithm", HMAC_SHA256)
    etree.SubElement(info[1], "{urn:x}HMACOutputLength").text = "0"


# -- the parts of a signature twice, elsewhere, or of another kind -----------------------------------------------------


def _spoilt(path: str, change: Callable[[etree._Element], object]) -> Make:
    return after(lambda root, kit: change(signature_part(root, path)))


def _twin(element: etree._Element) -> etree._Element:
    return etree.fromstring(etree.tostring(element, with_tail=False))


def _fake_info(element: etree._Element) -> etree._Element:
    twin = _twin(element)
    twin[2][2].text = base64.b64encode(bytes(32)).decode()
    return twin


def _foreign(element: etree._Element) -> etree._Element:
    return etree.fromstring(etree.tostring(element, with_tail=False).replace(DS.encode(), b"urn:x"))


def _move_signature(root: etree._Element, kit: Kit) -> None:
    signature = root[1]
    value = root.find(".//{*}AttributeValue")
    assert value is not None
    value.append(signature)


def _signature_twice(root: etree._Element, kit: Kit) -> None:
    root[1].addnext(_twin(root[1]))


def _signature_in_value(root: etree._Element, kit: Kit) -> None:
    value = root.find(".//{*}AttributeValue")
    assert value is not None
    value.append(_twin(root[1]))


def _signature_last(root: etree._Element, kit: Kit) -> None:
    root.append(root[1])


def _parts() -> Iterator[tuple[str, str, Make]]:
    info = "SignedInfo"
    yield (
        "fake_info_first",
        "CVE-2025-29774: another SignedInfo before",
        _spoilt(info, lambda e: e.addprevious(_fake_info(e))),
    )
    yield (
        "fake_info_next",
        "CVE-2025-29774: another SignedInfo after",
        _spoilt(info, lambda e: e.addnext(_fake_info(e))),
    )
    yield (
        "foreign_info_first",
        "a SignedInfo of another namespace before",
        _spoilt(info, lambda e: e.addprevious(_foreign(e))),
    )
    yield (
        "info_in_object",
        "a SignedInfo in ds:Object",
        _spoilt("KeyInfo", lambda e: e.addnext(_holding("Object", _fake_info(e.getparent()[0])))),
    )
    yield (
        "manifest",
        "the reference to something else in a Manifest",
        _spoilt("KeyInfo", lambda e: e.addnext(_holding("Object", _holding("Manifest", _twin(e.getparent()[0][2]))))),
    )
    yield (
        "two_digests",
        "two DigestValue, the first one wrong",
        _spoilt("SignedInfo/Reference/DigestValue", lambda e: e.addprevious(_twin(e))),
    )
    yield "two_values", "two SignatureValue", _spoilt("SignatureValue", lambda e: e.addnext(_twin(e)))
    yield "two_signatures", "the signature twice", after(_signature_twice)
    yield "signature_last", "the signature at the end of the assertion", after(_signature_last)
    yield "no_info", "a signature without SignedInfo", _spoilt(info, lambda e: e.getparent().remove(e))
    yield (
        "element_in_digest",
        "an element cuts DigestValue",
        _spoilt("SignedInfo/Reference/DigestValue", lambda e: etree.SubElement(e, "{urn:x}x")),
    )
    yield (
        "element_in_value",
        "an element cuts SignatureValue",
        _spoilt("SignatureValue", lambda e: etree.SubElement(e, "{urn:x}x")),
    )
    yield (
        "retrieval_method",
        "the key is to be fetched",
        _spoilt("KeyInfo", lambda e: e.append(etree.Element(ds("RetrievalMethod"), URI="http://attacker.invalid/key"))),
    )


def _holding(name: str, child: etree._Element) -> etree._Element:
    made = etree.Element(ds(name))
    made.append(child)
    return made


# -- numbers ---------------------------------------------------------------------------------------------------------


def _ecdsa(change: Callable[[int, int], bytes]) -> Make:
    """A good P-256 signature of ``kit.other``, its two numbers written otherwise."""

    def spoil(root: etree._Element, kit: Kit) -> None:
        value = signature_part(root, "SignatureValue")
        raw = base64.b64decode(value.text or "")
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        value.text = base64.b64encode(change(r, s)).decode()

    def make(kit: Kit) -> bytes:
        root = parse(by(lambda kit: kit.other)(kit))
        spoil(root, kit)
        return etree.tostring(root)

    return make


def _raw(r: int, s: int, size: int = 32) -> bytes:
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _der(r: int, s: int) -> bytes:
    return utils.encode_dss_signature(r, s)


def malleable(kit: Kit) -> bytes:
    """The other signature that holds with a genuine one of P-256: n - s in place of s."""
    return _ecdsa(lambda r, s: _raw(r, ORDER - s))(kit)


def _rsa(change: Callable[[bytes], bytes]) -> Make:
    def spoil(element: etree._Element) -> None:
        element.text = base64.b64encode(change(base64.b64decode(element.text or ""))).decode()

    return _spoilt("SignatureValue", spoil)


def _numbers() -> Iterator[tuple[str, str, Make, bool]]:
    """Whether ``kit.other``, with a P-256 key, signs is the last of each."""
    yield "ecdsa_der", "DER in place of two numbers", _ecdsa(_der), True
    yield "ecdsa_zeros", "CVE-2022-21449: r and s of zero", _ecdsa(lambda r, s: _raw(0, 0)), True
    yield "ecdsa_order", "r and s of the order of the curve", _ecdsa(lambda r, s: _raw(ORDER, ORDER)), True
    yield "ecdsa_padded", "numbers with zeros in front", _ecdsa(lambda r, s: _raw(r, s, 33)), True
    yield "ecdsa_swapped", "s before r", _ecdsa(lambda r, s: _raw(s, r)), True
    yield "ecdsa_half", "half of the signature", _ecdsa(lambda r, s: _raw(r, s)[:32]), True
    yield "rsa_padded", "a zero in front of the RSA value", _rsa(lambda value: b"\0" + value), False
    yield "rsa_short", "an RSA value without its last byte", _rsa(lambda value: value[:-1]), False
    yield "rsa_one", "an RSA value of one", _rsa(lambda value: (1).to_bytes(len(value), "big")), False
    yield (
        "odd_digest_characters",
        "characters that readers of base64 skip in DigestValue",
        _spoilt("SignedInfo/Reference/DigestValue", lambda e: setattr(e, "text", "*" + (e.text or ""))),
        False,
    )
    yield "value_empty", "no value at all", _rsa(lambda value: b""), False
    yield (
        "digest_of_nothing",
        "void canonicalisation: DigestValue is that of no bytes",
        handmade(Form(content=b"")),
        False,
    )
    yield (
        "ec_key_says_rsa",
        "a certificate of an EC key, a method of RSA",
        _wrong_kind(lambda kit: (kit.card.signature.key, kit.other), Form()),
        True,
    )
    yield (
        "rsa_key_says_ec",
        "a certificate of an RSA key, a method of ECDSA",
        _wrong_kind(lambda kit: (kit.other.signature.key, kit.card), Form(method=ECDSA_SHA256)),
        False,
    )


def _wrong_kind(who: Callable[[Kit], tuple], form: Form) -> Make:
    """Signed with one key, with the certificate of the other kind of key."""

    def make(kit: Kit) -> bytes:
        key, card = who(kit)
        root = kit.build(None, card)
        sign(root, key, certificate_info(card.signature.certificate), form)
        return etree.tostring(root)

    return make


def attacks() -> Iterator[Attack]:
    """Every one of this file."""
    for rows in (_references, _algorithms):
        for name, tries, make in rows():
            yield Attack(name=name, tries=tries, spoil=in_header(make), step="e")
    for name, tries, make in _parts():
        yield Attack(name=name, tries=tries, spoil=in_header(make), step="d")
    for name, tries, change in (
        ("signature_in_value", "a second signature where the schema looks at nothing", _signature_in_value),
        ("signature_moved", "the signature where the schema looks at nothing", _move_signature),
    ):
        yield Attack(name=name, tries=tries, spoil=in_header(after(change)), step="e")
    for name, tries, make, is_other in _numbers():
        yield Attack(name=name, tries=tries, spoil=in_header(make), step="f", peer=_peer(is_other))
    yield Attack(
        name="reference_says_manifest",
        step="",
        spoil=in_header(_shaped(lambda info: _reference(info).set("Type", f"{DS}Manifest"))),
        tries="a reference that calls itself a Manifest: what is digested is the assertion all the same",
    )
    yield Attack(
        name="ecdsa_malleable",
        step="",
        spoil=in_header(malleable),
        peer=_peer(True),
        tries="n - s in place of s: another value that holds for the same bytes, and no other assertion",
    )


def _peer(is_other: bool) -> Callable[[Kit], Card]:
    return lambda kit: kit.other if is_other else kit.card
