"""What the record services work with; built once by ``carnet``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from guard.policy.decision import Policy
from record.lifecycle import RecordUnit
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource


class RecordDatabase(Protocol):
    """The part of a registry's database these services need: records, and the access log in the same transaction."""

    def write(self) -> AbstractContextManager[RecordUnit]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordActor:
    """The record services of one affinity domain. ``device_id`` is the OID under which they speak HL7 v3."""

    database: RecordDatabase
    domains: DomainSource
    policy: Policy
    device_id: str
    clock: Callable[[], datetime]

    @property
    def domain(self) -> AffinityDomain:
        """As it is now: ask once for each request."""
        return self.domains.current
