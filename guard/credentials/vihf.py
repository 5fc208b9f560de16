"""The VIHF: the signed SAML 2.0 assertion that says who acts, as what, from where and why.

``Vihf`` holds what it says, ``build`` writes it, ``sign`` signs it, ``issue`` does both and returns the exact bytes
to send. A signed assertion is never parsed and written again on its way out: its bytes are its proof.

Clause: ITI TF-2 3.40.4.1.2; DMP VIHF 3.0
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree
from signxml import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod, XMLSigner

from guard.credentials import distinguished_name
from guard.credentials.caller import Mode
from guard.credentials.cards import Card, KeyPair
from guard.credentials.identity import CardType, Identity, Kind
from xds.model.codes import Code
from xds.namespaces import DS, HL7, SAML, SOAP12, WSSE, XSI

XS = "http://www.w3.org/2001/XMLSchema"
TYPE = f"{{{XSI}}}type"
VERSION = "3.0"
RESOURCE_URN = "urn:dmp"
CLASSES = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
SMARTCARD_PKI = CLASSES + "SmartcardPKI"
X509_SUBJECT = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"

PROFESSIONS = "1.2.250.1.71.1.2.7"
"""TRE_G15, professions; the certificate extension of the same number carries the same codes."""
IN_TRAINING = "1.2.250.1.71.1.2.8"
"""TRE_G16, professions in training, under the codes of the professions to come"""
SPECIALTIES = "1.2.250.1.71.4.2.5"
"""TRE_R01, specialties"""
PURPOSES = "1.2.250.1.213.1.1.4.248"
SECTORS = "1.2.250.1.71.4.2.4"
SECRET_CONNECTION = Code(
    "INVISIBLE_REPRESENTANTS_LEGAUX", "1.2.250.1.213.1.1.4.13", "Invisible aux représentants légaux"
)

NORMAL = Code("normal", PURPOSES, "Accès normal")
BREAK_GLASS = Code("bris_de_glace", PURPOSES, "Accès bris de glace")
EMERGENCY_CENTRE = Code("centre_15", PURPOSES, "Accès centre de régulation")

# Names of the attributes
VIHF_VERSION = "VIHF_Version"
AUTHENTICATION_MODE = "Authentification_mode"
STRUCTURE = "Identifiant_Structure"
SECTOR = "Secteur_Activite"
SUBJECT_ID = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
ROLE = "urn:oasis:names:tc:xacml:2.0:subject:role"
RESOURCE_ID = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
RESOURCE = "Ressource_URN"
PURPOSE = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
PURPOSE_REASON = "Mode_Acces_Raison"
CONFIDENTIALITY = "urn:oasis:names:tc:xspa:1.0:resource:patient:hl7:confidentiality-code"
SOFTWARE_ID = "LPS_ID"
SOFTWARE_NAME = "LPS_Nom"
SOFTWARE_VERSION = "LPS_Version"
HOMOLOGATION = "LPS_ID_HOMOLOGATION_DMP"
USER_PROFILE = "Profil_Utilisateur"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vihf:
    """What one assertion says; "" leaves an optional attribute out."""

    name_id: str
    """PS_IdNat of the person acting; ``structure/internal`` for someone known to the structure only."""
    mode: Mode
    structure_id: str
    """Struct_IdNat"""
    roles: tuple[Code, ...]
    """The profession first, then the specialty, section or role."""
    sector: str = f"SA01^{SECTORS}"
    """``code^OID``"""
    subject_name: str = ""
    patient_id: str = ""
    """``INS^^^&OID&ISO^NH``; "" when no patient is concerned"""
    purpose: Code = NORMAL
    purpose_reason: str = ""
    is_secret_connection: bool = False
    context_class: str = SMARTCARD_PKI
    context_declaration: str = ""
    """Content of AuthnContextDecl; reinforced indirect mode names one."""
    software_id: str = ""
    software_name: str = "Carnet"
    software_version: str = "0.1"
    homologation: str = "CARNET-TEST"
    version: str = VERSION
    authenticated_at: datetime | None = None
    """AuthnInstant; None: the moment of issue"""


def for_card(
    card: Card,
    *,
    structure_id: str = "",
    patient_id: str = "",
    purpose: Code = NORMAL,
    purpose_reason: str = "",
    sector: str = f"SA01^{SECTORS}",
    name_id: str = "",
    subject_name: str = "",
    roles: tuple[Code, ...] = (),
    is_secret_connection: bool = False,
) -> Vihf:
    """What a card's holder says by default.

    A person speaks for herself (direct mode) and must name the structure she works in; her roles come from the
    card unless given. A structure vouches for ``name_id`` (indirect mode) with the ``roles`` given.
    """
    who = card.identity
    if card.kind is Kind.PERSON:
        mode, name_id, subject_name = Mode.DIRECT, who.common_name, subject_name or who.name
        roles = roles or card_roles(card)
    else:
        mode, structure_id, name_id = Mode.INDIRECT, who.unit, name_id or f"{who.unit}/{who.common_name}"
        subject_name = subject_name or who.common_name
    return Vihf(
        name_id=name_id,
        mode=mode,
        structure_id=structure_id,
        roles=roles,
        sector=sector,
        subject_name=subject_name,
        patient_id=patient_id,
        purpose=purpose,
        purpose_reason=purpose_reason,
        is_secret_connection=is_secret_connection,
    )


def card_roles(card: Card) -> tuple[Code, ...]:
    """Profession and specialties as the card's certificate states them."""
    profession = profession_of(card.identity)
    specialties = (Code(value, SPECIALTIES, value) for value in sorted(card.identity.specialties))
    return (*(() if profession is None else (profession,)), *specialties)


