"""Parameters of a stored query: the syntax of their values, and how many there may be.

Values are read by a tokenizer: a comma or a doubled quote inside a string separates nothing.

Clause: ITI TF-2 3.18.4.1.2.3
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from xds import namespaces as ns
from xds.errors import ErrorCode, Finding
from xds.model import datatypes as dt
from xds.model.messages import AdhocQuery
from xds.rules import problem

Value = str | list[str] | list[list[str]]

_SPACE = " \t\r\n"
_STOP = _SPACE + ",()'"


MOST_SLOTS = 50
"""Repetitions of one parameter that are joined by AND; a bound of ours on the cost of one query."""


class Kind(StrEnum):
    """What the strings of a parameter are."""

    STRING = "string"
    CODE = "code"
    """``code^^scheme``"""
    TIME = "time"
    """DTM, quoted or not; the result is padded to 14 digits with the lowest values"""
    NUMBER = "number"
    """digits, quoted or not"""
    LIKE = "like"
    """SQL LIKE pattern"""
    STATUS = "status"
    """availability status URN; values that are neither IHE's nor of a national framework are ignored"""
    OBJECT_TYPE = "object type"
    """stable or on-demand; values that are neither are ignored"""
    ID = "id"
    """an entryUUID; a UUID URN is compared without case"""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of one query. ``name`` as on the wire, ``$`` included.

    ``multiple``: several values, any of which may match. ``and_slots``: the slot may be repeated, and all
    repetitions must match.
    """

    name: str
    kind: Kind | str = Kind.STRING
    required: bool = False
    multiple: bool = False
    and_slots: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One item of a value. ``quoted`` tells ``'20240101'`` from ``20240101``."""

    text: str
    quoted: bool


def quote(text: str) -> str:
    """One string as a parameter value: ``l'Hay`` gives ``'l''Hay'``. Clause: ITI TF-2 3.18.4.1.2.3.4"""
    return "'" + text.replace("'", "''") + "'"


def quote_list(texts: Iterable[str]) -> str:
    """Several strings as one value of a multi-valued parameter: ``('a','b')``."""
    return "(" + ",".join(map(quote, texts)) + ")"


def tokenize(text: str) -> list[Token]:
    """Items of one slot value: a string, a number, or a list of these in parentheses.

    Raises ValueError with what is expected and where. An empty value has no items.
    """
    position = _skip(text, 0)
    if position == len(text):
        return []
    if text[position] != "(":
        token, position = _item(text, position)
        _expect_end(text, position)
        return [token]
    tokens: list[Token] = []
    position = _skip(text, position + 1)
    if text[position : position + 1] == ")":
        _expect_end(text, position + 1)
        return tokens
    while True:
        token, position = _item(text, position)
        tokens.append(token)
        position = _skip(text, position)
        mark = text[position : position + 1]
        if mark == ")":
            _expect_end(text, position + 1)
            return tokens
        if mark != ",":
            raise ValueError(f"a comma or ) at character {position + 1}")
        position = _skip(text, position + 1)


def parse_params(query: AdhocQuery, specs: Sequence[Param]) -> tuple[dict[str, Value], list[Finding]]:
    """Values of the parameters of ``specs``, by wire name, and what is wrong with them.

    A single parameter gives a str, a multiple one a list, one with ``and_slots`` a list of lists (one for
    each repetition of its slot). A parameter that is absent, empty or wrong is not in the result. Names that
    are not in ``specs`` are ignored, as the registry must.

    Findings carry XDSStoredQueryMissingParam, XDSStoredQueryParamNumber or XDSRegistryError.

    Clause: ITI TF-2 3.18.4.1.2.3
    """
    slots: dict[str, list[list[str]]] = defaultdict(list)
    for name, values in query.slots:
        slots[name].append(values)
    found: dict[str, Value] = {}
    findings: list[Finding] = []
    for spec in specs:
        reader = _Reader(spec, f"AdhocQuery {query.query_id}".strip(), findings)
        value = reader.read(slots.get(spec.name, []))
        if value:
            found[spec.name] = value
    return found, findings


