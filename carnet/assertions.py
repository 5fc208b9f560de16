"""Which assertion a card makes for the domain of an installation: the VIHF, plain XUA, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lxml import etree

from carnet.acceptance import credential_rule
from carnet.affinity import domain_of
from carnet.settings import Settings
from guard.credentials import distinguished_name, vihf, xua
from guard.credentials.cards import Card
from guard.credentials.identity import Kind
from guard.credentials.rule import Required
from xds.model import Code

AUTOMATE = Code("AUTOMATE", "1.2.250.1.213.1.1.4.6", "Automate")
STAFF = Code("SECRETARIAT_MEDICAL", "1.2.250.1.213.1.1.4.6", "Secrétariat médical")
PHYSICIAN = Code("112247003", "2.16.840.1.113883.6.96", "Medical doctor")
TREATMENT = Code("TREATMENT", "2.16.840.1.113883.3.18.7.1", "Treatment")
AUDIENCE = "urn:carnet:connectathon"
FRENCH_PURPOSES = (vihf.NORMAL, vihf.BREAK_GLASS, vihf.EMERGENCY_CENTRE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the services of one installation ask of an assertion. The defaults are those of ``dmp``."""

    mode: Required = Required.ASSERTION
    is_vihf: bool = True
    audience: str = AUDIENCE
    roles: Mapping[str, str] | None = None
    """``code^^system`` to label, the usual one first; so are the purposes"""
    purposes: Mapping[str, str] | None = None

    @classmethod
    def of(cls, settings: Settings | None) -> Desk:
        """That of an installation; without one, that of the default domain. Raises ValueError as the services do."""
        if settings is None:
            return cls()
        domain = domain_of(settings)
        asked, chosen = domain.credentials, settings.credentials
        audiences = chosen.audiences or sorted(asked.audiences)
        return cls(
            mode=credential_rule(settings, domain).required,
            is_vihf=asked.profile == "vihf",
            audience=AUDIENCE if AUDIENCE in audiences or not audiences else audiences[0],
            roles=_labelled(chosen.roles, asked.roles),
            purposes=_labelled(chosen.purposes, asked.purposes),
        )

    def signing(
        self, card: Card | None, *, structure_id: str = "", purpose: str = "", reason: str = "",
        is_secret: bool = False, account: str = "",
    ) -> Callable[[str], bytes]:
        """From the CX of a patient to the bytes to send: b"" where no assertion is asked for.

        Raises ValueError for a purpose that is none of the domain's, and for a secret connection where none is.
        """
        if is_secret and not self.is_vihf:
            raise ValueError("plain XUA has no secret connection")
        if is_secret and self.mode is not Required.ASSERTION:
            raise ValueError("without an assertion there is no secret connection")
        if self.mode is not Required.ASSERTION:
            return lambda _: b""
        if card is None:
            raise ValueError("an assertion needs a card that signs it")
        self.purpose(purpose)
        pair = card.signature
        return lambda patient: vihf.sign(
            self.build(
                card, patient_id=patient, structure_id=structure_id, purpose=purpose, reason=reason,
                is_secret=is_secret, account=account,
            ), pair,
        )

    def build(
        self, card: Card, *, patient_id: str = "", structure_id: str = "", purpose: str = "", role: str = "",
        reason: str = "", is_secret: bool = False, account: str = "",
    ) -> etree._Element:
        """The assertion without its signature. ``reason`` is why, for an access by emergency; ``is_secret`` a secret
        connection with a young patient; ``account`` who is at the portal whose certificate this is (all VIHF).

        Raises ValueError for an unknown purpose, NoSignatureKey."""
        issuer = distinguished_name.write(card.signature.certificate.subject)
        if self.is_vihf:
            given = (_code(role, {}),) if role else default_roles(card)
            return vihf.build(
                vihf.for_card(
                    card, structure_id=structure_id, patient_id=patient_id, purpose=self.purpose(purpose),
                    purpose_reason=reason, roles=given, is_secret_connection=is_secret,
                    name_id=f"{card.identity.unit}/{account}" if account else "",
                ),
                issuer,
            )
        return xua.build(
            xua.for_card(
                card,
                audience=self.audience,
                role=_code(role, self.roles or {}) if role else _first(self.roles, PHYSICIAN),
                purpose=self.purpose(purpose),
                patient_id=patient_id,
            ),
            issuer,
        )

    def purpose(self, given: str) -> Code:
        """The purpose of use of that name: French ones by their code, others as ``code^^system``."""
        if self.is_vihf:
            for code in FRENCH_PURPOSES:
                if (given or vihf.NORMAL.code) in (code.code, code.key):
                    return code
            raise ValueError(f"{given} is no purpose of use; give one of {', '.join(c.code for c in FRENCH_PURPOSES)}")
        return _code(given, self.purposes or {}) if given else _first(self.purposes, TREATMENT)


def default_roles(card: Card) -> tuple[Code, ...]:
    """The role of a card that states no profession; () where the card states one. Clause: DMP VIHF role (TRE_A00)"""
    if card.kind is not Kind.PERSON:
        return (AUTOMATE,)
    return () if vihf.card_roles(card) else (STAFF,)


def _labelled(chosen: Sequence[str], asked: Mapping[str, str]) -> Mapping[str, str]:
    return {key: asked.get(key, "") for key in chosen} if chosen else asked


def _first(listed: Mapping[str, str] | None, otherwise: Code) -> Code:
    return next((_code(key, {key: label}) for key, label in (listed or {}).items()), otherwise)


def _code(given: str, listed: Mapping[str, str]) -> Code:
    """``code^^system``, or the code alone where the domain lists it."""
    key = given if "^^" in given else next((key for key in listed if key.partition("^^")[0] == given), "")
    value, _, system = key.partition("^^")
    if not value or not system:
        raise ValueError(f"{given} is not code^^system, nor a code the domain lists: {', '.join(listed)}")
    return Code(value, system, listed.get(key, ""))
