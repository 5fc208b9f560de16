"""The two tables of rights: every cell against an oracle, overrides, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import pytest
from rights_oracle import ALL_COLUMNS as RIGHT_COLUMNS
from rights_oracle import COLUMNS, LOINC, OWN_PRESCRIPTION, RIGHTS, TYPES, cells, key

from guard.policy.matrix import PROFESSION_COLUMNS, AccessMatrix, FunctionalRights
from guard.professions import Professions, TableError
from xds import domain

ACCESS = AccessMatrix.load()
FUNCTIONS = FunctionalRights.load()
HEADER = ",".join(("level", "code", "scheme", "follows", "label", *PROFESSION_COLUMNS, "attested"))


def row(level: str, code: str, scheme: str, follows: str = "", attested: str = "", **changed: str) -> str:
    """One line of an access matrix; cells not named are empty."""
    values = (changed.get(f"c{column}", "") for column in PROFESSION_COLUMNS)
    return ",".join((level, code, scheme, follows, "x", *values, attested))


def override(folder: Path, *lines: str, header: str = HEADER) -> Path:
    """An override table in ``folder``."""
    path = folder / "mine.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def test_every_cell_of_the_type_matrix() -> None:
    """Each type × profession is as described, and no type is missing or in excess."""
    expected = cells()
    assert set(ACCESS.types()) == {type_code for type_code, _ in expected}
    assert len(ACCESS.types()) == 114
    wrong = {k: (v, ACCESS.cell(*k)) for k, v in expected.items() if ACCESS.cell(*k) != v}
    assert not wrong


def test_dental_assistant_reads_what_dentist_and_paramedics_both_read() -> None:
    """The dental assistant (31), named as authorised without cells, gets the narrower of two neighbours."""
    for type_code in ACCESS.types():
        both = ACCESS.cell(type_code, "40") == "R" and ACCESS.cell(type_code, "70") == "R"
        if type_code.startswith("PRESC-KINE"):
            both = False
        assert (ACCESS.cell(type_code, "31") == "R") is both, type_code


def test_occupational_column_never_reads() -> None:
    """Occupational medicine finds what a physician finds and reads nothing."""
    assert ACCESS.readable("occupational") == frozenset()
    assert ACCESS.findable("occupational") == ACCESS.readable("10")


def test_signature_documents_are_read_by_nobody() -> None:
    """Type E1762 has no R in any column."""
    assert {ACCESS.cell("E1762^^ASTM", column) for column in PROFESSION_COLUMNS} == {"-"}


def test_physician_reads_all_but_the_residence_certificate() -> None:
    """Attested: every type except ATTEST-RESID (and signatures, which are no documents for persons)."""
    assert set(ACCESS.types()) - ACCESS.readable("10") == {key("ATTEST-RESID"), key("E1762")}


@pytest.mark.parametrize(
    ("code", "columns"),
    [
        ("75496-0", {"10", "40", "60", "69"}), ("83981-1", {"10", "40", "60", "69"}), ("80788-3", {"10", "40"}),
        ("89601-9", {"10", "60", "69"}), ("56445-0", {"10", "60", "69"}), ("DOCPAT05", {"10", "60", "69"}),
        ("REMB", {"10"}), ("E1762", set()), ("11502-2", {"10", "40"}),
    ],
)
def test_attested_cells_are_told_from_defaults(code: str, columns: set[str]) -> None:
    """A cell stated by a public source is marked, one of ours is not."""
    assert {column for type_code, column in ACCESS.attested if type_code == key(code)} == columns


def test_unknown_type_and_unknown_column_read_nothing() -> None:
    """What no row or column names is not read: fail closed."""
    assert ACCESS.cell("99999-9^^x", "10") == "-"
    assert ACCESS.cell(key("11488-4"), "nobody") == "-"
    assert ACCESS.readable("nobody") == frozenset()


def test_matrix_lists_the_types_of_the_domain() -> None:
    """Every typeCode of the domain's code set has its row."""
    assert set(domain.load("dmp").codes["type_code"]) - set(ACCESS.types()) == set()


@pytest.mark.parametrize("right", RIGHTS)
def test_every_cell_of_the_functional_rights(right: str) -> None:
    """Each right × actor and mode is as printed in R526."""
    row_, _ = RIGHTS[right]
    assert [FUNCTIONS.cell(right, column) for column in RIGHT_COLUMNS] == row_.split()


