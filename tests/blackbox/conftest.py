"""The served installations of the suite: one open, one that asks for assertions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.event import Event, free_ports


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder carries the marker `make blackbox` selects."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("blackbox")


@pytest.fixture(scope="session")
def answers_port() -> int:
    """Port of the receiver of asynchronous answers."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def event(tmp_path_factory: pytest.TempPathFactory, answers_port: int) -> Iterator[Event]:
    """Credentials off; identity feed, plain ports and asynchronous answers open."""
    found = Event(tmp_path_factory.mktemp("event"), "off")
    found.start(f'allowed = ["http://127.0.0.1:{answers_port}/answers"]\nplain_loopback = true\npause = 0.2\n')
    yield found
    found.stop()


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Event]:
    """Assertions asked for, over mutual TLS."""
    found = Event(tmp_path_factory.mktemp("guarded"), "assertion").start()
    yield found
    found.stop()
