"""Modules that load at their first use, not at their first import.

`importlib.util.LazyLoader` loads at the second `import` of a module, as that reads its `__spec__`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()


class _Unused(ModuleType):
    """A placeholder for a package, which becomes the package when any attribute, such as a submodule, is read."""

    def __getattr__(self, name: str) -> Any:
        with _LOADING:
            spec: ModuleSpec | None = self.__spec__
            # Another thread has loaded it, or this one is loading it.
            if "__path__" not in self.__dict__ and spec and spec.loader:
                self.__path__ = spec.submodule_search_locations or []
                try:
                    spec.loader.exec_module(self)
                except BaseException:
                    del self.__path__
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def until_used(package: str) -> None:
    """Make `import package` load nothing until it is used. No effect if it is loaded already, or not installed."""
    with contextlib.suppress(ImportError):
        if package not in sys.modules and (spec := importlib.util.find_spec(package)):
            sys.modules[package] = _unused(spec)


def _unused(spec: ModuleSpec) -> ModuleType:
    found = importlib.util.module_from_spec(spec)
    found.__class__ = _Unused
    del found.__path__
    return found