@pytest.mark.parametrize("right", RIGHTS)
def test_every_cell_of_the_air_mode(right: str) -> None:
    """R606: the columns of PS, MD and MT, without feeding; nobody else has one."""
    row_, air = RIGHTS[right]
    by_column = dict(zip(RIGHT_COLUMNS, row_.split(), strict=True))
    by_column["MT r"] = by_column["MD r"]
    for actor in ("PS", "MD", "MT"):
        for mode in "nrb":
            expected = by_column[f"{actor} {mode}"] if air == "=" else "-"
            assert FUNCTIONS.cell(right, f"AIR {actor} {mode}") == expected
    for absent in ("AIR OP", "AIR CPE n", "AIR ST n", "OP r", "CPE r", "ST b", ""):
        assert FUNCTIONS.cell(right, absent) == "-"


def test_override_wins_cell_by_cell(tmp_path: Path) -> None:
    """One cell of one type changes, all others stay."""
    mine = AccessMatrix.load(override=override(tmp_path, row("type", "68599-0", LOINC, c60="R")))
    changed = {
        (t, c) for t in mine.types() for c in PROFESSION_COLUMNS if mine.cell(t, c) != ACCESS.cell(t, c)
    }
    assert changed == {(key("68599-0"), "60")}


def test_override_of_a_class_reaches_the_types_that_follow_it(tmp_path: Path) -> None:
    """A changed class row moves its types, except where a type has its own cell."""
    mine = AccessMatrix.load(override=override(tmp_path, row("class", "95", "1.2.250.1.213.1.1.4.1", c60="R", c10="-")))
    assert mine.cell(key("86531-1"), "60") == "R"
    assert mine.cell(key("86531-1"), "10") == "-"
    assert mine.cell(key("PIECE-IDENTITE"), "role") == "-"
    assert mine.cell(key("11488-4"), "60") == ACCESS.cell(key("11488-4"), "60")


def test_override_may_add_a_type(tmp_path: Path) -> None:
    """A withdrawn type of older software is accepted by configuration only."""
    mine = AccessMatrix.load(override=override(tmp_path, row("type", "27899-4", LOINC, "10")))
    assert mine.cell(key("27899-4"), "10") == "R"
    assert ACCESS.cell(key("27899-4"), "10") == "-"


def test_rights_override_wins_cell_by_cell(tmp_path: Path) -> None:
    """One right of one actor changes."""
    header = "right,label," + ",".join(RIGHT_COLUMNS) + ",AIR,note"
    values = ",".join("Y" if column == "OP" else "" for column in RIGHT_COLUMNS)
    path = override(tmp_path, f"TD3.2,,{values},,", header=header)
    mine = FunctionalRights.load(override=path)
    assert mine.cell("TD3.2", "OP") == "Y"
    assert mine.cell("TD3.2", "CPE n") == "-"
    assert mine.cell("TD3.1", "PS n") == "Y"


def test_operators_folder_replaces_the_tables_it_holds(tmp_path: Path) -> None:
    """A table in the operator's folder is read instead of the shipped one; the others stay the shipped ones."""
    lines = [HEADER, row("class", "10", "s", **{f"c{c}": "R" for c in PROFESSION_COLUMNS}), row("type", "T", "s", "10")]
    (tmp_path / "access-matrix.csv").write_text("\n".join(lines), encoding="utf-8")
    mine = AccessMatrix.load(folder=tmp_path)
    assert mine.types() == ("T^^s",)
    assert mine.cell("T^^s", "26") == "R"
    assert FunctionalRights.load(folder=tmp_path).cell("TD2.1", "MD n") == "Y"
    assert Professions.load(folder=tmp_path).columns() == Professions.load().columns()


