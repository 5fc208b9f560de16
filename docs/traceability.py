"""Writes traceability.md: each rule, where it is implemented, which tests prove it.

Run by ``make docs``; a test fails when the page is stale. What counts:

- a rule of rules.toml is *cited* by any line of code that holds its id (``rule="R-024"``, a docstring, a
  comment), and *proved* by a test whose docstring says ``Rule: R-024`` or whose parameters begin with it;
- a step of the assertion check is cited as ``step e`` in guard/credentials or xds/wire, proved by ``Step: e``;
- an attack is proved by ``Attack: comment-in-nameid``;
- a clause is cited by ``Clause: ITI TF-2 3.42.4.1.3`` in a docstring or ``clause="…"`` in a finding.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "traceability.md"

RULE = re.compile(r"(?<![\w.^-])[AHRQTMCEILFDJKUW]-\d{1,3}(?![\w-])")
RULE_LINE = re.compile(r"\bRules?: ([^\n]*)")
STEP = re.compile(r"\bsteps? ([a-p](?:(?:, | or | and | to )[a-p])*)\b", re.I)
STEP_LINE = re.compile(r"\bSteps?: ([a-p](?:, ?[a-p])*)\b")
STEP_HOMES = ("guard/credentials/", "xds/wire/")
ATTACK_LINE = re.compile(r"\bAttacks?: ([a-z0-9_-]+(?:, ?[a-z0-9_-]+)*)")
CLAUSE_LINE = re.compile(r"\bClause: ([^\n\"]*)")
DOCUMENT = re.compile(
    r"(?:ITI|DMP|CI-SIS|IHE|HL7|PCC|DICOM|RFC|W3C|SAML|WSS|OpenID|Pro Santé Connect|WS-|SOAP 1|ebR|X\.509|IGC|CSP|"
    r"arrêté)"
)
"""How the name of a document we cite begins."""
LISTS = frozenset({"xds/rules.py"})
"""Files that name every rule and implement none."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A function (or class, or "" for the module itself) of one file, relative to the root."""

    file: str
    symbol: str


@dataclass(slots=True)
class Found:
    """What cites and what proves each subject (a rule, ``step e``, an attack, a clause)."""

    code: defaultdict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    tests: defaultdict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    clause_code: defaultdict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    clause_tests: defaultdict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    attacks: defaultdict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))


