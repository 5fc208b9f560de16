"""One PKI and its cards for the tests of credentials; nothing in it is changed by a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.negative_kit import Kit
from guard.credentials.pki import Pki


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def kit(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(pki, tmp_path_factory.mktemp("scratch"))


@pytest.fixture
def own_pki(tmp_path: Path) -> Pki:
    """A PKI a test may change."""
    return Pki.create(tmp_path / "pki")
