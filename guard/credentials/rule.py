"""What a community asks of a credential: one value, part of its affinity domain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from guard.credentials.structures import NO_STRUCTURES, Structures


class Required(StrEnum):
    """What a caller must show."""

    ASSERTION = "assertion"
    """A TLS client certificate and a signed assertion."""
    TLS = "tls"
    """A TLS client certificate; an assertion in the message is not looked at."""
    OFF = "off"
    """Nothing. For test events only."""


class Replay(StrEnum):
    """What happens when an assertion is shown again before it ends."""

    COUNT = "count"
    """Accepted and counted, because one assertion usually serves a whole session; OneTimeUse is still honoured."""
    STRICT = "strict"
    """Refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRule:
    """Every choice of the validation procedure. Times are in seconds; an empty set of values means any value.

    The defaults are those of ``dmp``. Clause: ITI TF-2 3.40.4.1.3; DMP VIHF 3.0
    """

    required: Required = Required.ASSERTION
    vihf: bool = True
    """French profile: its mandatory attributes, and the bindings between person or structure, signature and TLS.
    Without it any assertion of a trusted provider is accepted on plain XUA terms."""
    clock_skew: int = 60
    max_age: int = 600
    """Greatest age of IssueInstant for an assertion that carries no NotOnOrAfter."""
    max_lifetime: int = 3600
    """Longest time between IssueInstant or NotBefore and NotOnOrAfter."""
    max_authn_age: int = 12 * 3600
    require_not_on_or_after: bool = False
    """False for VIHF, which carries none; plain XUA sets it."""
    require_audience: bool = False
    audiences: frozenset[str] = frozenset()
    """URIs of this service or affinity domain. An assertion that names audiences must name one of these."""
    require_subject_confirmation: bool = False
    recipients: frozenset[str] = frozenset()
    """Values accepted as Recipient of a SubjectConfirmationData; empty means it is not compared."""
    issuers: frozenset[str] = frozenset()
    """Issuer texts accepted outside the French profile; empty means any whose signature is trusted."""
    token_services: frozenset[str] = frozenset()
    """SHA-256 of certificates (64 hexadecimal digits) that may speak for others in the French profile; whose cancelled
    assertions are refused, in every profile"""
    portals: frozenset[str] = frozenset()
    """SHA-256 of certificates (64 hexadecimal digits) whose assertions speak for patients, in the French profile"""
    authn_classes: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    """``code^^system``"""
    reasons: frozenset[str] = frozenset({"bris_de_glace", "centre_15"})
    """Codes of purposes of use that an assertion of the French profile must give a reason for"""
    roles: frozenset[str] = frozenset()
    """``code^^system``"""
    sectors: frozenset[str] = frozenset()
    """``code^^system``"""
    second_roles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """First role (``code^^system``) to the coding system its second role must have; roles of these systems come
    second only. Clause: DMP VIHF role"""
    person_forms: re.Pattern[str] | None = None
    """What a NameID of the French profile looks like (PS_IdNat); None compares nothing"""
    structure_forms: re.Pattern[str] | None = None
    """The same of Identifiant_Structure (Struct_IdNat)"""
    direct_classes: frozenset[str] = frozenset()
    """Authentication contexts of a card that signs for itself; empty means those of ``authn_classes``"""
    structures: Structures = NO_STRUCTURES
    """Which sites the certificate of a legal entity serves"""
    replay: Replay = Replay.COUNT
    max_bytes: int = 128 * 1024
    """Greatest size of one assertion."""
    remember: int = 2048
    """Verified assertions kept so that the next use costs nothing; 0 switches the memory off."""
