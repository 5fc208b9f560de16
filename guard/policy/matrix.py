"""The two matrices of rights, as data: who may call what (R526), and which profession reads which type of document.

An operator replaces a whole table with a folder of his own, or single cells with an override table of the
same columns in which an empty cell means "unchanged" (H-03).

Clause: DMP R526 v1.8, R606 v1.3; arrêté du 26/10/2023 (annex; cells not published there are defaults of ours)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from guard.policy.facts import Action
from guard.professions import TableError, decode_table, table_rows, table_text

PROFESSION_COLUMNS = (
    "10", "21", "26", "28", "31", "32", "40", "50", "60", "69", "70", "80", "81", "82", "83", "84", "85", "86",
    "91", "92", "94", "95", "96", "98", "role", "occupational",
)
READ, SEARCH_ONLY, NO = "R", "S", "-"
"""Cells: read (and find), find without reading, neither."""

_ACCESS_COLUMNS = ("level", "code", "scheme", "follows", "label", *PROFESSION_COLUMNS, "attested")

RIGHT_COLUMNS = (
    "PS n", "PS r", "PS b", "MD n", "MD r", "MD b", "OP", "MT n", "MT b", "CPE n", "ST n", "ST r", "PA", "RL", "SYS",
)
"""Actor and mode of access: n normal, r regulation (centre 15), b break-glass. PA the patient, RL his legal
representative, SYS our own systems: these three are columns of ours, R526 is about professionals."""

AIR_ACTORS = ("PS", "MD", "MT")
"""R606 has columns for these actors only."""

STAND_IN = {"MT r": "MD r"}
"""R526 prints no MT column for regulation: there he is a physician like any other."""

RIGHTS_OF_ACTION: Mapping[Action, tuple[str, ...]] = {
    Action.EXISTS: ("TD0",),
    Action.DECLARE: ("TD0.3-declare",),
    Action.WITHDRAW: ("TD0.3-remove",),
    Action.ATTEND: ("TD0.3-become-mt",),
    Action.STOP_ATTENDING: ("TD0.3-stop-mt",),
    Action.LIST_RECORDS: ("TD0.4",),
    Action.SEARCH_PATIENTS: ("TD0.5",),
    Action.BROWSE: ("TD0.9",),
    Action.OPEN: ("TD1.1",),
    Action.REOPEN: ("TD1.2",),
    Action.READ_DATA: ("TD1.3a",),
    Action.CHANGE_DATA: ("TD1.3b",),
    Action.CLOSE: ("TD1.4",),
    Action.ACCOUNT: ("TD1.5",),
    Action.LIST_CIRCLE: ("TD1.6",),
    Action.AUTHORISE: ("authorise",),
    Action.BLOCK: ("block",),
    Action.UNBLOCK: ("unblock",),
    Action.OBJECT: ("object",),
    Action.READ_LOG: ("log",),
    Action.BE_TOLD: ("notices",),
    Action.ASK_DESTRUCTION: ("destruction",),
    Action.DESTROY: ("destroy",),
    Action.FEED: ("TD2.1", "TD2.2"),
    Action.SEARCH: ("TD3.1",),
    Action.SEARCH_ID: ("TD3.1-id",),
    Action.READ: ("TD3.2",),
    Action.MASK: ("TD3.3a-mask",),
    Action.UNMASK: ("TD3.3a-unmask",),
    Action.REVEAL: ("TD3.3b",),
    Action.SHOW: ("TD3.3b-show",),
    Action.HIDE: ("TD3.3b-hide",),
    Action.DELETE: ("TD3.3c",),
    Action.ARCHIVE: ("TD3.3d",),
    Action.AMEND: ("ITI-57-other",),
    Action.MOVE: (),
    Action.REMOVE: ("remove",),
}
"""An action is open to a column when any of its rights says so there: ``Y`` without bounds, ``own`` for what is the
caller's own, ``str`` for his structure's, ``new`` for new authorisations. An action without a right is nobody's."""

READ_STATES = ("TD3.2-masked", "TD3.2-invisible", "TD3.2-invisible-rl", "TD3.2-status")
"""Rights that widen or narrow TD3.2 by the state of a document; ``pat``: where the patient allows it."""

RIGHTS = (*dict.fromkeys(right for rights in RIGHTS_OF_ACTION.values() for right in rights), *READ_STATES)
_RIGHT_CELLS = ("Y", "-", "own", "pat", "str", "new")
_RIGHT_TABLE = ("right", "label", *RIGHT_COLUMNS, "AIR", "note")

