"""docs/conformance.md says what the code says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance_statement", ROOT / "docs" / "conformance.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["conformance_statement"] = module
    spec.loader.exec_module(module)
    return module


def test_the_statement_is_not_stale(generator: ModuleType) -> None:
    """`make docs` was run after the last change to transactions, queries, bounds or words."""
    assert generator.PAGE.read_text("utf-8") == generator.page(), (
        "docs/conformance.md is stale: run `make docs`, or python docs/conformance.py"
    )


def test_the_statement_names_what_is_served(generator: ModuleType) -> None:
    """Every transaction with its addresses and actions, every query with its id, nothing internal."""
    page = generator.page()
    assert "ITI-18 Registry Stored Query" in page and "ITI-41 Provide and Register Document Set-b" in page
    assert "urn:ihe:iti:2007:RetrieveDocumentSetResponse" in page and "/services/registry/iti18" in page
    assert "FindSubmissionSets" in page
    assert "/internal/registry" not in page and "{" not in page.replace("{outcome", "")
