"""What an affinity domain asks of the signatures of submission sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xds.model import DocumentEntry

DEPOSITS = ("required", "optional", "off")
FORMS = ("french", "ihe")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRules:
    """The signature of a submission set: what is asked, and how its document is told. Codes as ``code^^scheme``."""

    deposit: str = "off"
    """``required``: no deposit without one; ``optional``: verified when present; ``off``: stored unread."""
    form: str = "ihe"
    """``french`` or ``ihe``: how our own software writes it."""
    format_code: str = ""
    """Tells a signature document; "" where the domain has none."""
    class_code: str = ""
    type_code: str = ""
    purpose: str = ""
    """eventCodeList of a signature document holds it, when it is given."""
    confidentiality: tuple[str, ...] = ()
    """Every confidentiality code of a signature document; empty = any."""
    names_set: bool = False
    """A ``signs`` association may point at the SubmissionSet."""

    def is_signature(self, entry: DocumentEntry) -> bool:
        """Whether an entry is that of a signature document, by format or by class."""
        told = {code.key for code in (entry.format_code, entry.class_code) if code is not None}
        return bool(told & ({self.format_code, self.class_code} - {""}))


def signature_rules(settings: Mapping[str, Any]) -> SignatureRules:
    """The section ``[signatures]`` of a domain's file. Raises ValueError."""
    rules = SignatureRules(**{**settings, "confidentiality": tuple(settings.get("confidentiality", ()))})
    for name, value, known in (("deposit", rules.deposit, DEPOSITS), ("form", rules.form, FORMS)):
        if value not in known:
            raise ValueError(f"signatures.{name} is {value!r}; expected one of {', '.join(known)}")
    if rules.deposit != "off" and not rules.format_code:
        raise ValueError("signatures.format_code is missing; name the format of signature documents")
    return rules
