"""Spoiled credentials by name: what each is, and the fault a sound server answers it with.

``CASES[name].spoil(message, kit)`` gives the message with the credential on it; ``peer`` is the card whose TLS
certificate the connection shows. The names of the first group are those of the IHE tester's XUA collections. The
faults assume ``kit_rule``: the audience, value sets and authentication class that make the good ones good.

Clause: ITI TF-2 3.40.4.1.3; WSS SOAP Message Security 1.1 12
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from lxml import etree

from conformance import wrapping_attacks
from conformance.hand_signatures import (
    ENVELOPED,
    EXCLUSIVE,
    HMAC_SHA256,
    INCLUSIVE,
    RIGHT,
    RSA_SHA1,
    SHA1,
    Form,
    key_value_info,
)
from conformance.negative_kit import AUDIENCE, Kit, put
from conformance.spoiled_assertions import (
    Make,
    add_code,
    after,
    again,
    attribute,
    authentication_key,
    authz_consent,
    built,
    by,
    certificates,
    confirmation,
    drop,
    find,
    flip,
    handmade,
    instruction_in_nameid,
    lasting,
    long_since_issued,
    not_yet,
    person_as_structure,
    replace_key_info,
    said,
    set_text,
    set_time,
    staff_claims_profession,
    structure_as_person,
    structure_says,
    unsigned,
)
from guard.credentials import vihf
from guard.credentials.caller import Mode
from guard.credentials.cards import Card
from guard.credentials.rule import CredentialRule
from xds.model.codes import Code
from xds.namespaces import XSI
from xds.wire.faults import (
    FAILED_AUTHENTICATION,
    FAILED_CHECK,
    INVALID_SECURITY,
    INVALID_SECURITY_TOKEN,
    MESSAGE_EXPIRED,
    UNSUPPORTED_ALGORITHM,
    UNSUPPORTED_SECURITY_TOKEN,
    QName,
)

_HOUR, _MINUTE, _NOW = timedelta(hours=1), timedelta(minutes=1), timedelta(0)
_DAY = timedelta(days=1)
_NURSE = Code("60", vihf.PROFESSIONS)
_UNKNOWN_ROLE = Code("999", "1.2.3.4")
_UNKNOWN_PURPOSE = Code("MARKETING", "1.0.14265.1")
_EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
_WINDOWS = "urn:oasis:names:tc:SAML:1.1:nameid-format:WindowsDomainQualifiedName"
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"

Peer = Callable[[Kit], Card | None]


def _card(kit: Kit) -> Card:
    return kit.card


def _other(kit: Kit) -> Card:
    return kit.other


def _structure(kit: Kit) -> Card:
    return kit.structure


def _nobody(kit: Kit) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One credential on a message.

    ``fault`` is None when the credential is good. ``holds`` is what a bare signature check over the assertion says:
    True although most of these must be refused, False, or None where there is no one signature to check.
    """

    name: str
    spoil: Callable[[bytes, Kit], bytes]
    fault: QName | None
    holds: bool | None = True
    peer: Peer = _card


def kit_rule() -> CredentialRule:
    """The rule the faults of the table are stated for."""
    return CredentialRule(
        audiences=frozenset({AUDIENCE}),
        authn_classes=frozenset({vihf.SMARTCARD_PKI}),
        roles=frozenset({f"10^^{vihf.PROFESSIONS}", f"60^^{vihf.PROFESSIONS}", f"SM26^^{vihf.SPECIALTIES}"}),
        purposes=frozenset(code.key for code in (vihf.NORMAL, vihf.BREAK_GLASS, vihf.EMERGENCY_CENTRE)),
        sectors=frozenset({f"SA01^^{vihf.SECTORS}"}),
    )


def _in_header(
    name: str, make: Make, fault: QName | None, *, holds: bool | None = True, peer: Peer = _card
) -> Case:
    """A case made of one assertion in a proper header."""

    def spoil(message: bytes, kit: Kit) -> bytes:
        return put(message, vihf.security_header(make(kit)))

    return Case(name=name, spoil=spoil, fault=fault, holds=holds, peer=peer)


