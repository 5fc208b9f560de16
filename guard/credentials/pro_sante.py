"""A professional as Pro Santé Connect describes her: identifier, name, and where she practises as what.

``SubjectRefPro.exercices`` holds one entry for each profession exercised, each with its activities; an activity names
its structure by several numbers. Everything unknown is passed over, everything of a wrong form refused.

Clause: Pro Santé Connect, claims of scope_all (SubjectNameID, SubjectRefPro); DMP PS_IdNat, Struct_IdNat
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from guard.credentials import vihf
from guard.credentials.openid import Claims, LoginRefused
from xds.model.codes import Code

_SCHEMES = (vihf.PROFESSIONS, "1.2.250.1.213.1.6.1.109", "1.2.250.1.213.1.6.1.4", "1.2.250.1.213.1.6.1.140")
"""TRE_G15 and the tables beside it: Pro Santé Connect gives the code of a profession without its table."""
NATIONAL = re.compile(r"8[0-9]{11}|0[0-9A-Z]{9}|[1-6][0-9A-Z]{8,14}/[!-.0-~]{1,40}")
"""Form of PS_IdNat."""
_MOST = 100
"""Exercises of a person, and activities of one."""
_NUMBERS = (
    ("numeroFinessSite", "1"), ("numeroFinessetablissementJuridique", "1"), ("numeroSirenSite", "2"),
    ("numeroSiretSite", "3"), ("ancienIdentifiantDeLaStructure", ""), ("identifiantTechniqueDeLaStructure", ""),
)
"""Numbers by which an activity names its structure, and the digit that makes a Struct_IdNat of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """One activity. ``sector`` is ``code^OID``; ``profession`` and ``specialty`` are codes, "" for none."""

    profession: str
    specialty: str
    is_student: bool
    sector: str
    structures: frozenset[str]
    """Every Struct_IdNat its structure goes by."""
    name: str
    """Surname and given name she practises under."""

    def roles(self, accepted: Container[str]) -> tuple[Code, ...]:
        """Profession, then specialty where it is among the ``accepted`` (``code^^OID``). Raises LoginRefused."""
        schemes = (vihf.IN_TRAINING,) if self.is_student else _SCHEMES
        professions = [code for scheme in schemes if (code := Code(self.profession, scheme)).key in accepted]
        if not professions:
            raise LoginRefused(f"profession {self.profession!r} has no role here")
        specialty = Code(self.specialty, vihf.SPECIALTIES, self.specialty)
        return (professions[0], specialty) if specialty.key in accepted else (professions[0],)


@dataclass(frozen=True, slots=True, kw_only=True)
class Professional:
    """``identifier`` is PS_IdNat."""

    identifier: str
    practices: tuple[Practice, ...]


def read(claims: Claims) -> Professional:
    """Raises LoginRefused when the claims name no professional, or not where she practises."""
    identifier = _text(claims, "SubjectNameID")
    if not NATIONAL.fullmatch(identifier):
        raise LoginRefused("SubjectNameID is missing or no national identifier (PS_IdNat)")
    described = claims.get("SubjectRefPro")
    if not isinstance(described, dict):
        raise LoginRefused("SubjectRefPro is missing: the access token has to come along")
    name = f"{_text(claims, 'family_name')} {_text(claims, 'given_name')}".strip()
    practices = [
        _practice(exercise, activity, name)
        for exercise in _list(described, "exercices")
        for activity in _list(exercise, "activities")
    ]
    return Professional(identifier=identifier, practices=tuple(practices))


def chosen(person: Professional, structure_id: str, *, role: str = "", sector: str = "") -> Practice:
    """The one activity in that structure; ``role`` (code of a profession) and ``sector`` (``code^OID``) tell between
    several.

    Raises LoginRefused when she has none there, or when more than one is left.
    """
    there = [one for one in person.practices if structure_id in one.structures]
    if not there:
        raise LoginRefused("the person has no activity in the calling structure")
    left = [one for one in there if role in ("", one.profession) and sector in ("", one.sector)]
    if not left:
        raise LoginRefused("the person has no such role or sector in the calling structure")
    if len({(one.profession, one.specialty, one.is_student, one.sector) for one in left}) > 1:
        raise LoginRefused("several activities in the calling structure, and none was chosen")
    return left[0]


def _practice(exercise: dict[str, Any], activity: dict[str, Any], name: str) -> Practice:
    known = {prefix + number for key, prefix in _NUMBERS if (number := _text(activity, key))}
    practised = f"{_text(exercise, 'nomDexercice')} {_text(exercise, 'prenomDexercice')}".strip()
    return Practice(
        profession=_text(exercise, "codeProfession"), specialty=_text(exercise, "codeSavoirFaire"),
        is_student=_text(exercise, "codeCategorieProfessionnelle") == "E",
        sector=f"{_text(activity, 'codeSecteurDactivite')}^{vihf.SECTORS}",
        structures=frozenset(known), name=practised or name,
    )


def _text(holder: Claims, name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise LoginRefused(f"{name} is not text")
    return value


def _list(holder: Claims, name: str) -> list[dict[str, Any]]:
    value = holder.get(name, [])
    if not isinstance(value, list) or len(value) > _MOST or not all(isinstance(one, dict) for one in value):
        raise LoginRefused(f"{name} is not a list of descriptions, or too long")
    return value
