"""Signature documents spoiled in one point, for tests: what an attacker with or without a card would send."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, utils
from lxml import etree

from guard.credentials import xades
from guard.credentials.cards import KeyPair
from xds.namespaces import DS

Spoil = Callable[[etree._Element], None]
XADES = xades.XADES_1_1


def ds(name: str) -> str:
    return f"{{{DS}}}{name}"


def xa(name: str) -> str:
    return f"{{{XADES}}}{name}"


def tree(data: bytes) -> etree._Element:
    return etree.fromstring(data)


def text(root: etree._Element) -> bytes:
    return etree.tostring(root)


def the(root: etree._Element, name: str, space: str = DS) -> etree._Element:
    """The only element of that name."""
    (found,) = root.iter(f"{{{space}}}{name}")
    return found


def reference(root: etree._Element, uri: str) -> etree._Element:
    return next(r for r in root.iter(ds("Reference")) if r.get("URI") == uri)


def child(element: etree._Element, name: str, space: str = DS) -> etree._Element:
    found = element.find(f"{{{space}}}{name}")
    assert found is not None
    return found


def sign_again(root: etree._Element, signer: KeyPair) -> None:
    """Inner digests and value anew, as who holds a key would do after changing what is signed."""
    info = child(root, "SignedInfo")
    for each in info.findall(ds("Reference")):
        target = next((e for e in root.iter() if f"#{e.get('Id')}" == each.get("URI")), None)
        if target is not None:
            digest = hashlib.sha256(xades.canonical(target)).digest()
            child(each, "DigestValue").text = base64.b64encode(digest).decode()
    value = signer.sign(xades.canonical(info))
    key = signer.certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        value = b"".join(n.to_bytes(32, "big") for n in utils.decode_dss_signature(value))
    child(root, "SignatureValue").text = base64.b64encode(value).decode()


def spoiled(data: bytes, spoil: Spoil, signer: KeyPair | None = None) -> bytes:
    """``data`` with one change; signed again by ``signer`` when he may change what is signed."""
    root = tree(data)
    spoil(root)
    if signer is not None:
        sign_again(root, signer)
    return text(root)
