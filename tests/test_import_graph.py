"""The borders of the house, read from the source: no forbidden arrow, no circle between modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    "carnet": {"storage", "registry", "repository", "record", "guard", "xds", "conformance"},
    "storage": {"registry", "repository", "record", "guard", "xds"},
    "registry": {"record", "guard", "xds"},
    "repository": {"record", "guard", "xds"},
    "record": {"guard", "xds"},
    "guard": {"xds"},
    "conformance": {"guard", "xds"},
    "xds": set(),
}
"""Package to the packages it may import; ``schemas`` is data and open to all."""

OURS = {*PACKAGES, "schemas", "tests", "fixtures"}

ROOMS = {"guard.credentials", "guard.policy", "guard.audit"}
TOKENS = "guard.tokens"
OPEN_TO_ROOMS = "guard.credentials.caller"
"""The rooms of the guard do not know each other but for this module."""

WITHOUT_LXML = ("xds.model", "xds.check", "guard.policy", "record", "registry.rules")
WITH_LXML = ("record.td",)
"""Rooms inside those: the services of the record speak SOAP."""
ONLY_IN = {
    "sqlalchemy": ("storage",),
    "alembic": ("storage",),
    "psycopg": ("storage",),
    "sqlite3": ("storage", "carnet.bench.floors"),
    "gunicorn": ("carnet",),
    "pydantic": ("carnet",),
    "pydantic_settings": ("carnet",),
    "prometheus_client": ("carnet",),
    "spyne": ("record.td.spyne_import",),
    "joserfc": ("guard.credentials.openid",),
    "hl7": ("registry.iti8_patient_feed", "carnet.mllp"),
    "click": ("carnet", "conformance"),
}
"""Libraries that belong to one place; a floor is measured with the bare library on purpose."""

IMPORTERS = ("importlib.import_module", "import_module", "__import__")
WIRE_CLIENT, LINK = "xds.wire.client", "repository.registry_link"


@dataclass(frozen=True, slots=True)
class Import:
    """``source`` needs ``target``; both dotted module names, ``target`` as deep as the file says."""

    source: str
    target: str
    where: str
    """file:line"""

    def __str__(self) -> str:
        return f"{self.where}: {self.source} -> {self.target}"


def inside(module: str, *homes: str) -> bool:
    return any(module == home or module.startswith(home + ".") for home in homes)


def module_name(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, path: Path, modules: frozenset[str]) -> Iterator[Import]:
    """Every import of one file, those inside functions and behind importlib included.

    ``path`` is relative to the root; ``modules`` are the names that exist as files, so that
    ``from xds.check import fields`` names ``xds.check.fields`` and ``from xds.model import Code`` the package.
    """
    me = module_name(path)
    package = me if path.stem == "__init__" else me.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in modules else base for a in node.names]
        elif isinstance(node, ast.Call) and _name(node.func) in IMPORTERS:
            targets = [text.rstrip(".") for text in [_beginning(node.args[0])] if text] if node.args else []
        for target in dict.fromkeys(targets):
            yield Import(me, target, f"{path.as_posix()}:{node.lineno}")


def _name(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _beginning(node: ast.expr) -> str:
    """The constant text a module name starts with, "" when there is none."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def violations(imports: list[Import]) -> list[str]:
    """What is wrong with each import taken alone: ``file:line: arrow: why``."""
    return [f"{one}: {why}" for one in imports for why in _why_not(one)]


def _why_not(one: Import) -> Iterator[str]:
    home, target = one.source.split(".")[0], one.target.split(".")[0]
    if home not in PACKAGES:
        return
    if target in OURS - {home, "schemas"} and target not in PACKAGES[home]:
        allowed = ", ".join(sorted(PACKAGES[home])) or "nothing of ours"
        yield f"{home} may import {allowed}"
    if home == "conformance" and target == "guard" and not inside(one.target, "guard.credentials"):
        yield "conformance may import guard.credentials only"
    for room in ROOMS:
        others = ROOMS - {room}
        if inside(one.source, room) and inside(one.target, *others) and not inside(one.target, OPEN_TO_ROOMS):
            yield f"the rooms of the guard share {OPEN_TO_ROOMS} only"
    if inside(one.target, TOKENS) and not inside(one.source, TOKENS, "storage", "carnet"):
        yield f"{TOKENS} is an actor, wired by carnet"
    if inside(one.source, TOKENS) and inside(one.target, "guard.policy"):
        yield "the token service decides nothing about records"
    if target == "lxml" and inside(one.source, *WITHOUT_LXML) and not inside(one.source, *WITH_LXML):
        yield "this module works on plain values, without XML"
    if target in ONLY_IN and not inside(one.source, *ONLY_IN[target]):
        yield f"{target} belongs to {' and '.join(ONLY_IN[target])}"
    if home == "repository" and inside(one.target, WIRE_CLIENT) and one.source != LINK:
        yield f"only {LINK} reaches a registry"


def circles(imports: list[Import]) -> list[str]:
    """Groups of our modules that need each other, as one line each, arrows with file:line."""
    graph: dict[str, dict[str, Import]] = {}
    for one in imports:
        if one.target.split(".")[0] in OURS and one.target != one.source:
            graph.setdefault(one.source, {}).setdefault(one.target, one)
    found: list[str] = []
    finished: set[str] = set()

    def walk(module: str, trail: list[str]) -> None:
        if module in trail:
            ring = [*trail[trail.index(module) :], module]
            found.append("; ".join(str(graph[a][b]) for a, b in pairwise(ring)))
            return
        if module in finished:
            return
        for target in graph.get(module, {}):
            walk(target, [*trail, module])
        finished.add(module)

    for module in sorted(graph):
        walk(module, [])
    return found


