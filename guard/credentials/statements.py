"""Steps i to o, without o's bindings: what an assertion says, read from the signed copy and judged against the rule.

Clause: ITI TF-2 3.40.4.1.2, 3.40.4.1.3; SAML core 2.0 2.4, 2.5, 2.7; DMP VIHF 3.0
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lxml import etree

from guard.credentials.rule import CredentialRule
from guard.credentials.token import text
from guard.credentials.vihf import BEARER
from xds.namespaces import SAML
from xds.wire.faults import FAILED_AUTHENTICATION, INVALID_SECURITY_TOKEN, MESSAGE_EXPIRED, security_fault

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_FAR = datetime(9000, 1, 1, tzinfo=UTC)
"""Later times count as this one: "never" is often written as the last moment of year 9999, and must stay addable to."""
_ISSUER, _SUBJECT, _CONDITIONS, _AUTHN_STATEMENT = (
    f"{{{SAML}}}{name}" for name in ("Issuer", "Subject", "Conditions", "AuthnStatement")
)
_AUDIENCE_RESTRICTION, _AUDIENCE, _ONE_TIME_USE, _PROXY_RESTRICTION = (
    f"{{{SAML}}}{name}" for name in ("AudienceRestriction", "Audience", "OneTimeUse", "ProxyRestriction")
)
_NAME_ID, _SUBJECT_CONFIRMATION, _SUBJECT_CONFIRMATION_DATA = (
    f"{{{SAML}}}{name}" for name in ("NameID", "SubjectConfirmation", "SubjectConfirmationData")
)
_AUTHN_CONTEXT, _AUTHN_CONTEXT_CLASS_REF, _AUTHN_CONTEXT_DECL_REF, _AUTHN_CONTEXT_DECL = (
    f"{{{SAML}}}AuthnContext{part}" for part in ("", "ClassRef", "DeclRef", "Decl")
)
_KNOWN_CONDITIONS = {_AUDIENCE_RESTRICTION, _ONE_TIME_USE, _PROXY_RESTRICTION}


@dataclass(frozen=True, slots=True)
class Times:
    """The moment of judgement and the rule's tolerance."""

    now: datetime
    skew: timedelta

    def is_future(self, moment: datetime) -> bool:
        return moment > self.now + self.skew

    def is_over(self, end: datetime) -> bool:
        """``end`` is the first moment that no longer counts (NotOnOrAfter)."""
        return self.now >= end + self.skew


@dataclass(frozen=True, slots=True)
class Validity:
    """How long the assertion may be believed, and how often."""

    until: datetime
    one_time: bool


def instant(value: str | None, what: str, step: str) -> datetime:
    """An ``xs:dateTime`` with a time zone, as UTC. Raises SoapFault of the step."""
    match = _INSTANT.fullmatch((value or "").strip())
    try:
        if match is not None:
            zone = "+00:00" if match[3] == "Z" else match[3]
            moment = datetime.fromisoformat(f"{match[1]}.{(match[2] or '0')[:6]:0<6}{zone}")
            return min(moment.astimezone(UTC), _FAR)
    except (ValueError, OverflowError):
        pass
    raise security_fault(INVALID_SECURITY_TOKEN, f"{what} is not a time with its zone", step)


def check_validity(root: etree._Element, rule: CredentialRule, times: Times) -> Validity:
    """Steps i, j and k: version, issue instant, conditions, audience."""
    if root.get("Version") != "2.0":
        raise security_fault(INVALID_SECURITY_TOKEN, "Version is not 2.0", "i")
    if not text(root.find(_ISSUER)):
        raise security_fault(INVALID_SECURITY_TOKEN, "Issuer is empty", "i")
    issued = instant(root.get("IssueInstant"), "IssueInstant", "i")
    if times.is_future(issued):
        raise security_fault(INVALID_SECURITY_TOKEN, "IssueInstant is in the future", "i")
    conditions = root.find(_CONDITIONS)
    end = None if conditions is None else conditions.get("NotOnOrAfter")
    oldest = issued + timedelta(seconds=rule.max_age)
    if end is None:
        if rule.require_not_on_or_after:
            raise security_fault(INVALID_SECURITY_TOKEN, "NotOnOrAfter is missing", "j")
        if times.is_over(oldest):
            raise security_fault(INVALID_SECURITY_TOKEN, "IssueInstant is too long ago", "i")
    if conditions is None:
        if rule.require_audience:
            raise security_fault(FAILED_AUTHENTICATION, "no AudienceRestriction", "k")
        return Validity(oldest + times.skew, False)
    until = _check_conditions(conditions, issued, oldest, rule, times)
    _check_audience(conditions, rule)
    return Validity(until + times.skew, conditions.find(_ONE_TIME_USE) is not None)


def _check_conditions(
    conditions: etree._Element, issued: datetime, oldest: datetime, rule: CredentialRule, times: Times
) -> datetime:
    begins = issued
    if conditions.get("NotBefore") is not None:
        begins = instant(conditions.get("NotBefore"), "NotBefore", "j")
        if times.is_future(begins):
            raise security_fault(INVALID_SECURITY_TOKEN, "not valid yet", "j")
    until = oldest
    if conditions.get("NotOnOrAfter") is not None:
        until = instant(conditions.get("NotOnOrAfter"), "NotOnOrAfter", "j")
        if times.is_over(until):
            raise security_fault(MESSAGE_EXPIRED, "NotOnOrAfter is past", "j")
        if until <= begins:
            raise security_fault(INVALID_SECURITY_TOKEN, "NotOnOrAfter is not after NotBefore", "j")
        if until - min(begins, issued) > timedelta(seconds=rule.max_lifetime):
            raise security_fault(INVALID_SECURITY_TOKEN, "lives longer than accepted here", "j")
    for condition in conditions:
        if condition.tag not in _KNOWN_CONDITIONS:
            raise security_fault(INVALID_SECURITY_TOKEN, "unknown condition", "j")
    return until


