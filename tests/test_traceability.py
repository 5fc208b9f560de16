"""docs/traceability.md says what the code and the tests say, and the reader that writes it can see."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("traceability", ROOT / "docs" / "traceability.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["traceability"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_not_stale(generator: ModuleType) -> None:
    """`make docs` was run after the last change to code, tests or rules."""
    assert generator.PAGE.read_text("utf-8") == generator.page(), "docs/traceability.md is stale: run `make docs`"


def test_no_rule_is_cited_that_the_catalogue_does_not_have(generator: ModuleType) -> None:
    """A mistyped rule number shows here."""
    assert "- Cited, but not in rules.toml: none." in generator.page()


CODE = '''
"""Module. Clause: ITI TF-2 3.42.4.1.3, 3.42.4.2 (A-1)"""
def outer():
    """Step e and f. Clause: DMP R526 v1.8"""
    def inner():
        return finding(rule="R-024", clause="ITI TF-3 4.2.3")
'''

TESTS = '''
"""Rule: A-2"""
import pytest
CASES = [("R-031 too long", 1), ("not a rule R-032", 2)]
class TestGroup:
    @pytest.mark.parametrize("case", CASES)
    def test_it(self, case):
        """Rule: R-024, Q-05. Attack: two-copies, comment_in_nameid

        Step: e, f
        Clause: ITI TF-2 3.42
        """
def helper():
    """Rule: R-099"""
'''


def read(generator: ModuleType, file: str, text: str) -> object:
    source = generator.Source(file, text, ast.parse(text))
    source.spans = list(generator._spans(source.tree, ""))
    return source


def test_citations_in_code_are_found_with_their_function(generator: ModuleType) -> None:
    """Literals, docstrings and steps belong to the innermost function."""
    found = generator.Found()
    generator.scan_code(read(generator, "guard/credentials/x.py", CODE), found)
    place = generator.Place
    assert found.code["R-024"] == {place("guard/credentials/x.py", "outer.inner")}
    assert found.code["A-1"] == {place("guard/credentials/x.py", "")}
    assert found.code["step e"] == found.code["step f"] == {place("guard/credentials/x.py", "outer")}
    assert found.clause_code["ITI TF-2 3.42.4.2"] == {place("guard/credentials/x.py", "")}
    assert found.clause_code["ITI TF-3 4.2.3"] == {place("guard/credentials/x.py", "outer.inner")}
    assert found.clause_code["DMP R526 v1.8"]


def test_proofs_in_tests_are_found_with_their_function(generator: ModuleType) -> None:
    """Rule lines and parameters count; a helper and a number in the middle of a text do not."""
    found = generator.Found()
    generator.scan_tests(read(generator, "tests/test_x.py", TESTS), found)
    mine = {generator.Place("tests/test_x.py", "TestGroup.test_it")}
    for rule in ("R-024", "Q-05", "R-031", "step e", "step f"):
        assert found.tests[rule] == mine, rule
    assert found.tests["A-2"] == {generator.Place("tests/test_x.py", "")}
    assert found.attacks["comment-in-nameid"] == found.attacks["two-copies"] == mine
    assert not found.tests["R-032"] and not found.tests["R-099"]
    assert found.clause_tests["ITI TF-2 3.42"] == mine


def test_gaps_are_named(generator: ModuleType) -> None:
    """A rule without a test is in the list of gaps, a later one is not."""
    catalogue = {
        "group": [{"title": "G", "source": "S", "later": ["R-002"], "rules": {"R-001": "one", "R-002": "two"}}],
        "attacks": [{"names": {"trick": "what"}}],
    }
    page = generator.render(catalogue, generator.Found())
    assert "0 of 1 rules" in page
    assert "- No test proves: R-001." in page
    assert "- No test tries the attack: trick." in page
    assert "- Not built yet: R-002." in page


def test_a_rule_that_repeats_another_is_proved_by_its_tests(generator: ModuleType) -> None:
    """But only when every rule it repeats is."""
    rules = {"R-001": "one", "R-002": "two", "C-01": "as one", "C-02": "as both"}
    same = {"C-01": ["R-001"], "C-02": ["R-001", "R-002"]}
    catalogue = {"group": [{"title": "G", "source": "S", "rules": rules, "same": same}], "attacks": []}
    found = generator.Found()
    found.tests["R-001"].add(generator.Place("tests/test_x.py", "test_it"))
    page = generator.render(catalogue, found)
    assert "2 of 4 rules" in page
    assert "- No test proves: R-002, C-02." in page
    assert "*(as R-001, R-002)*" in page