def source_files() -> list[Path]:
    return sorted(p.relative_to(ROOT) for name in [*PACKAGES, "schemas"] for p in (ROOT / name).rglob("*.py"))


@pytest.fixture(scope="module")
def house() -> list[Import]:
    files = source_files()
    modules = frozenset(map(module_name, files))
    return [one for path in files for one in imports_of((ROOT / path).read_text("utf-8"), path, modules)]


def test_no_forbidden_arrow(house: list[Import]) -> None:
    """carnet -> storage -> registry, repository -> record -> guard -> xds; conformance -> guard.credentials."""
    assert not (found := violations(house)), "\n".join(found)


def test_no_circle_between_modules(house: list[Import]) -> None:
    """Modules do not need each other in a ring, not even inside functions."""
    assert not (found := circles(house)), "\n".join(found)


def test_the_whole_house_was_read(house: list[Import]) -> None:
    """An empty or misplaced tree must not look clean."""
    sources = {one.source.split(".")[0] for one in house}
    assert sources >= set(PACKAGES) - {"conformance"}
    assert any(one.target == "xds.errors" for one in house)


FORBIDDEN = [
    ("registry/x.py", "import repository.store", "registry may import guard, record, xds"),
    ("repository/x.py", "from registry.rules import apply", "repository may import guard, record, xds"),
    ("guard/tokens/x.py", "from registry.store import RegistryStore", "guard may import xds"),
    ("registry/x.py", "import guard.tokens.store", "an actor, wired by carnet"),
    ("guard/credentials/x.py", "from guard.tokens.request import NONCE", "an actor, wired by carnet"),
    ("guard/tokens/x.py", "from guard.policy.facts import Action", "the token service decides nothing about records"),
    ("guard/tokens/x.py", "from joserfc import jwt", "joserfc belongs to guard.credentials.openid"),
    ("storage/x.py", "import carnet.settings", "storage may import"),
    ("xds/wire/x.py", "def f():\n    from guard.credentials import caller", "xds may import nothing of ours"),
    ("xds/x.py", "import importlib\nm = importlib.import_module('record.store')", "xds may import nothing of ours"),
    ("record/x.py", "from importlib import import_module\nimport_module(f'registry.{x}')", "record may import"),
    ("guard/x.py", "from tests import conftest", "guard may import xds"),
    ("carnet/x.py", "import fixtures", "carnet may import"),
    ("conformance/x.py", "from guard.policy import facts", "guard.credentials only"),
    ("conformance/x.py", "import storage", "conformance may import guard, xds"),
    ("guard/policy/x.py", "from guard.credentials import vihf", "share guard.credentials.caller only"),
    ("guard/audit/x.py", "from ..policy.facts import Action", "share guard.credentials.caller only"),
    ("guard/credentials/x.py", "from guard.audit.store import AccessLine", "share guard.credentials.caller only"),
    ("guard/policy/x.py", "from lxml import etree", "without XML"),
    ("xds/check/x.py", "import lxml.etree", "without XML"),
    ("record/x.py", "from lxml import etree", "without XML"),
    ("registry/rules.py", "from lxml import etree", "without XML"),
    ("registry/x.py", "from sqlalchemy import select", "sqlalchemy belongs to storage"),
    ("carnet/x.py", "import alembic.command", "alembic belongs to storage"),
    ("repository/sweep.py", "from xds.wire.client import SoapClient", "only repository.registry_link"),
]

ALLOWED = [
    ("storage/x.py", "from sqlalchemy import select\nfrom registry.store import RegistryStore"),
    ("guard/policy/x.py", "from guard.credentials.caller import Caller\nfrom guard.credentials import caller"),
    ("repository/registry_link.py", "from xds.wire.client import SoapClient"),
    ("conformance/x.py", "from guard.credentials.vihf import sign"),
    ("registry/queries/x.py", "from . import find_documents\nimport schemas\nimport json"),
]

NAMES = frozenset({"guard.credentials.caller", "guard.credentials.vihf", "guard.policy.facts", "registry.queries"})


@pytest.mark.parametrize(("path", "source", "why"), FORBIDDEN)
def test_a_forbidden_import_is_found(path: str, source: str, why: str) -> None:
    """The reader sees the arrow wherever it hides, and names file, line and reason."""
    found = violations(list(imports_of(source, Path(path), NAMES)))
    assert len(found) == 1, found
    line = source.count("\n") + 1
    assert found[0].startswith(f"{path}:{line}: ") and why in found[0]


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    """No false alarm on the arrows the house is built on."""
    assert violations(list(imports_of(source, Path(path), NAMES))) == []


def test_a_circle_is_found() -> None:
    """Three modules in a ring are one finding with three arrows."""
    sources = {
        "xds/a.py": "from xds import b", "xds/b.py": "def f():\n    import xds.c", "xds/c.py": "from .a import x",
        "xds/d.py": "import xds.a",
    }
    names = frozenset({"xds.a", "xds.b", "xds.c", "xds.d"})
    found = circles([one for path, text in sources.items() for one in imports_of(text, Path(path), names)])
    assert found == ["xds/a.py:1: xds.a -> xds.b; xds/b.py:2: xds.b -> xds.c; xds/c.py:1: xds.c -> xds.a"]
