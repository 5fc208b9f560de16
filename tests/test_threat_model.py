"""docs/security.md is a threat model whose every row is shown by a test that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAME = re.compile(r"`(test_\w+)`")


def rows(page: str) -> Iterator[tuple[str, list[str]]]:
    """Text of each row of a table whose last column is called Test, and the tests named there."""
    shown = False
    lines = page.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|"):
            shown = False
        elif following.startswith("|---"):
            shown = line.rstrip("| ").endswith("Test")
        elif shown and not line.startswith("|---"):
            cells = line.strip().strip("|").split("|")
            yield line, NAME.findall(cells[-1])


def written_tests(folder: Path) -> set[str]:
    """Names of the tests in the files that pytest collects."""
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_names_a_test_that_exists() -> None:
    """A protection nobody shows is a claim."""
    written = written_tests(ROOT / "tests")
    listed = list(rows(PAGE))
    assert not [row for row, names in listed if not names]
    assert not {name for _, names in listed for name in names} - written
    assert len(listed) > 40


@pytest.mark.parametrize("title", ["Assets", "The doors", "The attackers", "What stops whom"])
def test_the_parts_of_a_threat_model_are_there(title: str) -> None:
    """Assets, doors, attackers, and what stops each."""
    assert f"\n## {title}\n" in PAGE


def test_every_attacker_is_stopped_by_something() -> None:
    """The table of attackers and the table of what stops them name the same ones."""
    def first_cells(title: str) -> set[str]:
        part = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
        found = re.findall(r"^\| ([^|]*?) \|", part, re.MULTILINE)
        return {cell for cell in found if cell and cell != "Attacker"}

    assert first_cells("The attackers") == first_cells("What stops whom")


def test_rows_without_or_with_unknown_tests_are_found() -> None:
    """The reader of the page reads it."""
    page = "| a | Test |\n|---|---|\n| x | `test_one`, `test_two` |\n| y | none |\n\n| a | b |\n|---|---|\n| z | w |\n"
    assert [names for _, names in rows(page)] == [["test_one", "test_two"], []]
