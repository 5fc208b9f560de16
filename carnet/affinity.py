"""The affinity domain of an installation, for services and for commands alike."""

from __future__ import annotations

from pathlib import Path

from carnet.settings import Settings
from guard.policy.decision import Policy
from guard.policy.facts import Minors
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource


def domain_source(settings: Settings) -> DomainSource:
    """The domain a service works with: its code sets follow their file."""
    codes = Path(settings.domain.codes) if settings.domain.codes else None
    return DomainSource(settings.domain.name, codes, signatures=settings.domain.signatures)


def domain_of(settings: Settings) -> AffinityDomain:
    """The domain as its files are now."""
    return domain_source(settings).current


def policy_of(settings: Settings, domain: AffinityDomain) -> Policy:
    """The domain's policy with the operator's own tables, when there are any."""
    return Policy.load(
        domain.policy,
        hidden_from_professionals=domain.hidden_from_professionals,
        hidden_from_patient=domain.hidden_from_patient,
        hidden_from_representatives=domain.hidden_from_representatives,
        unlisted_types=domain.unlisted_types,
        patient_types=domain.patient_types,
        minors=Minors(settings.record.minors, settings.record.majority, settings.record.secret_from),
        folder=Path(settings.domain.matrix) if settings.domain.matrix else None,
    )
