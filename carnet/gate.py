"""The gate of a service: who is believed, and with what software.

The verifier says who a caller is; here stands what an installation adds to it: the register of homologated software,
and what is told of sources of revocation in metrics and log.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from carnet.acceptance import credential_rule, trust_of
from carnet.admin import Meter
from carnet.settings import Settings
from guard.audit import access_log
from guard.credentials import revocation_check as revocation
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller, Mode
from guard.credentials.replay import ReplayStore
from guard.credentials.rule import CredentialRule
from guard.credentials.software import RegisterSource, SoftwareRule
from guard.credentials.vouched import CancelledTokens
from xds.domain import AffinityDomain
from xds.wire.faults import FAILED_AUTHENTICATION, claim_fault

log = logging.getLogger("carnet.gate")

REGISTRY_NODE, REPOSITORY_NODE, TOKENS_NODE = "registry", "repository", "tokens"
"""Names our own servers' certificates are issued to."""
SOFTWARE_STEP = "software"


def names(settings: Settings) -> tuple[str, ...]:
    """The services of an installation."""
    return (REGISTRY_NODE, REPOSITORY_NODE, *([TOKENS_NODE] if settings.tokens.enabled else []))


class Database(Protocol):
    """Any service's database, as far as the gate is concerned."""

    def write(self) -> Any: ...


def verifier_of(
    settings: Settings, domain: AffinityDomain, once: ReplayStore | None = None, tell: revocation.Tell | None = None,
    alarm: revocation.Alarm | None = None, replay: ReplayStore | None = None,
) -> Verifier:
    """The verifier of an installation. ``once`` counts, for all processes, what may be shown once only; ``alarm`` and
    ``replay`` are what the workers of a service share.
    """
    nodes = frozenset({REGISTRY_NODE, REPOSITORY_NODE})
    rule = credential_rule(settings, domain)
    return Verifier(
        rule, trust_of(settings, domain, tell, alarm), trusted_nodes=nodes, once=once, replay=replay,
        cancelled=cancelled_tokens(settings, rule),
    )


def cancelled_tokens(settings: Settings, rule: CredentialRule) -> CancelledTokens | None:
    """The list of what token services took back; None where the word of none counts."""
    return CancelledTokens(settings.cancelled_tokens) if rule.token_services else None


def revocation_teller(database: Database, name: str, meter: Meter) -> revocation.Tell:
    """Count what questions about revocation came to; a silent source and an outdated answer get a line in the log."""

    def tell(what: str, detail: str) -> None:
        meter.revocation(what)
        if what == revocation.FETCHED:
            return
        action = access_log.REVOCATION_GRACE if what == revocation.GRACE else access_log.REVOCATION_UNSAID
        try:
            with database.write() as unit:
                unit.audit.append(access_log.revocation_event(name, action, detail))
        except Exception as error:
            log.error("%s is not in the log: %s", action, type(error).__name__)

    return tell


class SoftwareGate:
    """Lets homologated software through, for what it is homologated for."""

    def __init__(self, settings: Settings, domain: AffinityDomain, meter: Meter | None = None) -> None:
        """Raises TableError when the register cannot be read."""
        chosen = settings.credentials
        self._rule = SoftwareRule(chosen.software or domain.credentials.software)
        self._meter = meter
        self.source: RegisterSource | None = None
        if self._rule is not SoftwareRule.OFF:
            own = Path(chosen.software_folder or settings.domain.name)
            self.source = RegisterSource("dmp", own if own.is_dir() else None)

    def check(self, caller: Caller, transaction: str) -> Caller:
        """The caller again. Raises SoapFault that names the rule his software does not keep.

        Who only claims to be somebody and is refused is verified next, comes back here, and is counted then.
        Clause: DMP homologation (Création, Alimentation, Consultation)
        """
        if self.source is None or caller.mode in (Mode.NODE, Mode.OFF) or not caller.assertion:
            return caller
        problem = self.source.current.refusal(caller, transaction, datetime.now(UTC).date())
        if not problem:
            return caller
        is_refused = self._rule is SoftwareRule.REFUSE
        if self._meter is not None and not (is_refused and caller.is_claim):
            self._meter.software(self._rule.value)
        if is_refused:
            raise claim_fault(FAILED_AUTHENTICATION, problem, SOFTWARE_STEP)
        log.warning("software not homologated: %s", problem)
        return caller
