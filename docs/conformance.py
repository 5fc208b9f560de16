"""Writes conformance.md: the words of conformance.in.md, and tables read from the code.

Run by ``make docs``; a test fails when the page is stale.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import registry.app  # noqa: E402
import registry.queries  # noqa: E402
import repository.app  # noqa: E402
import schemas  # noqa: E402
from carnet.settings import LimitSettings, Registry, Replies, Repository  # noqa: E402
from xds import domain as domains  # noqa: E402
from xds.errors import ErrorCode  # noqa: E402
from xds.wire.exchange import Transaction  # noqa: E402

WORDS = ROOT / "docs" / "conformance.in.md"
PAGE = ROOT / "docs" / "conformance.md"
ACTORS = {"Document Registry": registry, "Document Repository": repository}

OPTIONS = (
    ("Document Registry", "Stored queries of several patients", "ITI-51"),
    ("Document Registry", "Reference ID", "FindDocumentsByReferenceId"),
    ("Document Registry", "On-Demand Documents", "ITI-61"),
    ("Document Registry", "Document Metadata Update", "ITI-57"),
    ("Document Registry", "Restricted Metadata Update", "ITI-92"),
    ("Document Registry", "Remove Metadata", "ITI-62"),
    ("Document Registry", "Patient Identity Feed", "ITI-8"),
    ("Document Registry", "Patient Identity Feed HL7 V3", "ITI-44"),
    ("Document Registry", "Asynchronous Web Services Exchange", ""),
    ("Document Repository", "On-Demand Documents", "ITI-61"),
    ("Document Repository", "Remove Documents", "ITI-86"),
    ("Document Repository", "Asynchronous Web Services Exchange", ""),
)
"""Actor, option, and the transaction or query without which it is not there."""


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    return "\n".join([row(*head), "|" + "---|" * len(head), *(row(*cells) for cells in rows)])


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Every module directly in a package."""
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(info.name)


def served() -> list[tuple[str, Transaction, list[str]]]:
    """Actor, transaction, addresses; without what only our own nodes may call."""
    found = []
    for actor, package in ACTORS.items():
        for transaction in package.app.transactions(MagicMock()):
            paths = [path for path, names in package.app.PATHS.items() if transaction.name in names]
            if not paths[0].startswith("/internal"):
                found.append((actor, transaction, paths))
    return sorted(found, key=lambda one: (one[0], [int(n) for n in re.findall(r"\d+", one[1].name)]))


def titles() -> dict[str, str]:
    """Name of a transaction (``ITI-18``) to its title, from the first line of its file."""
    found = {}
    for package in ACTORS.values():
        for module in modules(package):
            number = re.fullmatch(r"\w+\.iti(\d+)_\w+", module.__name__)
            if number is not None:
                first = (module.__doc__ or "").split("\n", 1)[0]
                found[f"ITI-{number[1]}"] = re.split(r"[.:]", first.removeprefix(f"ITI-{number[1]} "), maxsplit=1)[0]
    return dict(sorted(found.items(), key=lambda one: int(one[0][4:])))


def queries() -> list[ModuleType]:
    """Every stored query, by name."""
    found = [module for module in modules(registry.queries) if hasattr(module, "QUERY_ID")]
    return sorted(found, key=lambda module: (getattr(module, "TRANSACTION", "ITI-18"), module.NAME))


def options_table() -> str:
    present = {*titles(), *(module.NAME for module in queries())}
    rows = [(actor, option, "yes" if not needs or needs in present else "no") for actor, option, needs in OPTIONS]
    return table(("Actor", "Option", "Claimed"), rows)


def transactions_table() -> str:
    known = titles()
    rows: list[tuple[object, ...]] = [
        (f"{one.name} {known.get(one.name, '')}", actor, "<br>".join(f"`{path}`" for path in paths),
         f"`{one.action}`<br>`{one.response_action}`", "MTOM" if one.mtom else "simple")
        for actor, one, paths in served()
    ]
    named = {one.name for _, one, _ in served()}
    rows += [(f"{name} {title}", "", "not SOAP: see [transactions.md](transactions.md)", "", "")
             for name, title in known.items() if name not in named]
    return table(("Transaction", "Actor", "Addresses", "Actions: request, answer", "Packaging"), rows)


def queries_table() -> str:
    def required(module: ModuleType) -> str:
        names = [f"`{param.name}`" for param in module.PARAMS if param.required]
        one_of = [f"`{name}`" for name in getattr(module, "EXACTLY_ONE", ())]
        return ", ".join([*names, *([f"one of {', '.join(one_of)}"] if one_of else [])]) or "–"

    rows = [
        (module.NAME, getattr(module, "TRANSACTION", "ITI-18"), f"`{module.QUERY_ID}`", required(module))
        for module in queries()
    ]
    return table(("Query", "Transaction", "Id", "Required"), rows)


def errors_table() -> str:
    """The codes some line of ours answers with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) - {"conformance", "fixtures"}
    files = [file for package in sorted(packages) for file in (ROOT / package).rglob("*.py")]
    text = "\n".join(file.read_text("utf-8") for file in files)
    used = {code for code in ErrorCode if f"ErrorCode.{code.name}" in text}
    return ", ".join(f"`{code.value}`" for code in ErrorCode if code in used) + "."


def limits_table() -> str:
    rows: list[tuple[object, ...]] = []
    wanted = (("limits", LimitSettings, None), ("registry", Registry, {"max_results"}),
              ("repository", Repository, {"max_documents", "registry_timeout"}),
              ("replies", Replies, {"queue", "keep", "timeout"}))
    for section, model, names in wanted:
        for name, field in model.model_fields.items():
            if names is None or name in names:
                rows.append((f"`{section}.{name}`", field.description, field.default))
    return table(("Setting", "Bound on", "Default"), rows)


def domains_table() -> str:
    rows = []
    folder = Path(next(iter(schemas.__path__))) / "domains"
    for name in sorted(one.parent.name for one in folder.glob("*/domain.toml")):
        asked = domains.load(name).credentials
        needed = "always" if asked.required else "unless set otherwise"
        rows.append((f"`{name}`", asked.mode, needed, asked.profile or "–", ", ".join(sorted(asked.audiences)) or "–"))
    return table(("Domain", "Credential", "Demanded", "Profile", "Audiences"), rows)


def rules_list(prefix: str) -> str:
    """The rules of one letter, as the catalogue words them; not those that are not built."""
    catalogue = tomllib.loads((ROOT / "docs" / "rules.toml").read_text("utf-8"))
    rows = [
        (rule, text) for group in catalogue["group"] for rule, text in group["rules"].items()
        if rule.startswith(prefix) and rule not in group.get("later", ())
    ]
    return table(("Rule", "In our words"), rows)


def page() -> str:
    """The page as it should be now."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    values = {
        "version": project["version"], "options": options_table(), "transactions": transactions_table(),
        "queries": queries_table(), "errors": errors_table(), "limits": limits_table(), "domains": domains_table(),
        "choices": rules_list("E-"), "tolerances": rules_list("C-"),
        "registry_port": str(Registry().port), "repository_port": str(Repository().port),
    }
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], WORDS.read_text("utf-8"))


def main() -> int:
    """Write the page; exit status 0."""
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