def _good() -> Iterator[Case]:
    """Good ones: a tester who refuses everything must fail too."""
    yield _in_header("good", Kit.good, None)
    yield _in_header("good_conditions", lasting(_NOW, _HOUR, AUDIENCE), None)
    yield _in_header("good_bearer", built(confirmation(vihf.BEARER)), None)
    yield _in_header("good_handmade", handmade(), None)
    yield _in_header("good_chain", handmade(RIGHT, certificates(_card, _other)), None)
    yield _in_header("good_curve", by(_other), None, peer=_other)
    yield _in_header("good_structure", by(_structure, structure_says), None, peer=_structure)
    yield _in_header("withauthzconsent", built(authz_consent), None)


def _tester() -> Iterator[Case]:
    """The variants of the IHE tester."""
    yield _in_header("expired", lasting(-2 * _HOUR, _HOUR), MESSAGE_EXPIRED)
    yield _in_header("notyetvalid", not_yet, INVALID_SECURITY_TOKEN)
    yield _in_header("unsigned", unsigned, FAILED_CHECK, holds=None)
    yield _in_header("unknownaudience", lasting(_NOW, _HOUR, "urn:somebody:else"), FAILED_AUTHENTICATION)
    yield _in_header(
        "invalidauthnstatement", set_time(("AuthnStatement",), "AuthnInstant", _HOUR), FAILED_AUTHENTICATION
    )
    yield _in_header(
        "secondauthncontext", built(lambda a: again(a, "AuthnStatement", "AuthnContext")), INVALID_SECURITY_TOKEN
    )
    yield _in_header(
        "secondrole", built(lambda a: add_code(a, vihf.ROLE, "Role", _UNKNOWN_ROLE)), INVALID_SECURITY_TOKEN
    )
    yield _in_header(
        "secondpurposeofuse",
        built(lambda a: add_code(a, vihf.PURPOSE, "PurposeOfUse", _UNKNOWN_PURPOSE)),
        INVALID_SECURITY_TOKEN,
    )


def _times_and_structure() -> Iterator[Case]:
    """Malformed ones, or out of time."""
    bad = INVALID_SECURITY_TOKEN
    yield _in_header("missingversion", built(lambda a: a.attrib.pop("Version")), bad)
    yield _in_header("invalidversion", built(lambda a: a.set("Version", "1.1")), bad)
    yield _in_header("missingid", after(lambda a, kit: a.attrib.pop("ID")), bad, holds=False)
    yield _in_header("invalidid", built(lambda a: a.set("ID", "0 not a name")), bad, holds=None)
    yield _in_header("missingissuer", built(lambda a: drop(a, "Issuer")), bad)
    yield _in_header("emptyissuer", built(lambda a: setattr(find(a, "Issuer"), "text", " ")), bad)
    yield _in_header("missingissuerformat", built(lambda a: find(a, "Issuer").attrib.pop("Format")), bad)
    yield _in_header("invalidissueremailformat", built(lambda a: find(a, "Issuer").set("Format", _EMAIL)), bad)
    windows = built(lambda a: find(a, "Issuer").set("Format", _WINDOWS))
    yield _in_header("invalidissuerwindowsdomainformat", windows, bad)
    yield _in_header(
        "invalidissuerx509format", built(lambda a: setattr(find(a, "Issuer"), "text", "CN=x")), FAILED_AUTHENTICATION
    )
    yield _in_header("missingissueinstant", built(lambda a: a.attrib.pop("IssueInstant")), bad)
    yield _in_header("invalidissueinstant", built(lambda a: a.set("IssueInstant", "2026-01-01T00:00:00")), bad)
    yield _in_header("lateissueinstant", set_time((), "IssueInstant", 10 * _MINUTE), bad)
    yield _in_header("oldissueinstant", set_time((), "IssueInstant", -20 * _MINUTE), bad)
    yield _in_header("toolonglived", lasting(_NOW, 25 * _HOUR), bad)
    yield _in_header("longsinceissued", long_since_issued, bad)
    yield _in_header("instructioninnameid", built(instruction_in_nameid), bad)
    yield _in_header("unknowncondition", built(_unknown_condition), bad)
    yield _in_header("missingsubject", built(lambda a: drop(a, "Subject")), bad)
    yield _in_header("missingsubjectnameid", built(lambda a: drop(a, "Subject", "NameID")), bad)
    yield _in_header("emptynameid", built(lambda a: setattr(find(a, "Subject", "NameID"), "text", " ")), bad)
    yield _in_header("invalidsubjectconfirmationmethod", built(confirmation("urn:x:somehow")), bad)
    yield _in_header("inresponseto", built(confirmation(vihf.BEARER, InResponseTo="_1")), bad)
    yield _in_header("oldconfirmation", built(confirmation(vihf.BEARER, NotOnOrAfter="2020-01-01T00:00:00Z")), bad)
    yield _in_header("missingauthnstatement", built(lambda a: drop(a, "AuthnStatement")), FAILED_AUTHENTICATION)
    yield _in_header("secondauthnstatement", built(lambda a: again(a, "AuthnStatement")), FAILED_AUTHENTICATION)
    yield _in_header("invalidauthncontext", said(context_class="urn:x:none"), FAILED_AUTHENTICATION)
    yield _in_header("oldauthninstant", set_time(("AuthnStatement",), "AuthnInstant", -_DAY), FAILED_AUTHENTICATION)
    yield _in_header("oversized", said(subject_name="x" * 200_000), bad)


