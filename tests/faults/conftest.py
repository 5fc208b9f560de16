"""One installation for the tests that leave the services as they found them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import Live, served


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Both services, each a process of its own."""
    with served(tmp_path_factory.mktemp("apart") / "data") as live:
        yield live
