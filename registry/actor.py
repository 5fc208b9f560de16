"""What every transaction of the registry works with; built once by ``carnet``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from guard.policy.decision import Policy
from registry.store import RegistryDatabase
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryActor:
    """The registry of one affinity domain.

    ``repositories`` are the OIDs whose documents may be registered; empty means any.
    ``max_results`` bounds a LeafClass answer, in objects (``XDSTooManyResults`` above it).
    """

    database: RegistryDatabase
    domains: DomainSource
    policy: Policy
    repositories: frozenset[str] = frozenset()
    max_results: int = 5000
    clock: Callable[[], datetime] = utc_now

    @property
    def domain(self) -> AffinityDomain:
        """As it is now: ask once for each request."""
        return self.domains.current
