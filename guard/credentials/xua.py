"""A plain XUA assertion: what an assertion provider says of a user, without the French profile.

``UserAssertion`` holds what it says, ``build`` writes it; it is signed by ``vihf.sign`` like any other.

Clause: ITI TF-2 3.40.4.1.2
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lxml import etree

from guard.credentials import distinguished_name, vihf
from guard.credentials.attributes import ORGANIZATION, ORGANIZATION_ID
from guard.credentials.cards import Card
from guard.credentials.identity import Kind
from xds.model.codes import Code
from xds.namespaces import SAML

HOME_COMMUNITY_ID = "urn:ihe:iti:xca:2010:homeCommunityId"
CONSENT_DOCUMENT = "urn:ihe:iti:bppc:2007:docid"
"""uniqueId of the patient's consent, ``urn:oid:…``"""
CONSENT_POLICY = "urn:ihe:iti:xua:2012:acp"
"""The published policy consented to, ``urn:oid:…``"""
NAME_FORMAT_URI = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
LIFETIME = timedelta(minutes=30)
TEST_ORGANISATION = "urn:oid:1.2.250.1.999.1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAssertion:
    """What one assertion says; "" and () leave an attribute out."""

    name_id: str
    audiences: tuple[str, ...]
    roles: tuple[Code, ...]
    purposes: tuple[Code, ...]
    subject_name: str = ""
    organisation: str = ""
    organisation_id: str = TEST_ORGANISATION
    """``urn:oid:…`` or a URL"""
    home_community_id: str = ""
    """``urn:oid:…``"""
    patient_id: str = ""
    """CX; "" when no patient is concerned"""
    context_class: str = vihf.SMARTCARD_PKI
    authenticated_at: datetime | None = None
    """AuthnInstant; None: the moment of issue"""


def for_card(
    card: Card, *, audience: str, role: Code, purpose: Code, patient_id: str = "", name_id: str = ""
) -> UserAssertion:
    """What a card's holder says by default. A person speaks for herself, a structure for ``name_id``."""
    who = card.identity
    is_person = card.kind is Kind.PERSON
    return UserAssertion(
        name_id=who.common_name if is_person else name_id or f"{who.unit}/{who.common_name}",
        audiences=(audience,),
        roles=(role,),
        purposes=(purpose,),
        subject_name=who.name or who.common_name,
        organisation=who.organisation or "Carnet test organisation",
        patient_id=patient_id,
    )


def issuer_of(card: Card) -> str:
    """The subject of the signing certificate, which the assertion names as its Issuer."""
    return distinguished_name.write(card.signature.certificate.subject)


def build(
    says: UserAssertion, issuer: str, *, now: datetime | None = None, lifetime: timedelta = LIFETIME
) -> etree._Element:
    """The assertion without its signature. ``now`` (UTC) is the instant of issue and the begin of validity."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    begin, end = vihf.instant(moment), vihf.instant(moment + lifetime)
    root = vihf.start(issuer, moment)
    subject = vihf.add(root, "Subject")
    vihf.add(subject, "NameID", says.name_id)
    confirmation = vihf.add(subject, "SubjectConfirmation")
    confirmation.set("Method", vihf.BEARER)
    vihf.add(confirmation, "SubjectConfirmationData").set("NotOnOrAfter", end)
    conditions = vihf.add(root, "Conditions")
    conditions.set("NotBefore", begin)
    conditions.set("NotOnOrAfter", end)
    restriction = vihf.add(conditions, "AudienceRestriction")
    for audience in says.audiences:
        vihf.add(restriction, "Audience", audience)
    authentication = vihf.add(root, "AuthnStatement")
    authentication.set("AuthnInstant", vihf.instant(says.authenticated_at or moment))
    vihf.add(vihf.add(authentication, "AuthnContext"), "AuthnContextClassRef", says.context_class)
    _attributes(vihf.add(root, "AttributeStatement"), says)
    return root


def _attributes(statement: etree._Element, says: UserAssertion) -> None:
    for name, value in (
        (vihf.SUBJECT_ID, says.subject_name),
        (ORGANIZATION, says.organisation),
        (ORGANIZATION_ID, says.organisation_id),
        (HOME_COMMUNITY_ID, says.home_community_id),
        (vihf.RESOURCE_ID, says.patient_id),
    ):
        if value:
            vihf.text_attribute(statement, name, value)
    if says.roles:
        vihf.coded_attribute(statement, vihf.ROLE, "Role", says.roles)
    if says.purposes:
        vihf.coded_attribute(statement, vihf.PURPOSE, "PurposeOfUse", says.purposes)


def add_uri(statement: etree._Element, name: str, value: str) -> None:
    """Add an attribute with one ``xs:anyURI`` value, as the Authz-Consent option writes them."""
    attribute = vihf.text_attribute(statement, name, value)
    attribute.set("NameFormat", NAME_FORMAT_URI)
    held = attribute.find(f"{{{SAML}}}AttributeValue")
    if held is not None:
        held.set(vihf.TYPE, "xs:anyURI")
