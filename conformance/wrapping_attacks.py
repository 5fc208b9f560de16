"""Signature wrapping: a genuine signature stays in the message while the reader is led to another assertion.

Each function takes a message and gives it back attacked. The attacker holds ``card`` (and ``structure``) and wants
to pass for the holder of ``other``.
"""

from __future__ import annotations

import copy

from lxml import etree

from conformance.negative_kit import Kit, parse, put, saml
from guard.credentials import vihf
from xds.namespaces import DS, WSSE


def forged(kit: Kit, *, keep_id: str = "") -> bytes:
    """An unsigned assertion in the victim's name, optionally with the ID of the genuine one."""
    root = kit.build(kit.says(kit.other), kit.other)
    if keep_id:
        root.set("ID", keep_id)
    return etree.tostring(root)


def forged_before_signed(message: bytes, kit: Kit) -> bytes:
    """The forged assertion first, the genuine one after it, in one header block."""
    return put(message, vihf.security_header(forged(kit) + kit.good()))


def original_in_other_header(message: bytes, kit: Kit) -> bytes:
    """The genuine assertion in a header block nobody reads, the forged one in its place."""
    aside = b'<Old xmlns="urn:carnet:example">' + kit.good() + b"</Old>"
    return put(message, vihf.security_header(forged(kit)), aside)


def original_in_signature_object(message: bytes, kit: Kit) -> bytes:
    """The forged assertion carries the genuine signature, with the genuine assertion inside a ds:Object of it."""
    genuine = parse(kit.good())
    signature = genuine.find(f"{{{DS}}}Signature")
    fake = parse(forged(kit))
    if signature is None:
        raise ValueError("the genuine assertion is not signed")
    moved = copy.deepcopy(signature)
    etree.SubElement(moved, f"{{{DS}}}Object").append(genuine)
    fake.insert(1, moved)
    return put(message, vihf.security_header(etree.tostring(fake)))


def same_id_original_in_body(message: bytes, kit: Kit) -> bytes:
    """The forged assertion takes the ID of the genuine one, which moves into the body."""
    genuine = kit.good()
    fake = forged(kit, keep_id=str(parse(genuine).get("ID")))
    return put(message, vihf.security_header(fake), body=genuine)


def two_identical_copies(message: bytes, kit: Kit) -> bytes:
    """The same signed assertion twice."""
    genuine = kit.good()
    return put(message, vihf.security_header(genuine + genuine))


def original_in_second_security(message: bytes, kit: Kit) -> bytes:
    """Two security headers, the forged assertion in the first."""
    return put(message, vihf.security_header(forged(kit)), vihf.security_header(kit.good()))


def empty_second_security(message: bytes, kit: Kit) -> bytes:
    """A good header and an empty one: two readers may disagree on which counts."""
    return put(message, vihf.security_header(kit.good()), vihf.security_header(b""))


def security_in_body(message: bytes, kit: Kit) -> bytes:
    """A whole security header where no header belongs."""
    return put(message, body=vihf.security_header(kit.good()))


def nested_in_evidence(message: bytes, kit: Kit) -> bytes:
    """A signed assertion with an unsigned one inside it, as evidence for an authorisation decision."""
    root = kit.build()
    decision = etree.SubElement(root, saml("AuthzDecisionStatement"), {"Resource": "urn:x", "Decision": "Permit"})
    etree.SubElement(decision, saml("Action"), {"Namespace": "urn:x"}).text = "Read"
    etree.SubElement(decision, saml("Evidence")).append(parse(forged(kit)))
    return put(message, vihf.security_header(kit.sign(root)))


def duplicate_id(message: bytes, kit: Kit) -> bytes:
    """An element of the body carries the ID of the assertion."""
    genuine = kit.good()
    decoy = f'<Decoy xmlns="urn:carnet:example" ID="{parse(genuine).get("ID")}"/>'.encode()
    return put(message, vihf.security_header(genuine), body=decoy)


def comment_in_nameid(message: bytes, kit: Kit) -> bytes:
    """A comment splits the identifier after signing: the signature stays valid, a careless reader sees a part."""
    name = kit.card.identity.common_name
    half = len(name) // 2
    split = f"{name[:half]}<!-- x -->{name[half:]}".encode()
    return put(message, vihf.security_header(_in_nameid(kit.good(), name.encode(), split)))


def comment_cuts_nameid(message: bytes, kit: Kit) -> bytes:
    """A structure signs an identifier that begins with the victim's and cuts it there with a comment."""
    victim = kit.other.identity.common_name
    says = vihf.for_card(kit.structure, name_id=f"{victim}.evil.example", roles=vihf.card_roles(kit.other))
    signed = kit.sign(kit.build(says, kit.structure), kit.structure.signature)
    cut = f"{victim}<!-- -->.evil.example".encode()
    return put(message, vihf.security_header(_in_nameid(signed, says.name_id.encode(), cut)))


def _in_nameid(assertion: bytes, before: bytes, after: bytes) -> bytes:
    old, new = (b"NameID>" + text + b"</" for text in (before, after))
    if assertion.count(old) != 1:
        raise ValueError("NameID not found")
    return assertion.replace(old, new)


def encrypted_assertion(message: bytes, kit: Kit) -> bytes:
    """A token nobody here can read."""
    token = f'<saml2:EncryptedAssertion xmlns:saml2="{saml("")[1:-1]}"/>'.encode()
    return put(message, vihf.security_header(token))


def username_token(message: bytes, kit: Kit) -> bytes:
    """A name and no proof."""
    name = kit.card.identity.common_name
    token = f"<wsse:UsernameToken><wsse:Username>{name}</wsse:Username></wsse:UsernameToken>"
    return put(message, vihf.security_header(token.encode()))


def username_token_beside(message: bytes, kit: Kit) -> bytes:
    """A name token beside a good assertion: two claims about who calls."""
    token = b"<wsse:UsernameToken><wsse:Username>x</wsse:Username></wsse:UsernameToken>"
    return put(message, vihf.security_header(token + kit.good()))


def saml1_assertion(message: bytes, kit: Kit) -> bytes:
    """An assertion of the previous version of SAML."""
    token = b'<Assertion xmlns="urn:oasis:names:tc:SAML:1.0:assertion" AssertionID="_1"/>'
    return put(message, vihf.security_header(token))


def no_security(message: bytes, kit: Kit) -> bytes:
    """No security header at all."""
    return put(message)


def empty_security(message: bytes, kit: Kit) -> bytes:
    """A security header with nothing in it."""
    return put(message, f'<wsse:Security xmlns:wsse="{WSSE}"/>'.encode())