def _unknown_condition(root: etree._Element) -> None:
    """``saml2:Condition`` with a type of somebody's own."""
    conditions = etree.Element(find(root, "Subject").tag.replace("Subject", "Conditions"))
    etree.SubElement(conditions, conditions.tag[:-1], {f"{{{XSI}}}type": "xs:string"})
    find(root, "Subject").addnext(conditions)


def _attributes() -> Iterator[Case]:
    """Attributes missing, mistyped, ambiguous or outside their value sets."""
    bad = INVALID_SECURITY_TOKEN
    changed: dict[str, dict[str, object]] = {
        "missingrole": {"roles": ()},
        "unknownrole": {"roles": (_UNKNOWN_ROLE,)},
        "unknownpurposeofuse": {"purpose": _UNKNOWN_PURPOSE},
        "unknownsector": {"sector": "SA99^1.2.250.1.71.4.2.4"},
        "malformedsector": {"sector": "SA01"},
        "malformedpatient": {"patient_id": "279035121518989"},
        "missingsoftware": {"software_name": ""},
        "missinghomologation": {"homologation": ""},
        "unknownvihfversion": {"version": "9.9"},
        "missingstructure": {"structure_id": ""},
        "unknownmode": {"mode": Mode.NODE},
    }
    for name, changes in changed.items():
        yield _in_header(name, said(**changes), bad)
    yield _in_header("secondstructure", built(_second_structure), bad)
    yield _in_header("roleastext", built(_role_as_text), bad)


def _second_structure(root: etree._Element) -> None:
    vihf.text_attribute(find(root, "AttributeStatement"), vihf.STRUCTURE, "10B0999999")


def _role_as_text(root: etree._Element) -> None:
    held = attribute(root, vihf.ROLE)[0]
    held.clear()
    held.text = "10"


def _signatures() -> Iterator[Case]:
    """Signatures broken, weak, odd, or made with a key nobody vouches for."""
    broken = FAILED_CHECK
    no_value = after(lambda a, _: set_text(a, "SignatureValue", ""))
    tampered = after(lambda a, _: setattr(attribute(a, vihf.STRUCTURE)[0], "text", "10B0999999"))
    bare_key = handmade(RIGHT, lambda kit: key_value_info(kit.card.signature.key))
    no_certificate = after(lambda a, _: set_text(a, "KeyInfo/X509Data/X509Certificate", "AAAA"))
    yield _in_header("invalidsignature", after(flip), broken, holds=False)
    yield _in_header("strippedsignature", no_value, broken, holds=False)
    yield _in_header("tampered", tampered, broken, holds=False)
    yield _in_header("missingkeyinfo", handmade(RIGHT, lambda kit: None), broken, holds=None)
    yield _in_header("keyvalue", bare_key, broken, holds=None)
    yield _in_header("invalidx509certificate", no_certificate, FAILED_AUTHENTICATION, holds=None)
    yield _in_header("attackercertificate", by(lambda kit: kit.foreign), FAILED_AUTHENTICATION)
    yield _in_header("othercertificate", after(replace_key_info(certificates(_other))), FAILED_CHECK, holds=False)
    weak = UNSUPPORTED_ALGORITHM
    yield _in_header("rsasha1", handmade(Form(method=RSA_SHA1)), weak)
    yield _in_header("digestsha1", handmade(Form(digest=SHA1)), weak)
    yield _in_header("hmac", handmade(Form(method=HMAC_SHA256)), weak, holds=None)
    yield _in_header("inclusivec14n", handmade(Form(transforms=(ENVELOPED, INCLUSIVE))), weak)
    yield _in_header("inclusivesignedinfo", handmade(Form(canonicalization=INCLUSIVE)), weak)
    yield _in_header("extratransform", handmade(Form(transforms=(ENVELOPED, EXCLUSIVE, EXCLUSIVE))), weak)
    yield _in_header("xpathtransform", handmade(Form(transforms=(ENVELOPED, _XPATH, EXCLUSIVE))), weak, holds=None)
    yield _in_header("onlyenveloped", handmade(Form(transforms=(ENVELOPED,))), weak, holds=None)
    yield _in_header("tworeferences", handmade(Form(references=2)), FAILED_CHECK)
    yield _in_header("wholedocument", handmade(Form(uri="")), FAILED_CHECK)
    yield _in_header("foreignreference", handmade(Form(uri="#elsewhere")), FAILED_CHECK, holds=False)


