"""Administrative data of a record: who the patient is, how to reach him, who represents him.

Plain values, as they came: nothing of it decides a right, and none of it may reach a log.

Clause: DMP TD1.3a, TD1.3b; CI-SIS Structuration minimale 3.5.5.12
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

RELATIONS = frozenset(
    ["FTH", "MTH", "STPFTH", "STPMTH", "GRFTH", "GRMTH", "GGRFTH", "GGRMTH", "AUNT", "UNCLE", "BRO", "SIS", "RESPRSN"]
)
"""Relation of a legal representative to the patient."""
SEXES = frozenset({"", "M", "F", "U", "UN"})
MAX_FIELD = 200
MAX_REPRESENTATIVES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Representative:
    """A legal representative. ``relation`` is one of RELATIONS; ``identifier`` is that of his account, if any."""

    family_name: str
    given_name: str = ""
    relation: str = ""
    identifier: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministrativeData:
    """Traits and addresses; "" for what is not known. ``birth_date`` is YYYY-MM-DD, ``birth_place`` a COG code."""

    birth_name: str = ""
    birth_given_names: str = ""
    used_name: str = ""
    used_given_name: str = ""
    sex: str = ""
    birth_date: str = ""
    birth_place: str = ""
    street: str = ""
    postal_code: str = ""
    city: str = ""
    country: str = ""
    phone: str = ""
    mobile: str = ""
    email: str = ""
    representatives: tuple[Representative, ...] = ()

    def __repr__(self) -> str:
        return "AdministrativeData(...)"  # a trait must not reach a log by way of a repr

    def as_json(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if value}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> AdministrativeData:
        given: dict[str, Any] = json.loads(text or "{}")
        given["representatives"] = tuple(Representative(**one) for one in given.get("representatives", ()))
        return cls(**given)


_TEXTS = tuple(one.name for one in fields(AdministrativeData) if one.name != "representatives")


def faults(data: AdministrativeData, today: date) -> list[str]:
    """Names of the fields that cannot be kept, never their values."""
    found = [name for name in _TEXTS if not _is_text(getattr(data, name))]
    if data.sex not in SEXES:
        found.append("sex")
    if data.birth_date and not _is_past_day(data.birth_date, today):
        found.append("birth_date")
    if len(data.representatives) > MAX_REPRESENTATIVES:
        found.append("representatives")
    for number, one in enumerate(data.representatives, 1):
        if not one.family_name.strip() or not all(map(_is_text, asdict(one).values())):
            found.append(f"representative {number}")
        if one.relation not in RELATIONS:
            found.append(f"relation of representative {number}")
    return list(dict.fromkeys(found))


def search_key(name: str) -> str:
    """The form in which names are compared: no accents, no case, blanks for hyphens and apostrophes."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(letters.split())


def _is_text(value: str) -> bool:
    return len(value) <= MAX_FIELD and value.isprintable()


def _is_past_day(value: str, today: date) -> bool:
    try:
        return len(value) == 10 and date.fromisoformat(value) <= today
    except ValueError:
        return False