def _check_audience(conditions: etree._Element, rule: CredentialRule) -> None:
    """Every restriction must name one of ours: audiences of one are alternatives, restrictions add up."""
    restrictions = conditions.findall(_AUDIENCE_RESTRICTION)
    if rule.require_audience and not restrictions:
        raise security_fault(FAILED_AUTHENTICATION, "no AudienceRestriction", "k")
    for restriction in restrictions:
        if rule.audiences.isdisjoint(text(audience) for audience in restriction.findall(_AUDIENCE)):
            named = ", ".join(text(audience) for audience in restriction)[:200]
            raise security_fault(FAILED_AUTHENTICATION, f"the assertion is for another audience: {named!r}", "k")


def check_subject(root: etree._Element, rule: CredentialRule, times: Times) -> tuple[str, datetime | None]:
    """Step l: the NameID, and the end of the subject confirmation relied on, if it has one."""
    subjects = root.findall(_SUBJECT)
    names = subjects[0].findall(_NAME_ID) if len(subjects) == 1 else []
    name_id = text(names[0]) if len(names) == 1 else ""
    if not name_id or len(names[0]):
        raise security_fault(INVALID_SECURITY_TOKEN, "no single NameID", "l")
    confirmations = subjects[0].findall(_SUBJECT_CONFIRMATION)
    if not confirmations:
        if rule.require_subject_confirmation:
            raise security_fault(INVALID_SECURITY_TOKEN, "no SubjectConfirmation", "l")
        return name_id, None
    reason = ""
    for confirmation in confirmations:
        reason, end = _confirm(confirmation, rule, times)
        if not reason:
            return name_id, end
    raise security_fault(INVALID_SECURITY_TOKEN, f"no acceptable SubjectConfirmation: {reason}", "l")


def _confirm(confirmation: etree._Element, rule: CredentialRule, times: Times) -> tuple[str, datetime | None]:
    """Why one confirmation is not acceptable, "" when it is, and its end.

    Only bearer: mutual TLS binds the assertion to the connection already. We ask nothing, so an assertion that
    answers somebody's request (InResponseTo) was made for another.
    """
    if confirmation.get("Method") != BEARER:
        return "method is not bearer", None
    data = confirmation.find(_SUBJECT_CONFIRMATION_DATA)
    if data is None:
        return "", None
    if data.get("InResponseTo") is not None:
        return "InResponseTo", None
    if rule.recipients and data.get("Recipient", "") not in (rule.recipients | {""}):
        return "Recipient", None
    begin, end = data.get("NotBefore"), data.get("NotOnOrAfter")
    if begin is not None and times.is_future(instant(begin, "NotBefore", "l")):
        return "NotBefore", None
    if end is None:
        return "", None
    until = instant(end, "NotOnOrAfter", "l")
    return ("NotOnOrAfter" if times.is_over(until) else ""), until + times.skew


def check_authentication(root: etree._Element, rule: CredentialRule, times: Times) -> datetime:
    """Step m: exactly one statement with one context of an accepted class, not too long ago; returns its end."""
    statements = root.findall(_AUTHN_STATEMENT)
    contexts = list(root.iter(_AUTHN_CONTEXT))
    if len(statements) != 1 or len(contexts) != 1:
        raise security_fault(
            FAILED_AUTHENTICATION, f"{len(statements)} AuthnStatement, {len(contexts)} AuthnContext", "m"
        )
    classes = contexts[0].findall(_AUTHN_CONTEXT_CLASS_REF) or contexts[0].findall(_AUTHN_CONTEXT_DECL_REF)
    named = text(classes[0]) if len(classes) == 1 else ""
    if not named or (rule.authn_classes and named not in rule.authn_classes):
        raise security_fault(FAILED_AUTHENTICATION, f"authentication context is not accepted: {named[:200]!r}", "m")
    began = instant(statements[0].get("AuthnInstant"), "AuthnInstant", "m")
    end = began + timedelta(seconds=rule.max_authn_age)
    if times.is_future(began):
        raise security_fault(FAILED_AUTHENTICATION, "AuthnInstant is in the future", "m")
    session = statements[0].get("SessionNotOnOrAfter")
    if session is not None:
        end = min(end, instant(session, "SessionNotOnOrAfter", "m"))
    if times.is_over(end):
        raise security_fault(FAILED_AUTHENTICATION, "authenticated too long ago", "m")
    return end + times.skew


def authn_class(root: etree._Element) -> str:
    """AuthnContextClassRef (or DeclRef) of an assertion that passed ``check_authentication``."""
    found = next(root.iter(_AUTHN_CONTEXT_CLASS_REF), None)
    return text(found if found is not None else next(root.iter(_AUTHN_CONTEXT_DECL_REF), None))


def authn_declaration(root: etree._Element) -> str:
    """Text of AuthnContextDecl, "" when there is none. Clause: DMP VIHF reinforced indirect mode"""
    return text(next(root.iter(_AUTHN_CONTEXT_DECL), None))
