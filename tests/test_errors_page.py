"""docs/errors.md lists every code, fault and rule of the product, with words; it cannot go stale."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from xds.errors import ErrorCode
from xds.rules import CLAUSES
from xds.wire import faults

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("errors_page", ROOT / "docs" / "errors.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["errors_page"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_not_stale(generator: ModuleType) -> None:
    """`make docs` was run after the last change to codes, rules or words."""
    assert generator.PAGE.read_text("utf-8") == generator.page(), "docs/errors.md is stale: run `make docs`"


def test_every_code_fault_and_rule_has_its_words(generator: ModuleType) -> None:
    """What the reader of the source found is what the program has, and no cell is empty."""
    assert generator.code_names() == [code.value for code in ErrorCode]
    assert generator.clauses() == dict(CLAUSES)
    ours = {value[1] for value in vars(faults).values() if isinstance(value, tuple) and len(value) == 2}
    assert set(generator.fault_names()) == ours
    page = generator.page()
    assert all(f"| `{code}`" in page for code in ErrorCode)
    assert all(f"| {rule} |" in page for rule in CLAUSES)
    assert "|  |" not in page, "a rule without words, or without a clause"


def test_every_rule_is_answered_by_some_line_of_code(generator: ModuleType) -> None:
    """A rule in the table of clauses that no call names is forgotten, or was never built."""
    rules, _ = generator.scan(frozenset(generator.code_names()))
    assert set(CLAUSES) - set(rules) == set()


SOURCE = '''
META = ErrorCode.XDSRegistryMetadataError
KINDS = {"a": "R-084", "b": "R-085"}
class C:
    def one(self):
        yield problem("R-061", ErrorCode.UnresolvedReferenceException, f(ErrorCode.XDSRegistryBusy))
        yield problem("R-087", META)
        yield problem(KINDS[self.k], ErrorCode.XDSDuplicateUniqueIdInRegistry)
        self.other("R-072")
        context.add("R-020", subject)
        for end, rule in ((1, "R-067"), (2, "R-068")):
            yield problem(rule, META)
    def other(self, rule):
        return problem(rule, ErrorCode.XDSPatientIdDoesNotMatch)
'''


def test_the_reader_follows_names_and_helpers(generator: ModuleType) -> None:
    """A code may be an alias of the module, and a rule may come from a table, a loop or a parameter."""
    found: dict[str, set[str]] = {}
    for rule, given in generator.Module(ast.parse(SOURCE), frozenset(ErrorCode)).answers():
        found.setdefault(rule, set()).update(given)
    meta = {"XDSRegistryMetadataError"}
    assert found == {
        "R-061": {"UnresolvedReferenceException"}, "R-087": meta, "R-084": {"XDSDuplicateUniqueIdInRegistry"},
        "R-085": {"XDSDuplicateUniqueIdInRegistry"}, "R-072": {"XDSPatientIdDoesNotMatch"}, "R-020": set(),
        "R-067": meta, "R-068": meta,
    }
