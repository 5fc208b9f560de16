"""What an installation accepts: the rule of its affinity domain, with what the operator has set."""

from __future__ import annotations

from carnet.settings import Settings
from guard.credentials.certificates import TrustStore
from guard.credentials.rule import CredentialRule, Replay, Required
from xds.domain import AffinityDomain


def trust_of(settings: Settings, domain: AffinityDomain) -> TrustStore:
    return TrustStore.load(settings.pki / "trust", lenient=domain.credentials.lenient_certificates)


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
        token_services=frozenset(one.replace(":", "").lower() for one in chosen.token_services),
        authn_classes=asked.authn_classes,
        purposes=frozenset(chosen.purposes or asked.purposes),
        reasons=frozenset(chosen.reasons),
        roles=frozenset(chosen.roles or asked.roles),
        sectors=frozenset(asked.sectors),
        replay=Replay(chosen.replay),
        remember=CredentialRule().remember if chosen.cache else 0,
    )


def takes_direct_registration(settings: Settings, domain: AffinityDomain) -> bool:
    """Whether ITI-42 is taken from others than our own repositories: the setting, else what the domain says."""
    chosen = settings.registry.direct_registration
    return domain.direct_registration if chosen is None else chosen
