"""The register of homologated software: which versions may create, feed and consult, and until when.

Two tables, data of the domain. ``software.csv``: the homologation number, the name, the range of versions, the
profiles and the days it is valid. ``software-profiles.csv``: which profile each transaction needs. What an
installation claims of itself is no secret to it: a refusal names the rule.

Clause: DMP homologation (profiles Création, Alimentation, Consultation); VIHF LPS_ID_HOMOLOGATION_DMP, LPS_Version
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from guard.credentials.caller import Caller
from guard.professions import TableError, table_rows, table_text

log = logging.getLogger(__name__)

SOFTWARE, PROFILES = "software.csv", "software-profiles.csv"
PROFILE_NAMES = ("creation", "alimentation", "consultation")
LOOK_EVERY = 1.0
"""Seconds between two looks at a file."""
_COLUMNS = ("id", "name", "versions", "profiles", "from", "until")
_NUMBER = re.compile(r"\d+")
Version = tuple[int, ...]


class SoftwareRule(StrEnum):
    """What happens to software that is not homologated for what it asks."""

    OFF = "off"
    WARN = "warn"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Homologation:
    """One line of the register; None leaves a bound open. ``until`` is the last day."""

    id: str
    name: str
    versions: str
    first: Version | None
    last: Version | None
    profiles: frozenset[str]
    begins: date | None
    until: date | None

    def fits(self, version: str) -> bool:
        """Whether a version lies in the range: its numbers are compared one by one, ``2.10`` after ``2.9``."""
        if self.first is None and self.last is None:
            return True
        numbers = version_of(version)
        if not numbers:
            return False
        return (self.first is None or numbers >= self.first) and (
            self.last is None or numbers[: len(self.last)] <= self.last
        )


class Register:
    """Both tables, read. Immutable."""

    __slots__ = ("_by_id", "_profiles")

    def __init__(self, lines: Mapping[str, tuple[Homologation, ...]], profiles: Mapping[str, frozenset[str]]):
        self._by_id = lines
        self._profiles = profiles

    @classmethod
    def load(cls, domain: str = "dmp", folder: Path | None = None) -> Register:
        """The tables of ``folder`` where it holds them, else those of the shipped domain. Raises TableError."""
        file, text = table_text(domain, SOFTWARE, folder)
        lines: dict[str, tuple[Homologation, ...]] = {}
        for number, row in table_rows(file, text, _COLUMNS):
            one = _line(file, number, row)
            lines[one.id] = (*lines.get(one.id, ()), one)
        file, text = table_text(domain, PROFILES, folder)
        profiles = {
            row["transaction"]: _profiles(file, number, row["profiles"])
            for number, row in table_rows(file, text, ("transaction", "profiles"))
        }
        return cls(lines, profiles)

    def refusal(self, caller: Caller, transaction: str, today: date) -> str:
        """Why the software of a caller may not send this, in words that name the rule; "" when it may."""
        known = self._by_id.get(caller.homologation)
        if known is None:
            return f"software {caller.homologation!r} is not in the register of homologated software"
        fitting = [one for one in known if one.fits(caller.software_version)]
        if not fitting:
            ranges = ", ".join(one.versions or "any" for one in known)
            return f"software {caller.homologation!r} is homologated in the versions {ranges}, not in " \
                   f"{caller.software_version!r}"
        valid = [one for one in fitting if _is_valid(one, today)]
        if not valid:
            days = ", ".join(f"{one.begins or '…'} to {one.until or '…'}" for one in fitting)
            return f"the homologation of software {caller.homologation!r} is valid from {days}"
        needed, held = self._profiles.get(transaction), frozenset().union(*(one.profiles for one in valid))
        if needed is None:
            return f"{transaction} is in no row of {PROFILES}: no software is homologated for it"
        if needed and not needed & held:
            return f"{transaction} needs the profile {' or '.join(sorted(needed))}; software " \
                   f"{caller.homologation!r} is homologated for {', '.join(sorted(held)) or 'nothing'}"
        return ""


class RegisterSource:
    """The register in force: read again when a file of ``folder`` changes. Thread-safe.

    A file that cannot be used is told in the log, and changes nothing.
    """

    def __init__(self, domain: str, folder: Path | None = None, *, look_every: float = LOOK_EVERY):
        """Raises TableError: a service does not start with a register it cannot read."""
        self._domain, self._folder, self._look_every = domain, folder, look_every
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._register = Register.load(domain, folder)
        self._next_look = time.monotonic() + look_every
        self.problem = ""
        """Why the files as they are now are not in force; "" when they are."""

    @property
    def current(self) -> Register:
        if self._folder is not None and time.monotonic() >= self._next_look:
            with self._lock:
                if time.monotonic() >= self._next_look:
                    self._next_look = time.monotonic() + self._look_every
                    self._refresh()
        return self._register

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._register = Register.load(self._domain, self._folder)
        except TableError as error:
            self.problem = str(error)
            log.error("register of software not read again, the last good one stays in force: %s", error)
        else:
            self.problem = ""
            log.warning("register of software read again")

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        if self._folder is None:
            return ()
        found: list[tuple[int, int, int] | None] = []
        for name in (SOFTWARE, PROFILES):
            try:
                status = (self._folder / name).stat()
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)


Today = Callable[[], date]


def version_of(text: str) -> Version:
    """``v2.06.01`` is (2, 6, 1); () for a text without a number."""
    return tuple(int(one[:9]) for one in _NUMBER.findall(text)[:8])


def _line(file: str, number: int, row: dict[str, str]) -> Homologation:
    if not row["id"]:
        raise TableError(file, number, "id", "the homologation number is missing")
    first, dots, last = row["versions"].partition("..")
    bounds = [version_of(one) for one in ((first, last) if dots else (first, first))]
    for text, bound in zip((first, last), bounds, strict=True):
        if text and not bound:
            raise TableError(file, number, "versions", f"{text!r}; expected 1.2, 1.0..2.4, 1.0.. or nothing for any")
    return Homologation(
        row["id"], row["name"], row["versions"], bounds[0] or None, bounds[1] or None,
        _profiles(file, number, row["profiles"]),
        _day(file, number, "from", row["from"]), _day(file, number, "until", row["until"]),
    )


def _profiles(file: str, number: int, text: str) -> frozenset[str]:
    found = frozenset(text.split())
    for profile in sorted(found.difference(PROFILE_NAMES)):
        raise TableError(file, number, "profiles", f"{profile!r}; expected some of {' '.join(PROFILE_NAMES)}")
    return found


def _day(file: str, number: int, column: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise TableError(file, number, column, f"{text!r}; expected a day as 2026-01-31, or nothing") from None


def _is_valid(one: Homologation, today: date) -> bool:
    return (one.begins is None or one.begins <= today) and (one.until is None or today <= one.until)