class _Reader:
    """Reads the slots of one parameter."""

    def __init__(self, spec: Param, subject: str, findings: list[Finding]):
        self.spec, self.subject, self.findings = spec, subject, findings
        self.kind = Kind(spec.kind)
        self.faulty = False

    def read(self, slots: Sequence[Sequence[str]]) -> Value | None:
        """The value of the parameter, None when there is none or it was reported."""
        groups = [group for group in map(self._slot, slots) if group]
        if self.faulty:
            return None
        if not groups:
            if self.spec.required:
                given = [value for values in slots for value in values if any(one.text for one in tokenize(value))]
                wanted = "a value that is known" if given else "a value"
                self._add("Q-12", ErrorCode.XDSStoredQueryMissingParam, ", ".join(given),
                          f"{wanted}: the parameter is required")
            return None
        if len(groups) > MOST_SLOTS:
            self._add("Q-06", ErrorCode.XDSStoredQueryParamNumber, f"{len(groups)} slots of this name",
                      f"at most {MOST_SLOTS}")
            return None
        if len(groups) > 1 and not self.spec.and_slots:
            self._add("Q-06", ErrorCode.XDSStoredQueryParamNumber, f"{len(groups)} slots of this name", "one slot")
            return None
        if self.spec.and_slots:
            return groups
        if self.spec.multiple:
            return groups[0]
        if len(groups[0]) > 1:
            self._add("Q-14", ErrorCode.XDSStoredQueryParamNumber, f"{len(groups[0])} values", "a single value")
            return None
        return groups[0][0]

    def _slot(self, values: Sequence[str]) -> list[str]:
        """Union of the values of one slot, those of no meaning left out."""
        items: list[str] = []
        for value in values:
            try:
                items += [item for token in tokenize(value) if (item := self._item(token))]
            except ValueError as error:
                self.faulty = True
                self._add(_RULES.get(self.kind, "Q-17"), ErrorCode.XDSRegistryError, value, str(error))
        return list(dict.fromkeys(items)) if self.spec.multiple or self.spec.and_slots else items

    def _item(self, token: Token) -> str:
        """One value in the form the query works with, "" to ignore it; ValueError when it is malformed."""
        text = unicodedata.normalize("NFC", token.text)
        if not token.quoted and self.kind not in (Kind.TIME, Kind.NUMBER):
            raise ValueError("a string in single quotes")
        if not text:
            return ""
        if self.kind is Kind.TIME:
            return dt.dtm_start(text)
        if self.kind is Kind.NUMBER:
            if not (text.isascii() and text.isdigit()):
                raise ValueError("a number")
        elif self.kind is Kind.CODE:
            code, _, scheme = text.partition("^^")
            if not code or not scheme or "^" in code or "^" in scheme:
                raise ValueError("code^^scheme, both parts given")
        elif self.kind is Kind.STATUS:
            return text if text in (ns.APPROVED, ns.DEPRECATED, ns.ARCHIVED, ns.DELETED) else ""
        elif self.kind is Kind.OBJECT_TYPE:
            return text.lower() if text.lower() in (ns.STABLE, ns.ON_DEMAND) else ""
        elif self.kind is Kind.ID and text[:9].lower() == "urn:uuid:":
            return text.lower()
        return text

    def _add(self, rule: str, code: ErrorCode, found: str, expected: str) -> None:
        self.findings.append(problem(rule, code, self.subject, self.spec.name, found=found, expected=expected))


_RULES = {Kind.CODE: "Q-08", Kind.TIME: "Q-09", Kind.NUMBER: "Q-02"}


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _expect_end(text: str, position: int) -> None:
    if _skip(text, position) != len(text):
        raise ValueError(f"nothing more at character {position + 1}")


def _item(text: str, position: int) -> tuple[Token, int]:
    """The item at ``position`` and where it ends."""
    if text[position : position + 1] == "'":
        return _string(text, position + 1)
    end = position
    while end < len(text) and text[end] not in _STOP:
        end += 1
    if end == position:
        raise ValueError(f"a value at character {position + 1}")
    word = text[position:end]
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"single quotes around the string at character {position + 1}")
    return Token(word, quoted=False), end


def _string(text: str, start: int) -> tuple[Token, int]:
    """The string whose content begins at ``start``: up to a quote that is not doubled."""
    pieces = []
    position = start
    while True:
        end = text.find("'", position)
        if end < 0:
            raise ValueError(f"a second quote for that at character {start}")
        pieces.append(text[position:end])
        if text[end + 1 : end + 2] != "'":
            return Token("".join(pieces), quoted=True), end + 1
        pieces.append("'")
        position = end + 2
