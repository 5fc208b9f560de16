"""What every transaction of the registry works with; built once by ``carnet``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from guard.policy.decision import Policy
from registry.store import RegistryDatabase
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRules:
    """What an operator has settled about identity feeds (ITI-8, ITI-44)."""

    namespaces: Mapping[str, str] = field(default_factory=dict)
    """Namespace id of an assigning authority -> its OID, for senders that give no OID"""
    senders: frozenset[str] = frozenset()
    """``application|facility`` (MSH-3, MSH-4) taken in ITI-8; empty: any"""
    may_merge: bool = True
    """False: merges are for an operator alone"""
    device_id: str = ""
    """OID of this registry as a device in HL7 v3"""


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
    feed: FeedRules = FeedRules()
    author_rule: str = "off"
    """What a submission comes to whose author is not who signs: ``off``, ``warn`` or ``refuse``."""
    clock: Callable[[], datetime] = utc_now

    @property
    def domain(self) -> AffinityDomain:
        """As it is now: ask once for each request."""
        return self.domains.current