def profession_of(who: Identity) -> Code | None:
    """The profession a certificate states; a student's card (CPF) states the one to come. Clause: DMP VIHF role"""
    if who.profession is None:
        return None
    scheme = IN_TRAINING if who.card_type == CardType.CPF.number else PROFESSIONS
    return Code(str(who.profession), scheme, who.title)


def issue(
    vihf: Vihf,
    signer: KeyPair,
    *,
    now: datetime | None = None,
    lifetime: timedelta | None = None,
    audiences: Sequence[str] = (),
) -> bytes:
    """The signed assertion, exact bytes. ``lifetime`` writes NotBefore and NotOnOrAfter, which DMP leaves out."""
    issuer = distinguished_name.write(signer.certificate.subject)
    root = build(vihf, issuer, now=now, lifetime=lifetime, audiences=audiences)
    return sign(root, signer)


def build(
    vihf: Vihf,
    issuer: str,
    *,
    now: datetime | None = None,
    lifetime: timedelta | None = None,
    audiences: Sequence[str] = (),
) -> etree._Element:
    """The assertion without its signature. ``now`` (UTC) is issue instant."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    root = start(issuer, moment)
    add(add(root, "Subject"), "NameID", vihf.name_id)
    if lifetime is not None or audiences:
        conditions = add(root, "Conditions")
        if lifetime is not None:
            conditions.set("NotBefore", instant(moment))
            conditions.set("NotOnOrAfter", instant(moment + lifetime))
        if audiences:
            restriction = add(conditions, "AudienceRestriction")
            for audience in audiences:
                add(restriction, "Audience", audience)
    authentication = add(root, "AuthnStatement")
    authentication.set("AuthnInstant", instant(vihf.authenticated_at or moment))
    context = add(authentication, "AuthnContext")
    add(context, "AuthnContextClassRef", vihf.context_class)
    if vihf.context_declaration:
        add(context, "AuthnContextDecl", vihf.context_declaration)
    _attributes(add(root, "AttributeStatement"), vihf)
    return root


def start(issuer: str, moment: datetime) -> etree._Element:
    """The root of a new assertion with its Issuer, a subject name."""
    root = etree.Element(
        f"{{{SAML}}}Assertion",
        {"ID": f"_{secrets.token_hex(16)}", "IssueInstant": instant(moment), "Version": "2.0"},
        nsmap={"saml2": SAML, "xs": XS, "xsi": XSI},
    )
    add(root, "Issuer", issuer).set("Format", X509_SUBJECT)
    return root


def _attributes(statement: etree._Element, vihf: Vihf) -> None:
    text_attribute(statement, VIHF_VERSION, vihf.version)
    text_attribute(statement, AUTHENTICATION_MODE, vihf.mode.value)
    text_attribute(statement, STRUCTURE, vihf.structure_id)
    text_attribute(statement, SECTOR, vihf.sector)
    if vihf.subject_name:
        text_attribute(statement, SUBJECT_ID, vihf.subject_name)
    if vihf.roles:
        coded_attribute(statement, ROLE, "Role", vihf.roles)
    if vihf.patient_id:
        text_attribute(statement, RESOURCE_ID, vihf.patient_id)
    text_attribute(statement, RESOURCE, RESOURCE_URN)
    coded_attribute(statement, PURPOSE, "PurposeOfUse", [vihf.purpose])
    if vihf.purpose_reason:
        text_attribute(statement, PURPOSE_REASON, vihf.purpose_reason)
    if vihf.is_secret_connection:
        coded_attribute(statement, CONFIDENTIALITY, "ConfidentialityCode", [SECRET_CONNECTION])
    for name, value in (
        (SOFTWARE_ID, vihf.software_id),
        (SOFTWARE_NAME, vihf.software_name),
        (SOFTWARE_VERSION, vihf.software_version),
        (HOMOLOGATION, vihf.homologation),
    ):
        if value:
            text_attribute(statement, name, value)


def text_attribute(statement: etree._Element, name: str, value: str) -> etree._Element:
    """Add an attribute with one ``xs:string`` value; returns the saml2:Attribute."""
    attribute = add(statement, "Attribute")
    attribute.set("Name", name)
    add(attribute, "AttributeValue", value).set(TYPE, "xs:string")
    return attribute


def coded_attribute(statement: etree._Element, name: str, element: str, codes: Sequence[Code]) -> etree._Element:
    """Add an attribute whose values are HL7 ``CE`` elements of that name; returns the saml2:Attribute."""
    attribute = add(statement, "Attribute")
    attribute.set("Name", name)
    for code in codes:
        value = etree.SubElement(add(attribute, "AttributeValue"), f"{{{HL7}}}{element}", nsmap={None: HL7})  # type: ignore[dict-item]
        value.set(TYPE, "CE")
        value.set("code", code.code)
        value.set("codeSystem", code.scheme)
        if code.display:
            value.set("displayName", code.display)
    return attribute


def sign(root: etree._Element, signer: KeyPair) -> bytes:
    """Sign an assertion and return its exact bytes, the signature directly after Issuer.

    Exclusive canonicalisation, because an inclusive one breaks as soon as the assertion sits in an envelope.
    RSA-SHA256 or ECDSA-SHA256, by the key; the key may be any object that signs like one of ``cryptography``.

    Clause: SAML core 2.0 5.4
    """
    is_rsa = isinstance(signer.key, rsa.RSAPrivateKey)
    place = etree.Element(f"{{{DS}}}Signature", {"Id": "placeholder"}, nsmap={"ds": DS})
    issuer = root.find(f"{{{SAML}}}Issuer")
    root.insert(0 if issuer is None else root.index(issuer) + 1, place)
    xml_signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=SignatureMethod.RSA_SHA256 if is_rsa else SignatureMethod.ECDSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    signed = xml_signer.sign(
        root, key=signer.key, cert=[signer.certificate], reference_uri=f"#{root.get('ID')}", id_attribute="ID"
    )
    return etree.tostring(signed, with_tail=False)


def security_header(assertion: bytes) -> bytes:
    """The serialised ``wsse:Security`` header block around the exact bytes of an assertion."""
    start = f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:soap12="{SOAP12}" soap12:mustUnderstand="true">'
    return start.encode() + assertion + b"</wsse:Security>"


def instant(moment: datetime) -> str:
    """``YYYY-MM-DDThh:mm:ss.mmmZ``, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def add(parent: etree._Element, name: str, text: str = "") -> etree._Element:
    """Add a SAML element at the end of ``parent``; returns it."""
    element = etree.SubElement(parent, f"{{{SAML}}}{name}")
    if text:
        element.text = text
    return element
