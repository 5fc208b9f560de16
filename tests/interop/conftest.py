"""Services for foreign clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.world import World


@pytest.fixture(scope="session")
def open_worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], World]]:
    """Both services as processes, over mutual TLS, by affinity domain; the registry takes registrations of anyone."""
    made: dict[str, World] = {}

    def of(domain: str) -> World:
        if domain not in made:
            toml = f'[domain]\nname = "{domain}"\n'
            world = World.prepare(tmp_path_factory.mktemp(domain), toml, registry="direct_registration = true")
            made[domain] = world.serve_processes()
        return made[domain]

    yield of
    for world in made.values():
        world.stop()


@pytest.fixture(scope="session")
def open_registry(open_worlds: Callable[[str], World]) -> World:
    """The same, in the ``dmp`` domain."""
    return open_worlds("dmp")
