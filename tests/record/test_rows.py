"""The table of docs/dmp.md is about this program: every row has its call, its command and its test."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from carnet.cli import main
from record.td.services import SERVICES
from tests.record_messages import PAGE

ROOT = PAGE.parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text("utf-8").partition("## Row by row")[2].splitlines()
    if re.match(r"\| (?!Row |---)", line)
]
OPERATIONS = {operation.name for service in SERVICES.values() for operation in service.operations}
TRANSACTIONS = set(re.findall(r"^\| (TD[\d.]+[ab]?) ", PAGE.read_text("utf-8"), re.M))
WITHOUT_TEST = {"A12", "D12"}
"""Nothing of them is the server's."""


def test_no_row_is_forgotten() -> None:
    """Sections 1 to 6 of the functions, and the two matrices."""
    rows = {row[0] for row in ROWS}
    wanted = {f"L{n}" for n in range(1, 12)} | {f"A{n}" for n in range(1, 15)} | {f"D{n}" for n in range(1, 13)}
    assert wanted | {"I1–I4", "I5", "I6", "I7", "D13, D14", "rights", "types", "5", "6"} == rows
    assert all(len(row) == 5 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}"[:40])
def test_each_row_is_about_this_program(row: list[str]) -> None:
    for call in re.findall(r"TD[\d.]+[ab]?|\b[a-z]+[A-Z]\w+", row[2]):
        assert call in OPERATIONS | TRANSACTIONS, call
    for command in re.findall(r"`([\w -]+)`", row[3]):
        found: click.Command | None = main
        for word in command.split():
            assert isinstance(found, click.Group), command
            found = found.get_command(click.Context(found), word)
        assert found is not None, command
    if row[0] in WITHOUT_TEST:
        return
    file, _, name = row[4].partition("::")
    text = (ROOT / Path(file)).read_text("utf-8")
    assert re.search(rf"^def {name or 'test_'}", text, re.M), row[4]
