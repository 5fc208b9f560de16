"""Signature wrapping: the genuine assertion goes somewhere else, a forged one is read.

Sources: Somorovsky, Mayer, Schwenk, Kampmann, Jensen, "On Breaking SAML" (USENIX Security 2012), XSW 1 to 8, with the
browser's Response turned into the SOAP envelope; McIntosh and Austel, "XML Signature Element Wrapping Attacks and
Countermeasures" (2005), contexts of ancestry, optional element, sibling value and sibling order; CVE-2019-3465 (two
SignedInfo, called XSW 9 by SAML Raider); attribute pollution (PortSwigger, "The Fragile Lock", 2025).

Every forged assertion names the victim. One assertion in the whole message, directly in the one security header of
the message, is what stops them (step b); what is left over falls to the schema (d).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from lxml import etree

from conformance.negative_kit import Kit, parse, put, saml
from conformance.wrapping_attacks import forged
from guard.credentials import vihf
from tests.attack.attack import Attack, Row, Spoil, in_header
from xds.namespaces import DS, SOAP12, WSSE, WSU

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
_SIGNATURE = f"{{{DS}}}Signature"
_NONE = "http://www.w3.org/2003/05/soap-envelope/role/none"


def taken_apart(kit: Kit) -> tuple[etree._Element, etree._Element, etree._Element]:
    """A genuine assertion without its signature, that signature, and a forged assertion."""
    genuine = parse(kit.good())
    signature = genuine.find(_SIGNATURE)
    assert signature is not None
    alone = copy.deepcopy(signature)
    genuine.remove(signature)
    return genuine, alone, parse(forged(kit))


def build(arrange: Callable[[etree._Element, etree._Element, etree._Element], bytes]) -> Spoil:
    """``arrange`` puts genuine assertion, signature and forged assertion together as the content of the header."""
    return lambda sent, kit: put(sent, vihf.security_header(arrange(*taken_apart(kit))))


def xml(*elements: etree._Element) -> bytes:
    return b"".join(etree.tostring(element, with_tail=False) for element in elements)


def _xsw4(genuine: etree._Element, signature: etree._Element, evil: etree._Element) -> bytes:
    genuine.insert(1, signature)
    evil.append(genuine)
    return xml(evil)


def _xsw5(genuine: etree._Element, signature: etree._Element, evil: etree._Element) -> bytes:
    evil.insert(1, signature)
    return xml(evil, genuine)


def _xsw6(genuine: etree._Element, signature: etree._Element, evil: etree._Element) -> bytes:
    signature.append(genuine)
    evil.insert(1, signature)
    return xml(evil)


def _xsw8(genuine: etree._Element, signature: etree._Element, evil: etree._Element) -> bytes:
    etree.SubElement(signature, f"{{{DS}}}Object").append(genuine)
    evil.set("ID", str(genuine.get("ID")))
    evil.insert(1, signature)
    return xml(evil)


def _xsw1(sent: bytes, kit: Kit, *, inside_signature: bool = True) -> bytes:
    """The whole genuine envelope inside the signature, or beside it, of the forged assertion."""
    genuine, signature, evil = taken_apart(kit)
    whole = parse(put(sent, vihf.security_header(xml(genuine))))
    evil.insert(1, signature)
    if inside_signature:
        signature.append(whole)
    else:
        evil.insert(1, whole)
    return put(sent, vihf.security_header(xml(evil)))


def _xsw7(sent: bytes, kit: Kit) -> bytes:
    genuine = kit.good()
    evil = forged(kit, keep_id=str(parse(genuine).get("ID")))
    return put(sent, b'<Extensions xmlns="urn:x">' + evil + b"</Extensions>", vihf.security_header(genuine))


def _xsw9(genuine: etree._Element, signature: etree._Element, evil: etree._Element) -> bytes:
    """SignedInfo and value of the genuine signature, then a SignedInfo over the forged assertion."""
    fake = copy.deepcopy(signature[0])
    fake[2].set("URI", f"#{evil.get('ID')}")
    signature.append(fake)
    evil.insert(1, signature)
    return xml(evil)


def _xsw10(sent: bytes, kit: Kit) -> bytes:
    """The genuine signature, with the genuine assertion as its Object, directly in the security header."""
    genuine, signature, evil = taken_apart(kit)
    etree.SubElement(signature, f"{{{DS}}}Object").append(genuine)
    return put(sent, vihf.security_header(xml(signature, evil)))


def _somorovsky() -> Iterator[Row]:
    yield "xsw1", "the genuine envelope inside the signature of the forged assertion", _xsw1
    yield "xsw2", "the genuine envelope beside that signature", lambda s, k: _xsw1(s, k, inside_signature=False)
    yield "xsw3", "the forged assertion first, the genuine one after it", _forged_first
    yield "xsw4", "the genuine assertion inside the forged one", build(_xsw4)
    yield "xsw5", "the forged assertion carries the signature, the genuine one follows without", build(_xsw5)
    yield "xsw6", "the genuine assertion inside the signature of the forged one", build(_xsw6)
    yield "xsw7", "a forged assertion of the same ID in an extension that no schema looks into", _xsw7
    yield "xsw8", "the genuine assertion in ds:Object of the signature of a forged one of the same ID", build(_xsw8)
    yield "xsw10", "a signature over its own ds:Object beside a forged assertion", _xsw10


def _forged_first(sent: bytes, kit: Kit) -> bytes:
    return put(sent, vihf.security_header(forged(kit) + kit.good()))


# -- McIntosh and Austel: where a header block counts, and for whom ----------------------------------------------------


def _aside(opening: str, closing: str, *, ours: bool = True) -> Spoil:
    """The genuine header inside something that has no meaning for us; the forged one at its place or nowhere."""

    def spoil(sent: bytes, kit: Kit) -> bytes:
        aside = opening.encode() + vihf.security_header(kit.good()) + closing.encode()
        return put(sent, aside, *([vihf.security_header(forged(kit))] if ours else []))

    return spoil


def _with_role(sent: bytes, kit: Kit) -> bytes:
    there = vihf.security_header(kit.good()).replace(
        b"soap12:mustUnderstand", f'soap12:role="{_NONE}" soap12:x'.encode()
    )
    return put(sent, there, vihf.security_header(forged(kit)))


def _only_with_role(sent: bytes, kit: Kit) -> bytes:
    there = vihf.security_header(kit.good())
    return put(sent, there.replace(b"soap12:mustUnderstand", f'soap12:role="{_NONE}" soap12:x'.encode()))


def _wrapped_in_security(sent: bytes, kit: Kit) -> bytes:
    return put(sent, vihf.security_header(b'<Old xmlns="urn:x">' + kit.good() + b"</Old>"))


def _reference(sent: bytes, kit: Kit) -> bytes:
    """The header refers to the genuine assertion, which is elsewhere."""
    genuine = kit.good()
    reference = f'<wsse:Reference URI="#{parse(genuine).get("ID")}"/>'
    token = f"<wsse:SecurityTokenReference>{reference}</wsse:SecurityTokenReference>".encode()
    return put(sent, vihf.security_header(token), b'<Old xmlns="urn:x">' + genuine + b"</Old>")


def _in_place(sent: bytes, kit: Kit, old: bytes, new: bytes) -> bytes:
    good = put(sent, vihf.security_header(kit.good()))
    assert old in good
    return good.replace(old, new)


def _second_header(sent: bytes, kit: Kit) -> bytes:
    header = b"<s:Header>" + vihf.security_header(forged(kit)) + b"</s:Header>"
    return _in_place(sent, kit, b"<s:Header>", header + b"<s:Header>")


def _header_after_body(sent: bytes, kit: Kit) -> bytes:
    header = b"<s:Header>" + vihf.security_header(forged(kit)) + b"</s:Header>"
    return _in_place(sent, kit, b"</s:Body>", b"</s:Body>" + header)


def _outer_envelope(sent: bytes, kit: Kit) -> bytes:
    """The good message is the body of another envelope, whose header is forged."""
    inner = put(sent, vihf.security_header(kit.good()))
    return put(sent, vihf.security_header(forged(kit)), body=inner)


def _soap11_header(sent: bytes, kit: Kit) -> bytes:
    header = f'<o:Header xmlns:o="{SOAP11}">'.encode() + vihf.security_header(kit.good()) + b"</o:Header>"
    return put(sent, header)


def _other_security(sent: bytes, kit: Kit) -> bytes:
    """A security header of the namespace of another version, beside ours."""
    draft = "http://schemas.xmlsoap.org/ws/2002/07/secext"
    there = vihf.security_header(kit.good()).replace(WSSE.encode(), draft.encode(), 1).replace(b"true", b"false", 1)
    return put(sent, there, vihf.security_header(forged(kit)))


def _bare(sent: bytes, kit: Kit) -> bytes:
    return put(sent, kit.good())


def _beside_timestamp(sent: bytes, kit: Kit) -> bytes:
    stamp = f'<wsu:Timestamp xmlns:wsu="{WSU}">'.encode()
    return put(sent, vihf.security_header(stamp + kit.good() + b"</wsu:Timestamp>" + forged(kit)))


def _endorsing(sent: bytes, kit: Kit) -> bytes:
    """The genuine signature as an endorsing one, beside a forged assertion that takes its ID."""
    genuine, signature, _ = taken_apart(kit)
    return put(sent, vihf.security_header(xml(signature) + forged(kit, keep_id=str(genuine.get("ID")))))


def _contexts() -> Iterator[Row]:
    old = '<Old xmlns="urn:x">', "</Old>"
    optional = f'<Old xmlns="urn:x" xmlns:s2="{SOAP12}" s2:mustUnderstand="0">', "</Old>"
    nobody = f'<Old xmlns="urn:x" xmlns:s2="{SOAP12}" s2:role="{_NONE}">', "</Old>"
    yield "ancestry_header_block", "ancestry context: the genuine header inside another block", _aside(*old)
    yield (
        "ancestry_only",
        "the same without a header of ours: signed, but not where it counts",
        _aside(*old, ours=False),
    )
    yield "optional_block", "optional element: inside a block that need not be understood", _aside(*optional)
    yield "block_for_nobody", "optional element: inside a block for the role none", _aside(*nobody)
    yield (
        "security_for_nobody",
        "sibling value: the genuine header is for the role none, the forged one for us",
        _with_role,
    )
    yield "only_for_nobody", "sibling value: the only security header is for the role none", _only_with_role
    yield "wrapped_in_security", "sibling order: the assertion one level below its place", _wrapped_in_security
    yield "referred_to", "the header holds a reference to an assertion that stands elsewhere", _reference
    yield "inside_timestamp", "the genuine assertion inside the time stamp, the forged one beside it", _beside_timestamp
    yield (
        "nested_envelope",
        "ancestry: the good message is the body of another, whose header is forged",
        _outer_envelope,
    )
    yield "soap11_header", "ancestry: the security header inside a header of SOAP 1.1", _soap11_header
    yield "other_security_version", "the genuine assertion in a security header of another version", _other_security
    yield "bare_assertion", "the assertion is a header block of its own", _bare


# -- identifiers: which element a reference means -------------------------------------------------------------------


def _decoy(attribute: str, declared: str = "") -> Spoil:
    def spoil(sent: bytes, kit: Kit) -> bytes:
        genuine = kit.good()
        decoy = f'<Decoy xmlns="urn:x" {declared} {attribute}="{parse(genuine).get("ID")}"/>'.encode()
        return put(sent, vihf.security_header(genuine), body=decoy)

    return spoil


def _two_identifiers(attribute: str, declared: str = "") -> Spoil:
    """The forged assertion has an ID of its own, and the genuine one's under another name of the attribute."""

    def make(kit: Kit) -> bytes:
        genuine, signature, evil = taken_apart(kit)
        evil.insert(1, signature)
        old = f'ID="{evil.get("ID")}"'
        new = f'{old} {declared} {attribute}="{genuine.get("ID")}"'
        return xml(evil).replace(old.encode(), new.encode(), 1)

    return in_header(make)


