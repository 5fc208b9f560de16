"""Assertions kept for proof: found by the act they were shown for, and verified again as of that day.

Clause: ITI TF-2 3.40.4.1.3; DMP VIHF (signature of the card or of the structure)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from lxml import etree

from carnet.acceptance import credential_rule
from carnet.affinity import domain_of
from carnet.settings import Settings
from guard.credentials import attributes, signature, token
from guard.credentials.certificates import TrustStore, Use
from guard.credentials.revocation_check import Revocation, RevocationRule
from guard.credentials.revocation_lists import Revoked, signed_by
from guard.credentials.rule import CredentialRule
from guard.credentials.statements import Times, check_subject
from storage.proofs import Proof
from xds.wire.faults import SoapFault

_BILLION = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one assertion said, and whether it still proves it. ``problem`` is "" when it holds."""

    sha256: str
    accepted_at: str
    """UTC"""
    assertion_id: str = ""
    identifier: str = ""
    mode: str = ""
    version: str = ""
    structure_id: str = ""
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    patient_id: str = ""
    software: str = ""
    homologation: str = ""
    signer: str = ""
    """Subject of the certificate that signed"""
    serial: str = ""
    revoked_since: str = ""
    """The certificate was good then, and taken back at this time"""
    problem: str = ""

    @property
    def holds(self) -> bool:
        return not self.problem

    def in_words(self) -> str:
        lines = [f"assertion {self.sha256}, accepted {self.accepted_at}"]
        if not self.holds:
            return f"{lines[0]}\n  IT DOES NOT HOLD: {self.problem}"
        told = {
            "who": f"{self.identifier} ({self.mode}, VIHF {self.version})" if self.version else self.identifier,
            "structure": self.structure_id, "roles": ", ".join(self.roles), "purpose": ", ".join(self.purposes),
            "patient": self.patient_id, "software": f"{self.software} {self.homologation}".strip(),
            "signed by": f"{self.signer}, serial {self.serial}",
        }
        lines += [f"  {name}: {value}" for name, value in told.items() if value]
        since = f", revoked since {self.revoked_since}" if self.revoked_since else ""
        return "\n".join([*lines, f"  the signature holds, and the certificate was good on that day{since}"])


class _AsOfThen(Revocation):
    """Only a revocation that had happened counts; what was said later is another matter."""

    def __init__(self) -> None:
        super().__init__(RevocationRule(required=False))
        self.later: datetime | None = None

    def until(
        self, certificate: x509.Certificate, issuer: x509.Certificate,
        folder: Sequence[x509.CertificateRevocationList], now: datetime,
    ) -> datetime | None:
        for crl in folder:
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is None or crl.issuer != issuer.subject or not signed_by(crl, issuer):
                continue
            if entry.revocation_date_utc <= now:
                raise Revoked(f"revoked at {entry.revocation_date_utc.isoformat()}")
            self.later = entry.revocation_date_utc
        return None


def find(databases: Iterable[tuple[str, Any]], what: str) -> list[Proof]:
    """Proofs named by this hash, or by lines of this trace, each once. Closes the databases."""
    found: dict[str, Proof] = {}
    for _, database in databases:
        try:
            with database.read() as unit:
                for key in (what.lower(), *unit.proofs.named(what)):
                    if (one := unit.proofs.find(key)) is not None:
                        found.setdefault(one.sha256, one)
        finally:
            database.close()
    return list(found.values())


def verify(settings: Settings, proof: Proof, trust_folder: Path | None = None) -> Checked:
    """Verify one kept assertion as of the moment it was accepted. Raises TrustError for a folder of no use."""
    rule = credential_rule(settings, domain_of(settings))
    moment = datetime.fromtimestamp(proof.number / _BILLION, UTC)
    then = _AsOfThen()
    trust = TrustStore(trust_folder or settings.pki / "trust", revocation=then, clock=lambda: moment)
    told = Checked(sha256=proof.sha256, accepted_at=moment.isoformat(timespec="seconds"))
    try:
        tree = token.reparse(proof.assertion)
        signed = signature.verify(tree, trust, Use.VIHF_SIGNATURE if rule.vihf else Use.TOKEN_SIGNATURE, moment)
        if signed.sha256 != proof.sha256:
            return replace(told, problem="it is not the assertion that the log names")
        return _said(signed.root, signed.signer.certificate, told, rule, moment, then.later)
    except SoapFault as fault:
        return replace(told, problem=fault.detail)


def _said(
    root: etree._Element, certificate: x509.Certificate, told: Checked, rule: CredentialRule, moment: datetime,
    revoked_since: datetime | None,
) -> Checked:
    """What it says, read without the value sets of today."""
    then = CredentialRule(vihf=rule.vihf, clock_skew=0, reasons=frozenset())
    said = attributes.read(root, then)
    name_id, _ = check_subject(root, replace(then, require_subject_confirmation=False), Times(moment, moment - moment))
    return replace(
        told,
        assertion_id=str(root.get("ID")),
        identifier=name_id,
        mode=said.mode.value,
        version=said.version,
        structure_id=said.structure_id,
        roles=tuple(role.key for role in said.roles),
        purposes=tuple(purpose.key for purpose in said.purposes),
        patient_id=said.patient_id,
        software=said.software,
        homologation=said.homologation,
        signer=certificate.subject.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        revoked_since=revoked_since.isoformat(timespec="seconds") if revoked_since else "",
    )
