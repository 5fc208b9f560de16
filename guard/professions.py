"""Professions, and what the access rules and the access log need to know of each: one table, data of a domain.

Clause: DMP TRE_G15, TRE_A00, TRE_R01, TRE_R02 (codes); R526 (actors)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from xds.model.codes import Code

TABLE_LIMIT = 2 * 1024 * 1024
"""Bytes; a table of rules larger than this is a mistake."""


class TableError(ValueError):
    """A table of rules cannot be used. Says file, line, column and what would be accepted."""

    def __init__(self, file: str, line: int, column: str, problem: str):
        self.file, self.line, self.column, self.problem = file, line, column, problem
        super().__init__(f"{file}, line {line}{f', column {column!r}' if column else ''}: {problem}")


def table_text(domain: str, name: str, folder: Path | None = None) -> tuple[str, str]:
    """(name for messages, text) of a table: the operator's ``folder`` if it holds one, else the one shipped.

    Raises TableError when it is missing, too large or not UTF-8.
    """
    own = folder / name if folder else None
    source = own if own and own.exists() else resources.files("schemas") / "domains" / domain / name
    try:
        raw = source.read_bytes()
    except OSError as problem:
        raise TableError(name, 0, "", f"the table cannot be read ({type(problem).__name__})") from problem
    return name, decode_table(name, raw)


def decode_table(name: str, raw: bytes) -> str:
    """Bounded UTF-8 text, with or without a byte-order mark."""
    if len(raw) > TABLE_LIMIT:
        raise TableError(name, 0, "", f"{len(raw)} bytes; at most {TABLE_LIMIT} are read")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        raise TableError(name, line, "", "not UTF-8") from problem


def table_rows(file: str, text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV whose header is exactly ``columns``; values are stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in header:
            if name not in columns:
                raise TableError(file, 1, name, f"unknown column; expected {', '.join(columns)}")
        for name in columns:
            if header.count(name) != 1:
                raise TableError(file, 1, name, f"{header.count(name)} columns of this name; expected one")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise TableError(file, reader.line_num, "", f"{len(cells)} values; expected {len(header)}")
            yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except csv.Error as problem:
        raise TableError(file, reader.line_num, "", f"not a CSV table: {problem}") from problem


@dataclass(frozen=True, slots=True)
class Profession:
    """One code. ``actor`` is the R526 column family (MD, PS, CPE, ST, OP); ``column`` that of the type matrix."""

    actor: str
    column: str
    title: str
    french: str
    english: str


ACTORS = ("MD", "PS", "CPE", "ST", "OP", "by role", "-")
"""``by role``: the second role of the assertion decides. ``-``: known by name, but no column of R526 is meant
for it, so no right at all."""
_COLUMNS = ("scheme", "code", "actor", "column", "title", "french", "english")


class Professions:
    """The table, by scheme and code. Immutable."""

    __slots__ = ("_rows", "excluded", "occupational")

    def __init__(self, rows: dict[tuple[str, str], Profession]):
        self._rows = rows
        self.occupational = frozenset(code for (_, code), row in rows.items() if row.actor == "OP")
        """Codes of specialties and sectors of activity that make a caller an occupational-health actor."""
        self.excluded = frozenset(code for (_, code), row in rows.items() if row.actor == "-")
        """Codes without any right; as a sector of activity (insurers) they take it from whoever works there."""

    @classmethod
    def load(cls, domain: str = "dmp", folder: Path | None = None) -> Professions:
        """Raises TableError."""
        file, text = table_text(domain, "professions.csv", folder)
        rows: dict[tuple[str, str], Profession] = {}
        for line, row in table_rows(file, text, _COLUMNS):
            key = (row["scheme"], row["code"])
            if not all(key):
                raise TableError(file, line, "code", "scheme and code are both required")
            if key in rows:
                raise TableError(file, line, "code", f"{row['code']} of {row['scheme']} is listed twice")
            if row["actor"] not in ACTORS:
                raise TableError(file, line, "actor", f"{row['actor']!r}; expected one of {', '.join(ACTORS)}")
            rows[key] = Profession(row["actor"], row["column"], row["title"], row["french"], row["english"])
        return cls(rows)

    def find(self, code: Code | None) -> Profession | None:
        """The row of this code in its own scheme, None when unknown."""
        return self._rows.get((code.scheme, code.code)) if code else None

    def columns(self) -> frozenset[str]:
        """Columns of the type matrix that some profession uses."""
        return frozenset(row.column for row in self._rows.values() if row.column)


@lru_cache(maxsize=4)
def shipped_professions(domain: str = "dmp") -> Professions:
    """The table of a shipped domain, read once."""
    return Professions.load(domain)