def _identifiers() -> Iterator[Row]:
    wsu = f'xmlns:u="{WSU}"'
    for name, attribute, declared in (
        ("ID", "ID", ""),
        ("Id", "Id", ""),
        ("wsu_Id", "u:Id", wsu),
        ("xml_id", "xml:id", ""),
    ):
        yield f"decoy_{name}", f"another element has the assertion's ID as its {attribute}", _decoy(attribute, declared)


def attacks() -> Iterator[Attack]:
    """Every one of this file."""
    for rows in (_somorovsky, _contexts, _identifiers):
        for name, tries, spoil in rows():
            yield Attack(name=name, tries=tries, spoil=spoil, step="b")
    for name, tries, spoil in (
        ("second_header", "sibling order: a forged header before the genuine one", _second_header),
        ("header_after_body", "sibling order: a forged header after the body", _header_after_body),
    ):
        yield Attack(name=name, tries=tries, spoil=spoil, step="a", alone="b")
    yield Attack(
        name="xsw9",
        tries="CVE-2019-3465: the genuine SignedInfo, then one over the forged assertion",
        spoil=build(_xsw9),
        step="d",
    )
    yield Attack(
        name="endorsing_signature",
        tries="the genuine signature beside a forged assertion of the same ID",
        spoil=_endorsing,
        step="e",
    )
    for name, attribute, declared in (
        ("xml_id", "xml:id", ""),
        ("Id", "Id", ""),
        ("prefixed", "x:ID", 'xmlns:x="urn:x"'),
        ("of_saml", "saml2:ID", ""),
        ("lower", "id", ""),
    ):
        yield Attack(
            name=f"polluted_{name}",
            step="d",
            spoil=_two_identifiers(attribute, declared),
            tries=f"attribute pollution: a forged assertion with the genuine ID as {attribute}",
        )
    for name, attribute, declared in (("lower", "id", ""), ("prefixed", "x:ID", 'xmlns:x="urn:x"')):
        yield Attack(
            name=f"decoy_{name}",
            step="",
            spoil=_decoy(attribute, declared),
            tries=f"another element has the assertion's ID as {attribute}: no identifier for anybody here; the "
            "reference is resolved in the assertion's own tree",
        )


