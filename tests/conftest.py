"""Shared fixtures: where the published schemas and sample documents are, when they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Folder of published schemas and sample CDA documents; the test is skipped where it is absent."""
    folder = Path(os.environ.get("CARNET_ORACLES", ROOT.parent / "shared" / "data"))
    if not (folder / "ebxml-xsd").is_dir():
        pytest.skip(f"published schemas and samples not found at {folder}; set CARNET_ORACLES")
    return folder
