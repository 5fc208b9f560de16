"""What every check of one submission shares: the domain, who checks, at which stage, and the findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from xds.errors import Actor, ErrorCode, Finding, Severity
from xds.rules import problem
from xds.signature_rules import SignatureRules


class Stage(StrEnum):
    """Which transaction the metadata is in: hash, size and repositoryUniqueId are optional before ITI-42."""

    PROVIDE = "ITI-41"
    REGISTER = "ITI-42"
    UPDATE = "ITI-57"
    ON_DEMAND = "ITI-61"


class Domain(Protocol):
    """The part of an affinity domain that metadata is checked against (``xds.domain.AffinityDomain``)."""

    @property
    def name(self) -> str: ...

    @property
    def assigning_authorities(self) -> frozenset[str]: ...

    @property
    def codes(self) -> Mapping[str, Mapping[str, str]]: ...

    @property
    def mime_types(self) -> frozenset[str]: ...

    @property
    def patient_id_type_codes(self) -> frozenset[str]: ...

    @property
    def base_confidentiality(self) -> frozenset[str]: ...

    @property
    def conflicting_confidentiality(self) -> tuple[frozenset[str], ...]: ...

    @property
    def unlisted_types(self) -> frozenset[str]: ...

    @property
    def statuses(self) -> frozenset[str]: ...

    @property
    def required(self) -> Mapping[str, frozenset[str]]: ...

    @property
    def signatures(self) -> SignatureRules: ...


@dataclass(slots=True)
class Context:
    """One run of the checks."""

    domain: Domain
    actor: Actor
    stage: Stage
    repositories: frozenset[str] = frozenset()
    """repositoryUniqueIds the registry knows; empty = any"""
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, rule: str, subject: str, name: str = "", *, found: str = "", expected: str = "", clause: str = "",
        code: ErrorCode | None = None, severity: Severity = Severity.ERROR,
    ) -> None:
        """Report; without ``code`` it is the metadata error of the actor."""
        self.findings.append(problem(
            rule, code or self.actor.metadata_error, subject, name, found=found, expected=expected, clause=clause,
            severity=severity,
        ))