@dataclass(slots=True)
class Source:
    """One parsed file."""

    file: str
    text: str
    tree: ast.Module
    spans: list[tuple[int, int, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Source:
        text = path.read_text("utf-8")
        source = cls(path.relative_to(ROOT).as_posix(), text, ast.parse(text, str(path)))
        source.spans = list(_spans(source.tree, ""))
        return source

    def at(self, line: int) -> Place:
        """The innermost function or class around a line."""
        around = [(end - start, name) for start, end, name in self.spans if start <= line <= end]
        return Place(self.file, min(around)[1] if around else "")


def _spans(node: ast.AST, prefix: str) -> Iterator[tuple[int, int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            start = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            yield start, child.end_lineno or child.lineno, name
            yield from _spans(child, f"{name}.")


def clauses(line: str) -> list[str]:
    """``ITI TF-2 3.42.4.1.3, 3.42.4.2 (A-1)`` -> each clause with its document; words around them are dropped."""
    found, document = [], ""
    for piece in re.split(r"[;,] ", re.sub(r"\([^)]*\)?", "", line)):
        part = piece.strip(" .)")
        if re.match(r"V?\.?\d", part) and document:
            part = f"{document} {part}"
        elif re.match(r"(?:TRE_|EX_|TD\d|R\d{3}\b)", part):
            part = f"DMP {part}"
        elif re.match(r"[LRD]\d{4}-", part):
            part = f"CSP {part}"
        if DOCUMENT.match(part):
            found.append(part)
            document = re.sub(r" V?\.?\d[\d.]*$", "", part)
    return found


def scan_code(source: Source, found: Found) -> None:
    """Citations of one file of code."""
    for number, line in enumerate(source.text.splitlines(), 1):
        for rule in RULE.findall(line) if source.file not in LISTS else ():
            found.code[rule].add(source.at(number))
        for match in CLAUSE_LINE.finditer(line):
            for clause in clauses(match[1]):
                found.clause_code[clause].add(source.at(number))
        if source.file.startswith(STEP_HOMES):
            for match in STEP.finditer(line):
                for letter in re.findall(r"\b[a-p]\b", match[1]):
                    found.code[f"step {letter}"].add(source.at(number))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.keyword) and node.arg == "clause" and isinstance(node.value, ast.Constant):
            for clause in clauses(str(node.value.value)):
                found.clause_code[clause].add(source.at(node.value.lineno))


def scan_tests(source: Source, found: Found) -> None:
    """Proofs of one test file."""
    tables = {
        target.id: node.value
        for node in source.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    _prove(ast.get_docstring(source.tree) or "", Place(source.file, ""), found)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            _prove(ast.get_docstring(node) or "", source.at(node.lineno), found)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test"):
            continue
        place = source.at(node.lineno)
        _prove(ast.get_docstring(node) or "", place, found)
        for text in _parameters(node.decorator_list, tables):
            if match := RULE.match(text):
                found.tests[match[0]].add(place)
            if match := re.match(r"(step [a-p])\b", text):
                found.tests[match[1]].add(place)


def _prove(docstring: str, place: Place, found: Found) -> None:
    for match in RULE_LINE.finditer(docstring):
        for rule in RULE.findall(match[1]):
            found.tests[rule].add(place)
    for match in STEP_LINE.finditer(docstring):
        for letter in re.findall(r"\b[a-p]\b", match[1]):
            found.tests[f"step {letter}"].add(place)
    for match in ATTACK_LINE.finditer(docstring):
        for attack in re.split(r", ?", match[1]):
            found.attacks[attack.replace("_", "-")].add(place)
    for match in CLAUSE_LINE.finditer(docstring):
        for clause in clauses(match[1]):
            found.clause_tests[clause].add(place)


def _parameters(decorators: Iterable[ast.expr], tables: dict[str, ast.expr]) -> Iterator[str]:
    """Text constants of the decorators, and of the module tables they name."""
    todo, seen = list(decorators), set()
    while todo:
        for node in ast.walk(todo.pop()):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.Name) and node.id in tables and node.id not in seen:
                seen.add(node.id)
                todo.append(tables[node.id])


def scan(root: Path = ROOT) -> Found:
    """Read the whole tree."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    found = Found()
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        for path in sorted((root / package).rglob("*.py")):
            scan_code(Source.read(path), found)
    for path in sorted((root / "tests").rglob("*.py")):
        scan_tests(Source.read(path), found)
    return found


def _natural(text: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _places(places: Iterable[Place]) -> str:
    """``file`` name, name; one line a file."""
    by_file: defaultdict[str, list[str]] = defaultdict(list)
    for place in sorted(places):
        by_file[place.file].append(place.symbol)
    lines = []
    for file, symbols in by_file.items():
        names = ", ".join(f"`{s}`" for s in symbols if s)
        lines.append(f"{file}: {names}" if names else file)
    return "<br>".join(lines) or "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def render(catalogue: dict, found: Found) -> str:
    """The page, as text."""
    lines = [
        "# Traceability",
        "",
        "Written by `make docs` from the code, the tests and [rules.toml](rules.toml); edit those, not this page.",
        "A rule may hold by the shape of the code and be proved by a test without any line that cites it.",
        "",
        *_gaps(catalogue, found),
    ]
    for group in catalogue["group"]:
        lines += ["", f"## {group['title']}", "", f"Written in: {group['source']}.", ""]
        lines += ["| Rule | In our words | Code | Tests |", "|---|---|---|---|"]
        for rule, text in group["rules"].items():
            note = " *(later)*" if rule in group.get("later", ()) else ""
            if repeated := group.get("same", {}).get(rule):
                note += f" *(as {', '.join(repeated)})*"
            lines.append(_row(rule, _cell(text) + note, _places(found.code[rule]), _places(found.tests[rule])))
    known = {name: text for group in catalogue["attacks"] for name, text in group["names"].items()}
    lines += ["", "## Attacks", "", "| Attack | In our words | Tests |", "|---|---|---|"]
    for attack in sorted(known.keys() | found.attacks.keys()):
        lines.append(_row(attack, _cell(known.get(attack, "")), _places(found.attacks[attack])))
    lines += ["", "## Clauses", "", "| Clause | Code | Tests |", "|---|---|---|"]
    for clause in sorted(found.clause_code.keys() | found.clause_tests.keys(), key=_natural):
        lines.append(_row(_cell(clause), _places(found.clause_code[clause]), _places(found.clause_tests[clause])))
    return "\n".join(lines) + "\n"


def _gaps(catalogue: dict, found: Found) -> Iterator[str]:
    rules = [rule for group in catalogue["group"] for rule in group["rules"]]
    later = [rule for group in catalogue["group"] for rule in group.get("later", ())]
    due = [rule for rule in rules if rule not in later]
    attacks = [name for group in catalogue["attacks"] for name in group["names"]]
    cited = {rule for table in (found.code, found.tests) for rule, places in table.items() if places}
    same = {rule: others for group in catalogue["group"] for rule, others in group.get("same", {}).items()}
    proved = [r for r in due if found.tests[r] or (r in same and all(found.tests[o] for o in same[r]))]
    unnamed = [r for r in due if not any(found.tests[o] or found.code[o] for o in (r, *same.get(r, ())))]
    yield "## Gaps"
    yield ""
    yield f"{len(proved)} of {len(due)} rules are proved by a test."
    yield ""
    for title, missing in (
        ("No test proves", [r for r in due if r not in proved]),
        ("Neither a test nor a line of code names", unnamed),
        ("No test tries the attack", [a for a in attacks if not found.attacks[a]]),
        ("Cited, but not in rules.toml", sorted(cited - set(rules), key=_natural)),
        ("Not built yet", later),
    ):
        yield f"- {title}: {', '.join(missing) or 'none'}."


def page() -> str:
    """The page as it should be now."""
    return render(tomllib.loads((ROOT / "docs" / "rules.toml").read_text("utf-8")), scan())


def main() -> int:
    """Write the page; exit status 0."""
    text = page()
    PAGE.write_text(text, "utf-8")
    gaps = text[text.index("## Gaps") :].split("\n## ")[0].strip()
    sys.stdout.write(gaps.partition("\n")[2].strip() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