Row = dict[str, str]


class AccessMatrix:
    """Document type × profession. Immutable once loaded.

    Types are ``code^^scheme``. A type row follows its class row wherever its own cell is empty.
    A type that has no row is read by nobody but its author.
    """

    __slots__ = ("_cells", "_labels", "attested")

    def __init__(self, cells: dict[str, dict[str, str]], labels: dict[str, str], attested: frozenset[tuple[str, str]]):
        self._cells = cells
        self._labels = labels
        self.attested = attested
        """(type, column) of the cells that a public source states; the others are defaults of ours."""

    @classmethod
    def load(cls, domain: str = "dmp", folder: Path | None = None, override: Path | None = None) -> AccessMatrix:
        """Read, merge and check. Raises TableError naming file, line and column."""
        file, text = table_text(domain, "access-matrix.csv", folder)
        rows = _access_rows(file, text)
        if override is not None:
            _merge(rows, _access_rows(override.name, _override_text(override)), "attested")
        return _resolve(file, rows)

    def cell(self, type_code: str, column: str) -> str:
        """R, S or -; - for an unknown type or column."""
        return self._cells.get(type_code, {}).get(column, NO)

    def types(self) -> tuple[str, ...]:
        return tuple(self._cells)

    def readable(self, column: str) -> frozenset[str]:
        """Types this column reads."""
        return frozenset(t for t, cells in self._cells.items() if cells.get(column, NO) == READ)

    def findable(self, column: str) -> frozenset[str]:
        """Types whose metadata this column finds in a query."""
        return frozenset(t for t, cells in self._cells.items() if cells.get(column, NO) != NO)

    def describe(self) -> str:
        """The whole matrix as a text table; ``*`` marks a cell stated by a public source."""
        body = [
            [key.partition("^^")[0], *(self._mark(key, column) for column in PROFESSION_COLUMNS), self._labels[key]]
            for key in self._cells
        ]
        return text_table(["type", *PROFESSION_COLUMNS, "label"], body)

    def _mark(self, key: str, column: str) -> str:
        return self.cell(key, column) + ("*" if (key, column) in self.attested else "")


class FunctionalRights:
    """Right × actor and mode. Immutable once loaded."""

    __slots__ = ("_cells", "_rows")

    def __init__(self, rows: dict[str, Row]):
        self._rows = rows
        self._cells: dict[tuple[str, str], str] = {}
        for right, row in rows.items():
            for column in RIGHT_COLUMNS:
                self._cells[right, column] = row[column]
            for column, same_as in STAND_IN.items():
                self._cells[right, column] = row[same_as]
            for actor in AIR_ACTORS:
                for mode in "nrb":
                    own = self._cells.get((right, f"{actor} {mode}"), "-")
                    self._cells[right, f"AIR {actor} {mode}"] = own if row["AIR"] == "=" else "-"

    @classmethod
    def load(cls, domain: str = "dmp", folder: Path | None = None, override: Path | None = None) -> FunctionalRights:
        """Read, merge and check. Raises TableError naming file, line and column."""
        file, text = table_text(domain, "functional-rights.csv", folder)
        rows = _right_rows(file, text)
        if override is not None:
            _merge(rows, _right_rows(override.name, _override_text(override)), "note")
        for right in RIGHTS:
            line, row = rows.get((right,), (0, {}))
            for column in (*RIGHT_COLUMNS, "AIR"):
                if not row.get(column):
                    raise TableError(file, line, column, f"no value for the right {right}")
        return cls({right: rows[right,][1] for right in RIGHTS})

    def cell(self, right: str, column: str) -> str:
        """Y, -, own, pat, str or new; - for an unknown right or column."""
        return self._cells.get((right, column), "-")

    def columns(self) -> frozenset[str]:
        """Every column a caller can stand in: those of the table, ``MT r``, and ``AIR PS n`` and its like."""
        return frozenset(column for _, column in self._cells)

    def extent(self, action: Action, column: str) -> str:
        """How far the action is open to the column: Y, own, str, new, or - for not at all."""
        cells = [self.cell(right, column) for right in RIGHTS_OF_ACTION[action]]
        return next((extent for extent in ("Y", "own", "str", "new") if extent in cells), "-")

    def table(self) -> dict[str, dict[str, str]]:
        """Right -> column -> cell, the columns of reinforced indirect mode and ``MT r`` among them."""
        return {
            right: {column: self._cells[right, column] for column in sorted(self.columns())} for right in self._rows
        }

    def describe(self) -> str:
        """The whole table as text: ``=`` in column AIR means "as without AIR"."""
        body = [
            [right, *(row[column] for column in (*RIGHT_COLUMNS, "AIR")), row["label"] + _note(row)]
            for right, row in self._rows.items()
        ]
        return text_table(["right", *RIGHT_COLUMNS, "AIR", "meaning"], body)


