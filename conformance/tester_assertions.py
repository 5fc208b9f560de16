"""The classic bad assertions of an XUA test, and the good one with a consent, made from any assertion not yet signed.

``issue`` signs what ``SPOILS[name]`` has changed; ``FAULTS[name]`` is the WS-Security code a sound server answers.
The reasons lie in the content alone, so the same names work for plain XUA and for the VIHF.

Clause: ITI TF-2 3.40.4.1.2, 3.40.4.1.3
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lxml import etree

from conformance.negative_kit import saml
from conformance.spoiled_assertions import add_code, again, authz_consent, find
from guard.credentials import vihf
from guard.credentials.cards import KeyPair
from xds.model import Code
from xds.wire.faults import FAILED_AUTHENTICATION, FAILED_CHECK, INVALID_SECURITY_TOKEN, MESSAGE_EXPIRED, QName

UNKNOWN_AUDIENCE = "urn:carnet:nobody"
UNKNOWN_ROLE = Code("no-such-role", "1.2.250.1.999.9", "a role outside every value set")
UNKNOWN_PURPOSE = Code("no-such-purpose", "1.2.250.1.999.9", "a purpose outside every value set")


def issue(root: etree._Element, signer: KeyPair, *, spoil: str = "", consent: bool = False) -> bytes:
    """The exact bytes of the assertion ``root``, spoiled as asked. Raises KeyError for an unknown name."""
    if consent:
        authz_consent(root)
    if spoil:
        SPOILS[spoil](root)
    return etree.tostring(root) if spoil == "unsigned" else vihf.sign(root, signer)


def _expired(root: etree._Element) -> None:
    _valid(root, timedelta(hours=-2), timedelta(hours=-1))
    begin = vihf.instant(datetime.now(UTC) - timedelta(hours=2))
    root.set("IssueInstant", begin)
    find(root, "AuthnStatement").set("AuthnInstant", begin)


def _not_yet_valid(root: etree._Element) -> None:
    _valid(root, timedelta(hours=1), timedelta(hours=2))


def _unsigned(_root: etree._Element) -> None:
    """Nothing is changed: the signature is left out."""


def _unknown_audience(root: etree._Element) -> None:
    conditions = _conditions(root)
    for restriction in conditions.findall(saml("AudienceRestriction")):
        conditions.remove(restriction)
    vihf.add(vihf.add(conditions, "AudienceRestriction"), "Audience", UNKNOWN_AUDIENCE)


def _invalid_authn_statement(root: etree._Element) -> None:
    """Authenticated in an hour's time."""
    later = vihf.instant(datetime.now(UTC) + timedelta(hours=1))
    find(root, "AuthnStatement").set("AuthnInstant", later)


def _second_authn_context(root: etree._Element) -> None:
    again(root, "AuthnStatement", "AuthnContext")


def _second_role(root: etree._Element) -> None:
    add_code(root, vihf.ROLE, "Role", UNKNOWN_ROLE)


def _second_purpose(root: etree._Element) -> None:
    add_code(root, vihf.PURPOSE, "PurposeOfUse", UNKNOWN_PURPOSE)


def _valid(root: etree._Element, begin: timedelta, end: timedelta) -> None:
    """From and until so long after now."""
    now, conditions = datetime.now(UTC), _conditions(root)
    conditions.set("NotBefore", vihf.instant(now + begin))
    conditions.set("NotOnOrAfter", vihf.instant(now + end))
    for data in root.iter(saml("SubjectConfirmationData")):
        data.set("NotOnOrAfter", vihf.instant(now + end))


def _conditions(root: etree._Element) -> etree._Element:
    """The Conditions; the VIHF has none, so they are put after the Subject."""
    found = root.find(saml("Conditions"))
    if found is None:
        found = etree.Element(saml("Conditions"))
        find(root, "Subject").addnext(found)
    return found


SPOILS: dict[str, Callable[[etree._Element], None]] = {
    "expired": _expired,
    "notyetvalid": _not_yet_valid,
    "unsigned": _unsigned,
    "unknownaudience": _unknown_audience,
    "invalidauthnstatement": _invalid_authn_statement,
    "secondauthncontext": _second_authn_context,
    "secondrole": _second_role,
    "secondpurposeofuse": _second_purpose,
}
FAULTS: dict[str, QName] = {
    "expired": MESSAGE_EXPIRED,
    "notyetvalid": INVALID_SECURITY_TOKEN,
    "unsigned": FAILED_CHECK,
    "unknownaudience": FAILED_AUTHENTICATION,
    "invalidauthnstatement": FAILED_AUTHENTICATION,
    "secondauthncontext": INVALID_SECURITY_TOKEN,
    "secondrole": INVALID_SECURITY_TOKEN,
    "secondpurposeofuse": INVALID_SECURITY_TOKEN,
}
"""Two contexts in one AuthnStatement break the schema of SAML, which is looked at before their number is."""