def _bindings() -> Iterator[Case]:
    """Good signatures of the wrong holder: who signs, who is named and who is connected must be the same."""
    no = FAILED_AUTHENTICATION
    yield _in_header("revoked", by(lambda kit: kit.revoked), no, peer=lambda kit: kit.revoked)
    yield _in_header("revokedconnection", by(lambda kit: kit.disconnected), no, peer=lambda kit: kit.disconnected)
    yield _in_header("expiredcertificate", by(lambda kit: kit.expired), no)
    yield _in_header("foreignauthority", by(lambda kit: kit.foreign), no, peer=lambda kit: kit.foreign)
    yield _in_header("authenticationkeysigns", authentication_key, no)
    yield _in_header("nameidofanother", said(name_id="899900000022"), no)
    yield _in_header("professionofanother", said(roles=(_NURSE,)), no)
    yield _in_header("twoprofessions", said(roles=(Code("10", vihf.PROFESSIONS), _NURSE)), no)
    yield _in_header("staffclaimsprofession", staff_claims_profession, no, peer=lambda kit: kit.staff)
    yield _in_header("personasstructure", person_as_structure, no)
    yield _in_header("structureasperson", structure_as_person, no, peer=_structure)
    elsewhere = by(_structure, lambda kit: replace(structure_says(kit), structure_id="10B0999999"))
    yield _in_header("structureofanother", elsewhere, no, peer=_structure)
    internal = by(_structure, lambda kit: replace(structure_says(kit), name_id="30B0999999/7"))
    yield _in_header("internalidofanother", internal, no, peer=_structure)
    yield _in_header("connectionofanother", Kit.good, no, peer=_other)
    yield _in_header("personforstructure", by(_structure, structure_says), no)
    yield _in_header("noclientcertificate", Kit.good, no, peer=_nobody)


def _whole_message() -> Iterator[Case]:
    """Wrapping, and tokens of other kinds."""
    attacks = wrapping_attacks
    for spoil in (
        attacks.forged_before_signed,
        attacks.original_in_other_header,
        attacks.original_in_signature_object,
        attacks.same_id_original_in_body,
        attacks.two_identical_copies,
        attacks.original_in_second_security,
        attacks.empty_second_security,
        attacks.security_in_body,
        attacks.nested_in_evidence,
        attacks.duplicate_id,
        attacks.no_security,
        attacks.empty_security,
    ):
        yield Case(name=spoil.__name__, spoil=spoil, fault=INVALID_SECURITY, holds=None)
    for spoil in (
        attacks.encrypted_assertion,
        attacks.username_token,
        attacks.username_token_beside,
        attacks.saml1_assertion,
    ):
        yield Case(name=spoil.__name__, spoil=spoil, fault=UNSUPPORTED_SECURITY_TOKEN, holds=None)
    yield Case(name="comment_in_nameid", spoil=attacks.comment_in_nameid, fault=None)
    yield Case(name="comment_cuts_nameid", spoil=attacks.comment_cuts_nameid, fault=None, peer=_structure)


CASES: dict[str, Case] = {
    case.name: case
    for group in (_good, _tester, _times_and_structure, _attributes, _signatures, _bindings, _whole_message)
    for case in group()
}
"""Every case by its name. The two ``comment`` attacks are accepted under the whole identifier, never under a part."""
