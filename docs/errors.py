"""Writes errors.md: every error code and every SOAP fault the product can answer, its cause and its cure.

Run by ``make docs``; a test fails when the page is stale or a code has no words. The words are in errors.toml. Which
rule answers with which code is read from the calls in the code: a call that names a rule (``"R-024"``) answers with
the ``ErrorCode`` it names too; without one, a rule of metadata with the metadata error of its actor, a rule of queries
with XDSRegistryError.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"
PACKAGES = ("xds", "registry", "repository", "record", "guard", "storage", "carnet")
RULE = re.compile(r"[ADFRLQ]-\d{1,3}").fullmatch
METADATA = {"XDSRegistryMetadataError", "XDSRepositoryMetadataError"}
Scope = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """One parsed file, and what the names in it stand for."""

    tree: ast.Module
    codes: frozenset[str]

    def functions(self) -> list[Scope]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Scope)]

    def values(self, node: ast.AST, scope: ast.AST, depth: int = 3) -> Iterator[str]:
        """Texts and members of ErrorCode an expression may stand for; a name is looked up where it is bound."""
        for part in _outside_calls(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value
            elif isinstance(part, ast.Attribute) and part.attr in self.codes:
                yield part.attr
            elif isinstance(part, ast.Name) and depth:
                for bound in (*_bound(part.id, ast.walk(scope)), *_bound(part.id, self.tree.body)):
                    yield from self.values(bound, scope, depth - 1)

    def answers(self) -> Iterator[tuple[str, set[str]]]:
        """Each rule that a call in a function names, with the codes named beside it."""
        functions = self.functions()
        helpers = {f.name: f for f in functions if any(a.arg == "rule" for a in f.args.args)}
        for scope in functions:
            for call in (node for node in ast.walk(scope) if isinstance(node, ast.Call)):
                given = self._given(call, scope)
                rules = {value for value in given if RULE(value)}
                codes = given & self.codes
                helper = helpers.get(getattr(call.func, "attr", getattr(call.func, "id", "")))
                if rules and not codes and helper is not None:
                    inner = (c for c in ast.walk(helper) if isinstance(c, ast.Call))
                    codes = {value for c in inner for value in self._given(c, helper)} & self.codes
                yield from ((rule, codes) for rule in rules)

    def _given(self, call: ast.Call, scope: ast.AST) -> set[str]:
        arguments = [*call.args, *(k.value for k in call.keywords if k.arg in ("rule", "code"))]
        return {value for one in arguments for value in self.values(one, scope)}


def _outside_calls(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, but not what stands inside a further call, a look-up in a table apart."""
    if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") == "get":
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _outside_calls(child)


def _bound(name: str, nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What a name is assigned, or takes in turn from the rows of a loop."""
    for node in nodes:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            yield node.value
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Tuple) and isinstance(node.iter, ast.Tuple):
            for place, target in enumerate(node.target.elts):
                if isinstance(target, ast.Name) and target.id == name:
                    yield from (row.elts[place] for row in node.iter.elts if isinstance(row, ast.Tuple))


@cache
def scan(known: frozenset[str]) -> tuple[dict[str, set[str]], set[str]]:
    """(rule -> codes it is answered with, every code that some line of the product names)."""
    rules: dict[str, set[str]] = defaultdict(set)
    named: set[str] = set()
    for path in (p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))):
        if path == ROOT / "xds" / "rules.py":
            continue
        module = Module(ast.parse(path.read_text("utf-8"), str(path)), known)
        if path != ROOT / "xds" / "errors.py":
            named |= {n.attr for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)} & known
        for rule, given in module.answers():
            rules[rule] |= given or ({"XDSRegistryError"} if rule.startswith("Q") else METADATA)
    return rules, named | METADATA


def _assigned(path: str, name: str) -> ast.AST:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    found = [n.value for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == name]
    assert found[0] is not None
    return found[0]


def clauses() -> dict[str, str]:
    """Rule -> clause, from ``xds/rules.py``."""
    found = ast.literal_eval(_assigned("xds/rules.py", "CLAUSES"))
    return dict(found)


def code_names() -> list[str]:
    """The members of ``ErrorCode``, in their order."""
    tree = ast.parse((ROOT / "xds" / "errors.py").read_text("utf-8"))
    enum = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "ErrorCode")
    return [ast.unparse(n.targets[0]) for n in enum.body if isinstance(n, ast.Assign)]


def fault_names() -> list[str]:
    """Local names of the fault codes and subcodes of ``xds/wire/faults.py``, in its order."""
    tree = ast.parse((ROOT / "xds" / "wire" / "faults.py").read_text("utf-8"))
    pairs = [n.value for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.value, ast.Tuple)]
    return [ast.literal_eval(pair.elts[1]) for pair in pairs]


def render(words: dict, said: dict[str, str]) -> str:
    """The page from the words of errors.toml and the rules in our words."""
    codes, table = code_names(), clauses()
    rules, named = scan(frozenset(codes))
    lines = ["# Errors", "", words["intro"].strip(), "", "## Codes", ""]
    lines += ["| Code | Cause | Cure | Rules |", "|---|---|---|---|"]
    for code in codes:
        text = words["code"][code]
        note = "" if code in named else " *(not answered by this version)*"
        behind = sorted((rule for rule in rules if code in rules[rule]), key=_order)
        shown = "see below" if code in METADATA else ", ".join(behind) or "–"
        lines.append(f"| `{code}`{note} | {text['cause']} | {text['cure']} | {shown} |")
    lines += ["", "## Rules", "", words["rules"].strip(), ""]
    lines += ["| Rule | What holds | Answered with | Clause |", "|---|---|---|---|"]
    for rule in sorted(table.keys() | rules.keys(), key=_order):
        given = rules.get(rule, set())
        answers = ["`XDS…MetadataError`"] * (given >= METADATA) + [
            f"`{c}`" for c in codes if c in given and not (given >= METADATA and c in METADATA)
        ]
        lines.append(f"| {rule} | {said.get(rule, '')} | {', '.join(answers) or '–'} | {table.get(rule, '')} |")
    lines += ["", "## SOAP faults", "", words["faults"].strip(), ""]
    lines += ["| Code or subcode | Cause | Cure |", "|---|---|---|"]
    for name in fault_names():
        lines.append(f"| `{name}` | {words['fault'][name]['cause']} | {words['fault'][name]['cure']} |")
    lines += ["", "## HTTP", "", "| Status | Cause | Cure |", "|---|---|---|"]
    lines += [f"| {status} | {text['cause']} | {text['cure']} |" for status, text in sorted(words["http"].items())]
    return "\n".join(lines) + "\n"


def _order(rule: str) -> tuple[int, int]:
    kind, number = rule.split("-")
    return "AFRLQD".index(kind), int(number)


def page() -> str:
    """The page as it should be now. Raises KeyError for a code or fault without words in errors.toml."""
    catalogue = tomllib.loads((ROOT / "docs" / "rules.toml").read_text("utf-8"))
    said = {rule: text for group in catalogue["group"] for rule, text in group["rules"].items()}
    return render(tomllib.loads((ROOT / "docs" / "errors.toml").read_text("utf-8")), said)


def main() -> int:
    """Write the page; exit status 0."""
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