def placements(kit: Kit, sent: bytes) -> Iterator[tuple[str, bytes]]:
    """The whole space of Somorovsky's tool: the genuine assertion in every element of a message whose security
    header holds the forged one; with its signature, or leaving it in the forged one; under either one's ID."""
    for signed_there in (True, False):
        for same_id in (False, True):
            count = 1
            at = 0
            while at < count:
                genuine, signature, evil = taken_apart(kit)
                if same_id:
                    evil.set("ID", str(genuine.get("ID")))
                if signed_there:
                    genuine.insert(1, signature)
                else:
                    evil.insert(1, signature)
                whole = parse(put(sent, vihf.security_header(xml(evil))))
                containers = list(whole.iter(etree.Element))
                count = len(containers)
                for index in (0, len(containers[at])):
                    message = copy.deepcopy(whole)
                    list(message.iter(etree.Element))[at].insert(index, copy.deepcopy(genuine))
                    where = etree.QName(containers[at]).localname
                    yield f"{where} {at}/{index} signed_there={signed_there} same_id={same_id}", etree.tostring(message)
                at += 1


def nested(kit: Kit) -> bytes:
    """An assertion inside an attribute value of another, where the schema looks at nothing."""
    root = kit.build()
    value = root.find(f".//{saml('AttributeValue')}")
    assert value is not None
    value.append(parse(forged(kit)))
    return kit.sign(root)