def text_table(header: list[str], body: Iterable[list[str]]) -> str:
    """Columns of equal width, the last one ragged."""
    rows = [header, *body]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header) - 1)]
    lines = ("  ".join([*(row[i].ljust(width) for i, width in enumerate(widths)), row[-1]]).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _note(row: Row) -> str:
    return f" ({row['note']})" if row["note"] else ""


def _override_text(path: Path) -> str:
    try:
        return decode_table(path.name, path.read_bytes())
    except OSError as problem:
        raise TableError(path.name, 0, "", f"the table cannot be read ({type(problem).__name__})") from problem


Rows = dict[tuple[str, ...], tuple[int, Row]]


def _access_rows(file: str, text: str) -> Rows:
    rows: Rows = {}
    for line, row in table_rows(file, text, _ACCESS_COLUMNS):
        if row["level"] not in ("class", "type"):
            raise TableError(file, line, "level", f"{row['level']!r}; expected class or type")
        for column in PROFESSION_COLUMNS:
            if row[column] not in (READ, SEARCH_ONLY, NO, ""):
                raise TableError(file, line, column, f"{row[column]!r}; expected R, S, - or nothing")
        for column in row["attested"].split():
            if column not in PROFESSION_COLUMNS:
                raise TableError(file, line, "attested", f"{column!r} is not a profession column")
        _add(rows, file, line, row, ("level", "code", "scheme"))
    return rows


def _right_rows(file: str, text: str) -> Rows:
    rows: Rows = {}
    for line, row in table_rows(file, text, _RIGHT_TABLE):
        if row["right"] not in RIGHTS:
            raise TableError(file, line, "right", f"{row['right']!r}; expected one of {', '.join(RIGHTS)}")
        for column in RIGHT_COLUMNS:
            if row[column] not in (*_RIGHT_CELLS, ""):
                raise TableError(file, line, column, f"{row[column]!r}; expected one of {', '.join(_RIGHT_CELLS)}")
        if row["AIR"] not in ("=", "-", ""):
            raise TableError(file, line, "AIR", f"{row['AIR']!r}; expected = or -")
        _add(rows, file, line, row, ("right",))
    return rows


def _add(rows: Rows, file: str, line: int, row: Row, key_columns: tuple[str, ...]) -> None:
    key = tuple(row[column] for column in key_columns)
    for column in key_columns:
        if not row[column]:
            raise TableError(file, line, column, "required")
    if key in rows:
        raise TableError(file, line, key_columns[-1], f"{' '.join(key)} is already on line {rows[key][0]}")
    rows[key] = (line, row)


def _merge(rows: Rows, changes: Rows, source_column: str) -> None:
    """Cells of ``changes`` win one by one. A replaced cell is the operator's own: it is attested only if he says so."""
    for key, (line, change) in changes.items():
        if key not in rows:
            rows[key] = (line, change)
            continue
        row = rows[key][1]
        for column, value in change.items():
            if value and column != source_column:
                row[column] = value
        if change[source_column]:
            row[source_column] = change[source_column]


def _resolve(file: str, rows: Rows) -> AccessMatrix:
    classes = {code: row for (level, code, *_), (_, row) in rows.items() if level == "class"}
    cells: dict[str, dict[str, str]] = {}
    labels: dict[str, str] = {}
    attested: set[tuple[str, str]] = set()
    for (level, code, *rest), (line, row) in rows.items():
        if level == "type":
            if row["follows"] and row["follows"] not in classes:
                raise TableError(file, line, "follows", f"no class row {row['follows']!r}")
            default = classes.get(row["follows"], {})
            key = f"{code}^^{rest[0]}"
            cells[key] = {column: row[column] or default.get(column, "") for column in PROFESSION_COLUMNS}
            labels[key] = row["label"]
            attested.update((key, column) for column in (row["attested"] or default.get("attested", "")).split())
            resolved = cells[key]
        else:
            resolved = row
        for column in PROFESSION_COLUMNS:
            if not resolved[column]:
                raise TableError(file, line, column, f"no value for {code}, and no class row to follow")
    return AccessMatrix(cells, labels, frozenset(attested))
