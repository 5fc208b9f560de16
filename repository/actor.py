"""What every transaction of the repository works with; built once by ``carnet``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableSet
from dataclasses import dataclass, field

from guard.credentials.certificates import TrustStore
from guard.policy.decision import Policy
from repository.on_demand import OnDemandProvider
from repository.registry_link import RegistryLink
from repository.store import DocumentStore, RepositoryDatabase
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryActor:
    """One repository.

    ``unique_id`` is its OID (repositoryUniqueId). ``max_documents`` bounds one retrieve request.
    ``clock`` gives seconds since the epoch. ``providers`` make its on-demand documents, by name; ``keeps_snapshots``
    says whether what they make is stored and registered. ``under_way`` holds the trace ids of deposits that are stored
    and not yet answered: how they ended is not known, so nobody is told of them. ``trust`` are the authorities of
    signers. ``author_rule`` is what happens to a CDA document none of whose authors is who signs: off, warn or refuse;
    ``cda_rule`` the same of one that is malformed or contradicts its entry. ``sources`` are those (sourceId) that may
    deposit, empty for any.
    """

    unique_id: str
    database: RepositoryDatabase
    documents: DocumentStore
    registry: RegistryLink
    domains: DomainSource
    policy: Policy
    max_documents: int = 100
    providers: Mapping[str, OnDemandProvider] = field(default_factory=dict)
    keeps_snapshots: bool = True
    trust: TrustStore | None = None
    author_rule: str = "off"
    cda_rule: str = "off"
    sources: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.time
    under_way: MutableSet[str] = field(default_factory=set)

    @property
    def domain(self) -> AffinityDomain:
        """As it is now: ask once for each request."""
        return self.domains.current
