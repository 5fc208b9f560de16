"""Shared fixtures: where the published schemas and sample documents are, when they are at hand. And what makes the
suite quick: the folders of tests are in memory, and the programs that tests start find their sources compiled."""

from __future__ import annotations

import compileall
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from tests.world import World, plain_world
from xds.namespaces import XDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "carnet", "registry", "repository", "record", "guard", "xds", "storage", "conformance", "schemas", "tests",
)
MEMORY, ROOM = "/dev/shm", 2 << 30
"""Where a sync costs nothing, and the bytes that must be free there. Each commit is synced: on a disk they add up to
minutes. That the product syncs is asserted on its calls (``tests/storage/test_syncs.py``)."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before xdist fills in what was not typed: what a file starts for its tests is started once, not by each
    worker."""
    if config.getoption("numprocesses", None) and config.option.dist == "no" and not config.option.distload:
        config.option.dist, config.option.loadscopereorder = "loadfile", False


def pytest_configure(config: pytest.Config) -> None:
    """Before any worker starts."""
    if hasattr(config, "workerinput"):
        return
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and not takes_slow(config.option.markexpr) and is_fit(MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = MEMORY
    for package in PACKAGES:
        compileall.compile_dir(ROOT / package, quiet=2)


def takes_slow(marks: str) -> bool:
    """Whether ``-m`` lets slow tests in, whose documents are too large to lie in memory."""
    return not marks or "slow" in marks.replace("not slow", "")


def is_fit(folder: str) -> bool:
    """There, large enough, and a place where programs may lie: some tests write one and run it."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize > ROOM and not found.f_flag & os.ST_NOEXEC and os.access(folder, os.W_OK)


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Folder of published schemas and sample CDA documents; the test is skipped where it is absent."""
    folder = Path(os.environ.get("CARNET_ORACLES", ROOT.parent / "shared" / "data"))
    if not (folder / "ebxml-xsd").is_dir():
        pytest.skip(f"published schemas and samples not found at {folder}; set CARNET_ORACLES")
    return folder


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Both services in this process."""
    return World.prepare(tmp_path_factory.mktemp("here")).serve_here()


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Both services in this process, in the ``connectathon`` domain, for documents of our own repository only."""
    return plain_world(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def published(oracles: Path) -> etree.XMLSchema:
    """The published ebXML and XDS.b schemas, compiled together."""
    return etree.XMLSchema(
        etree.fromstring(
            f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import namespace="{XDS}" '
            'schemaLocation="XDS.b_DocumentRepository.xsd"/></xs:schema>',
            base_url=f"{oracles}/ebxml-xsd/driver.xsd",
        )
    )


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both services as processes, over mutual TLS."""
    world = World.prepare(tmp_path_factory.mktemp("live")).serve_processes()
    yield world
    world.stop()


@pytest.fixture(params=["local link", "remote link"])
def world(request: pytest.FixtureRequest) -> World:
    """Each test over both forms of the link between repository and registry."""
    found = request.getfixturevalue("here" if request.param == "local link" else "live")
    assert isinstance(found, World)
    return found
