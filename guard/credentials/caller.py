"""The authenticated caller of one request. Clause: ITI TF-2 3.40.4.1.3"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xds.model.codes import Code


class Mode(StrEnum):
    """How the caller proved who is acting. Clause: DMP VIHF Authentification_mode"""

    DIRECT = "DIRECTE"
    INDIRECT = "INDIRECTE"
    REINFORCED_INDIRECT = "INDIRECTE_RENFORCEE"
    NODE = "NODE"
    """One of our own systems, by its certificate alone (repository to registry)."""
    PATIENT = "PATIENT"
    """The holder of a record, for whom his account vouches: ``patient_id`` is his own record."""
    REPRESENTATIVE = "REPRESENTANT"
    """A legal representative, likewise: ``patient_id`` is the record he acts for."""
    OFF = "OFF"
    """Credentials switched off by the affinity domain: nobody is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Everything an accepted credential says; built only by the verifier.

    ``identifier`` is the national identifier of the person (PS_IdNat) or, for an automaton, of the
    person responsible; ``structure_id`` is Struct_IdNat. ``assertion`` holds the exact signed bytes,
    kept for proof and forwarded from repository to registry.
    """

    identifier: str
    mode: Mode
    name: str = ""
    profession: Code | None = None
    specialty: Code | None = None
    structure_id: str = ""
    structure_name: str = ""
    sector: str = ""
    purpose: str = "normal"
    """``normal``, ``bris_de_glace`` or ``centre_15`` (TRE_R248)."""
    purpose_code: Code | None = None
    """The purpose as the token codes it, None when it names none."""
    further_purposes: tuple[Code, ...] = ()
    """More of them, which plain XUA allows; decisions look at the first."""
    purpose_reason: str = ""
    patient_id: str = ""
    """CX of the patient the assertion names, "" when it names none."""
    secret_connection: bool = False
    issuer: str = ""
    assertion_id: str = ""
    assertion: bytes = field(default=b"", repr=False)
    assertion_sha256: str = ""
    """Of the signed bytes, 64 hexadecimal digits: the key of its proof. "" without an assertion, and of a claim."""
    certificate_sha256: str = ""
    software: str = ""
    """Name and version"""
    software_version: str = ""
    software_id: str = ""
    """LPS_ID, of the installation"""
    homologation: str = ""
    """LPS_ID_HOMOLOGATION_DMP"""
    user_profile: str = ""
    """Profil_Utilisateur"""
    vihf_version: str = ""
    authn_class: str = ""
    """AuthnContextClassRef"""
    authn_declaration: str = ""
    """AuthnContextDecl: what vouches for the person in reinforced indirect mode"""

    @property
    def is_claim(self) -> bool:
        """An assertion names him whose signature nobody here has verified."""
        return bool(self.assertion) and not self.assertion_sha256

    @property
    def audit_name(self) -> str:
        """``alias<user@issuer>``. Clause: ITI TF-2 3.40.4.2"""
        return f"<{self.identifier}@{self.issuer}>" if self.issuer else self.identifier
