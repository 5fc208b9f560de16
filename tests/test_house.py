"""House rules that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE, MAX_FUNCTION = 500, 80
"""Lines, outside tests."""

SKIPPED = {".git", ".venv", "build", "dist", "data", "demo-data"}


# Written with gaps, so that this file does not contain what it looks for.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:roo[t]|wor[k]|hom[e]|User[s]|tm[p])/\w|C:\\User[s]"),
    "unfinished work": re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X:|H[A]CK)\b"),
}

CLAUSE = re.compile(r"Clause: \S")


@cache
def files() -> tuple[Path, ...]:
    """Every file that is or will be tracked, relative to the root; outside git, every file of the tree."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout.split("\0")
        found = [Path(name) for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        found = [p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file()]
    return tuple(
        p for p in sorted(found)
        if (ROOT / p).is_file() and not SKIPPED & set(p.parts) and not any(part.endswith("cache__") for part in p.parts)
    )


def code() -> list[Path]:
    """Python files of the packages named in pyproject, and the generator beside the documents."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    names = {*packages["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "docs"}
    return [p for p in files() if p.suffix == ".py" and p.parts[0] in names]


def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"), str(path))


def findings(text: str) -> list[tuple[int, str, str]]:
    """(line, what, why) of each forbidden passage."""
    return [
        (number, match.group(), why)
        for number, line in enumerate(text.splitlines(), 1)
        for why, pattern in FORBIDDEN.items()
        for match in pattern.finditer(line)
    ]


def test_no_forbidden_passage_in_any_file() -> None:
    """No path of one machine, no unfinished work."""
    found = []
    for path in files():
        try:
            text = (ROOT / path).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path}:{line}: {what!r} is {why}" for line, what, why in findings(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["see /wor{}k/x", "# T{}ODO later", "open('/hom{}e/jane/x')", "# F{}IXME", "C:\\User{}s\\jane", "/tm{}p/x"]
)
def test_a_forbidden_passage_is_found(line: str) -> None:
    """The patterns catch what they are for."""
    assert [number for number, _, _ in findings("fine\n" + line.replace("{}", ""))] == [2]


@pytest.mark.parametrize("line", ["a todo list", "/var/lib/carnet", "the home community", "</root>", "https://example.org/home/x"])
def test_ordinary_words_pass(line: str) -> None:
    """No false alarm on everyday words."""
    assert findings(line) == []


def test_every_public_module_says_what_it_is() -> None:
    """A module whose name is public has a docstring."""
    silent = [
        str(p) for p in code()
        if (p.stem == "__init__" or not p.stem.startswith("_")) and not ast.get_docstring(tree(p))
    ]
    assert not silent, "no docstring: " + ", ".join(silent)


def test_files_are_short() -> None:
    """No file of code is longer than 500 lines."""
    long = [f"{p}: {n} lines" for p in code() if (n := len((ROOT / p).read_text("utf-8").splitlines())) > MAX_FILE]
    assert not long, "\n".join(long)


def test_functions_are_short() -> None:
    """No function is longer than 80 lines, docstring included."""
    long = [
        f"{p}:{node.lineno}: {node.name} has {n} lines"
        for p in code()
        for node in ast.walk(tree(p))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (n := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_every_transaction_names_its_clause() -> None:
    """Each itiNN_verb.py says in its first docstring which clause it implements."""
    transactions = [p for p in code() if re.match(r"iti\d+_", p.name)]
    assert {p.name[:5] for p in transactions} >= {"iti18", "iti41", "iti42", "iti43"}
    without = [str(p) for p in transactions if not CLAUSE.search(ast.get_docstring(tree(p)) or "")]
    assert not without, "no Clause: line: " + ", ".join(without)


def test_the_lock_is_complete_and_plain() -> None:
    """Every direct dependency is pinned with hashes; the lock names no place and no machine."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pinned = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==\S+", lock, re.M)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for group in project["optional-dependencies"].values() for d in group)]
    names = {re.match(r"[A-Za-z0-9._-]+", d).group().lower() for d in wanted} - {project["name"]}  # type: ignore[union-attr]
    assert names <= pinned, f"run `make lock`: {sorted(names - pinned)}"
    assert "://" not in lock
    assert len(re.findall(r"^\S+==", lock, re.M)) == len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", lock, re.M))
