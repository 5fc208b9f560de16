"""The one place where spyne is imported.

Why a step before it: the copy of ``six`` inside spyne 2.14 brings an import hook of the old kind, which Python 3.12
no longer asks. Python 3.13 has no ``cgi`` either; the package legacy-cgi puts it back.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = [
    "Application", "Boolean", "ComplexModel", "Fault", "Integer32", "MethodContext", "NullServer", "Service",
    "Soap12", "Unicode", "Wsdl11", "rpc",
]


def _teach(importer: Any) -> None:
    """Give the old importer the three verbs of the new protocol. Does nothing where it has them."""
    kind = type(importer)
    if hasattr(kind, "find_spec"):
        return

    def find_spec(self: Any, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name in self.known_modules else None

    def create_module(self: Any, spec: ModuleSpec) -> ModuleType:
        made: ModuleType = self.load_module(spec.name)
        return made

    kind.find_spec, kind.create_module, kind.exec_module = find_spec, create_module, lambda self, module: None


def _load_six() -> None:
    """Load spyne's copy of six by its file, before the package imports it."""
    package = importlib.util.find_spec("spyne")
    if package is None or not package.submodule_search_locations:
        raise ImportError("spyne is not installed")
    name = "spyne.util.six"
    place = f"{package.submodule_search_locations[0]}/util/six.py"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    _teach(module._importer)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _load_six()
    from spyne import Application, Boolean, ComplexModel, Fault, Integer32, MethodContext, Service, Unicode, rpc
    from spyne.interface.wsdl import Wsdl11
    from spyne.protocol.soap import Soap12
    from spyne.server.null import NullServer
