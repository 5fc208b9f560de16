"""What an installation accepts: the rule of its affinity domain, with what the operator has set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from carnet.settings import Settings
from guard.credentials.certificates import Products, TrustStore
from guard.credentials.revocation_check import Alarm, Down, RevocationRule, Tell
from guard.credentials.rule import CredentialRule, Replay, Required
from guard.credentials.structures import Structures
from xds.domain import AffinityDomain


def trust_of(
    settings: Settings, domain: AffinityDomain, tell: Tell | None = None, alarm: Alarm | None = None
) -> TrustStore:
    """Who is believed. ``tell`` is told what questions about revocation came to; the workers of a service share an
    ``alarm``.
    """
    chosen = settings.credentials
    rule = RevocationRule(
        hosts=frozenset(chosen.revocation_hosts),
        down=Down(chosen.revocation),
        grace=chosen.revocation_grace,
        longest=chosen.revocation_longest,
        timeout=chosen.revocation_timeout,
        retry=chosen.revocation_retry,
        needs_nonce=chosen.revocation_nonce,
    )
    return TrustStore.load(
        settings.pki / "trust", lenient=domain.credentials.lenient_certificates, products=Products(chosen.products),
        rule=rule, tell=tell, alarm=alarm,
    )


def credential_rule(settings: Settings, domain: AffinityDomain) -> CredentialRule:
    """The credential rule of the domain, with what the operator has set.

    Raises ValueError when the operator asks for less than the domain requires.
    """
    chosen, asked = settings.credentials, domain.credentials
    mode = settings.domain.credentials or asked.mode
    if asked.required and mode != Required.ASSERTION:
        raise ValueError(f"domain {domain.name} always needs a signed assertion; credentials cannot be {mode!r}")
    is_vihf = asked.profile == "vihf"
    return CredentialRule(
        required=Required(mode),
        vihf=is_vihf,
        require_not_on_or_after=not is_vihf,
        require_audience=not is_vihf,
        require_subject_confirmation=not is_vihf,
        clock_skew=chosen.clock_skew,
        max_age=chosen.max_age,
        max_lifetime=chosen.max_lifetime or int(asked.max_lifetime),
        max_authn_age=int(asked.max_authn_age),
        audiences=frozenset(chosen.audiences) or asked.audiences,
        issuers=frozenset(chosen.issuers) or asked.issuers,
        token_services=fingerprints(chosen.token_services),
        portals=fingerprints(chosen.portals),
        authn_classes=asked.authn_classes,
        purposes=frozenset(chosen.purposes or asked.purposes),
        reasons=frozenset(chosen.reasons),
        roles=frozenset(chosen.roles or asked.roles),
        sectors=frozenset(asked.sectors),
        second_roles=asked.second_roles,
        person_forms=re.compile(asked.person_forms) if asked.person_forms else None,
        structure_forms=re.compile(asked.structure_forms) if asked.structure_forms else None,
        direct_classes=asked.direct_classes,
        structures=Structures.load(
            Path(chosen.structures) if chosen.structures else None, siren_covers_siret=asked.siren_covers_siret
        ),
        replay=Replay(chosen.replay),
        remember=CredentialRule().remember if chosen.cache else 0,
    )


def fingerprints(given: Sequence[str]) -> frozenset[str]:
    """SHA-256 of certificates as an operator writes them, in the form they are compared in."""
    return frozenset(one.replace(":", "").lower() for one in given)


def takes_direct_registration(settings: Settings, domain: AffinityDomain) -> bool:
    """Whether ITI-42 is taken from others than our own repositories: the setting, else what the domain says."""
    chosen = settings.registry.direct_registration
    return domain.direct_registration if chosen is None else chosen


def author_rule(settings: Settings, domain: AffinityDomain) -> str:
    """What a submission, or a CDA document, whose author is not who signs comes to: off, warn or refuse."""
    return settings.credentials.author or domain.credentials.author
