"""What an affinity domain asks of credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

AUTHN_CLASSES = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
"""Prefix of the standard authentication contexts; a domain may list them without it."""
MODES = ("assertion", "tls", "off")
PROFILES = ("vihf", "xua")
SEVERITIES = ("off", "warn", "refuse")
Table = Mapping[str, str]
NONE: Table = MappingProxyType({})


def nothing() -> Table:
    return NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRules:
    """What a community asks of an assertion. Value sets map ``code^^scheme`` to a label; empty = any value."""

    required: bool = False
    """True: no setting may switch credentials off."""
    mode: str = "assertion"
    """Default mode: ``assertion``, ``tls`` or ``off``."""
    profile: str = "xua"
    """``vihf``: the French profile, its attributes and bindings; ``xua``: plain XUA."""
    audiences: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    """Issuer texts accepted under ``xua``; empty = any whose signature is trusted."""
    authn_classes: frozenset[str] = frozenset()
    """AuthnContextClassRef accepted; empty = any."""
    lenient_certificates: bool = False
    """True: certificates of authorities without a revocation list, and without key usages, are believed."""
    max_age: float = 600.0
    """Seconds an assertion stays usable after its IssueInstant."""
    max_lifetime: float = 3600.0
    """Longest time in seconds an assertion may be valid."""
    max_authn_age: float = 12 * 3600.0
    """Seconds since AuthnInstant."""
    clock_skew: float = 60.0
    """Seconds by which clocks may differ."""
    direct_classes: frozenset[str] = frozenset()
    """AuthnContextClassRef of a card that signs for itself; empty = those of ``authn_classes``."""
    software: str = "off"
    author: str = "off"
    """What happens to software not homologated for what it asks, and to a submission whose author is not who signs:
    ``off``, ``warn`` or ``refuse``."""
    siren_covers_siret: bool = False
    """The certificate of a legal entity known by SIREN serves every establishment whose SIRET begins with it."""
    person_forms: str = ""
    """Regular expression of a NameID; "" = any. So is ``structure_forms`` of Identifiant_Structure."""
    structure_forms: str = ""
    second_roles: Table = field(default_factory=nothing)
    """First role, ``code^^scheme``, to the scheme of the second role it needs; such roles come second only."""
    roles: Table = field(default_factory=nothing)
    purposes: Table = field(default_factory=nothing)
    sectors: Table = field(default_factory=nothing)


def credential_rules(settings: dict[str, Any], codes: Mapping[str, Table]) -> CredentialRules:
    """The section ``[credentials]`` of a domain's file; ``codes`` are its code sets. Raises ValueError."""
    mode = settings.get("mode", "assertion")
    if mode not in MODES:
        raise ValueError(f"credentials.mode is {mode!r}; expected one of {', '.join(MODES)}")
    if settings.get("required") and mode != "assertion":
        raise ValueError('credentials.required asks for credentials.mode = "assertion"; change one of them')
    profile = settings.get("profile", "xua")
    if profile not in PROFILES:
        raise ValueError(f"credentials.profile is {profile!r}; expected one of {', '.join(PROFILES)}")
    for key, value in settings.items():
        if key in ("software", "author") and value not in SEVERITIES:
            raise ValueError(f"credentials.{key} is {value!r}; expected {', '.join(SEVERITIES)}")
        try:
            re.compile(value if key in ("person_forms", "structure_forms") else "")
        except re.error as error:
            raise ValueError(f"credentials.{key} is no regular expression: {error}") from error
    return CredentialRules(
        required=bool(settings.get("required", False)),
        mode=mode,
        profile=profile,
        audiences=frozenset(settings.get("audiences", ())),
        issuers=frozenset(settings.get("issuers", ())),
        authn_classes=_classes(settings.get("authn_classes", ())),
        direct_classes=_classes(settings.get("direct_classes", ())),
        software=settings.get("software", "off"),
        author=settings.get("author", "off"),
        siren_covers_siret=bool(settings.get("siren_covers_siret", False)),
        person_forms=settings.get("person_forms", ""),
        structure_forms=settings.get("structure_forms", ""),
        second_roles=MappingProxyType(dict(settings.get("second_roles", {}))),
        lenient_certificates=bool(settings.get("lenient_certificates", False)),
        max_age=float(settings.get("max_age", 600)),
        max_lifetime=float(settings.get("max_lifetime", 3600)),
        max_authn_age=float(settings.get("max_authn_age", 12 * 3600)),
        clock_skew=float(settings.get("clock_skew", 60)),
        roles=MappingProxyType(dict(settings.get("roles", {}))),
        purposes=MappingProxyType(dict(settings.get("purposes", {}))),
        sectors=MappingProxyType(_sectors(settings.get("sectors", {}), codes)),
    )


def _classes(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name if ":" in name else AUTHN_CLASSES + name for name in names)


def _sectors(settings: dict[str, str], codes: Mapping[str, Table]) -> dict[str, str]:
    """Listed one by one, or with ``scheme`` alone: the facility types of that coding scheme."""
    if "scheme" not in settings:
        return dict(settings)
    facilities = codes.get("healthcare_facility_type_code", {})
    return {key: display for key, display in facilities.items() if key.endswith(f"^^{settings['scheme']}")}