@pytest.mark.parametrize(
    ("lines", "header", "line", "column"),
    [
        ([row("type", "T", "s", "10", c10="X")], HEADER, 2, "10"),
        ([row("type", "T", "s", "77")], HEADER, 2, "follows"),
        ([row("type", "T", "s", "", c10="R")], HEADER, 2, "21"),
        ([row("kind", "T", "s", "10")], HEADER, 2, "level"),
        ([row("type", "", "s", "10")], HEADER, 2, "code"),
        ([row("type", "T", "s", "10"), row("type", "T", "s", "10")], HEADER, 3, "scheme"),
        ([row("type", "T", "s", "10", attested="97")], HEADER, 2, "attested"),
        ([row("type", "T", "s", "10") + ",more"], HEADER, 2, ""),
        ([], HEADER.replace("label", "lable"), 1, "lable"),
        ([], HEADER.replace(",role", ""), 1, "role"),
        (['type,"T"x"'], HEADER, 2, ""),
        (["type,T\udce9"], HEADER, 2, ""),
    ],
)
def test_access_matrix_errors_name_file_line_and_column(
    tmp_path: Path, lines: list[str], header: str, line: int, column: str
) -> None:
    """A slip of the pen is found at load, with its place."""
    path = tmp_path / "mine.csv"
    path.write_bytes("\n".join((header, *lines)).encode("utf-8", "surrogateescape"))
    with pytest.raises(TableError) as caught:
        AccessMatrix.load(override=path)
    assert (caught.value.line, caught.value.column) == (line, column), str(caught.value)
    if line > 1 and column != "21" and column != "follows":
        assert caught.value.file == "mine.csv"


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [("TD3.2,", "TD9,", "right"), ("pat,", "perhaps,", "PS r"), (",=,", ",AIR,", "AIR"), ("PS n", "PS x", "PS x")],
)
def test_functional_rights_errors(tmp_path: Path, old: str, new: str, column: str) -> None:
    """Unknown rights, cells and columns are refused at load."""
    header = "right,label," + ",".join(RIGHT_COLUMNS) + ",AIR,note"
    text = f"{header}\nTD3.2,read,Y,pat,{',' * 13}=,\n".replace(old, new)
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableError) as caught:
        FunctionalRights.load(override=path)
    assert caught.value.column == column, str(caught.value)


def test_incomplete_functional_rights_are_refused(tmp_path: Path) -> None:
    """A replaced table that leaves a right out is an error, not a silent no."""
    header = "right,label," + ",".join(RIGHT_COLUMNS) + ",AIR,note"
    (tmp_path / "functional-rights.csv").write_text(header + "\n", encoding="utf-8")
    with pytest.raises(TableError, match="TD0"):
        FunctionalRights.load(folder=tmp_path)


def test_missing_and_oversized_override_are_refused(tmp_path: Path) -> None:
    """A path that does not lead to a table, or leads to a huge one, is an error without a stack trace's worth."""
    with pytest.raises(TableError, match="cannot be read"):
        AccessMatrix.load(override=tmp_path / "none.csv")
    (tmp_path / "big.csv").write_bytes(b"x" * (2 * 1024 * 1024 + 1))
    with pytest.raises(TableError, match="at most"):
        AccessMatrix.load(override=tmp_path / "big.csv")


def test_both_tables_can_be_printed() -> None:
    """The text form has a line for each row, and shows cells and marks."""
    access, rights = ACCESS.describe().splitlines(), FUNCTIONS.describe().splitlines()
    assert len(access) == 1 + 114
    assert len(rights) == 1 + len(RIGHTS)
    psychiatric = next(line for line in access if line.startswith("68599-0")).split()
    assert psychiatric[1] == "R*" and psychiatric[1 + PROFESSION_COLUMNS.index("60")] == "-*"
    assert next(line for line in rights if line.startswith("TD3.2-masked")).split()[1:4] == ["own", "pat", "pat"]


def test_professions_table_errors(tmp_path: Path) -> None:
    """An unknown actor, a code listed twice and a missing scheme are refused with their line."""
    for line, text in ((2, "s,1,XX,,,a,b"), (3, "s,1,PS,10,,a,b\ns,1,PS,10,,a,b"), (2, ",1,PS,10,,a,b")):
        (tmp_path / "professions.csv").write_text(f"scheme,code,actor,column,title,french,english\n{text}\n")
        with pytest.raises(TableError) as caught:
            Professions.load(folder=tmp_path)
        assert caught.value.line == line


def test_oracle_covers_every_profession_column() -> None:
    """The oracle names each column but the two that have tests of their own."""
    assert set(COLUMNS) | {"31", "occupational"} == set(PROFESSION_COLUMNS)
    assert len(OWN_PRESCRIPTION) + sum(len(codes.split()) for codes in TYPES.values()) == 114
