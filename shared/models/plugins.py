"""Finds models that other packages bring, by entry points.

    [project.entry-points."tidegate.detectors"]
    my_detector = "my_detector:detect"

`CV_MODEL=my_detector` names that one, `CV_MODEL=my_detector:/models/weights` also gives it an argument. Only a package
that the setting names is imported.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

from shared.contract.names import safe_name
from shared.models.backends import ModelOptions
from shared.runtime.errors import ModelError

DETECTORS = "tidegate.detectors"
EMBEDDERS = "tidegate.embedders"
# The decorator of each group, in `tidegate.plugins`.
_DECORATORS = {DETECTORS: "detector", EMBEDDERS: "embedder"}

F = TypeVar("F")


class Plugin(NamedTuple):
    """spec: as in the setting. argument: of the spec, after the colon. entry: of the package."""

    spec: str
    argument: str
    entry: EntryPoint

    @property
    def package(self) -> str:
        """The distribution's name and version."""
        return f"{self.entry.dist.name} {self.entry.dist.version}" if self.entry.dist else self.entry.module

    @property
    def model(self) -> str:
        """The model's name in events. Another version is another model, and so is another argument."""
        version = self.entry.dist.version if self.entry.dist else ""
        return "-".join(safe_name(part) for part in (self.entry.name, self.argument, version) if part)

    def load(self) -> Any:
        """Return the object of the entry point. Raises ModelError if the package can't be imported."""
        try:
            return self.entry.load()
        except Exception as e:  # It is code of others: anything can be raised.
            raise ModelError(f"{self.spec}: {self.package} can't load {self.entry.value}: {_line(e)}") from e

    def call(self, function: Any, *arguments: Any) -> Any:
        """Return the function's result. Raises ModelError if it raises."""
        try:
            return function(*arguments)
        except ModelError:
            raise
        except Exception as e:  # The same.
            raise ModelError(f"{self.spec}: {self.package} failed: {_line(e)}") from e


def find(group: str, spec: str) -> Plugin | None:
    """Return the plugin that a spec names, None if no package brings it. Raises ModelError if several do."""
    name, _, argument = spec.partition(":")
    # A path: no need to read the metadata of all packages.
    if "/" in name:
        return None
    found = [Plugin(spec, argument, entry) for entry in entry_points(group=group, name=name)]
    if len(found) > 1:
        packages = ", ".join(sorted(plugin.package for plugin in found))
        raise ModelError(f"{spec} is in several packages ({packages}): uninstall all but one")
    return found[0] if found else None


def installed(group: str) -> list[str]:
    """Return the names of a group, sorted."""
    return sorted(entry_points(group=group).names)


def load(group: str, spec: str, kind: type[F], options: ModelOptions) -> tuple[Plugin, F]:
    """Return a plugin and its decorated function, from its `load(name, options)` if it has that. Raises ModelError."""
    plugin = find(group, spec)
    if plugin is None:
        raise ModelError(f"{spec}: no installed package brings it any more")
    # Read when torch, OpenBLAS or OpenMP is imported.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, str(options.threads))
    found = plugin.load()
    if not isinstance(found, kind) and callable(found):
        found = plugin.call(found, plugin.argument, options)
    elif plugin.argument:
        raise ModelError(f"{spec}: {plugin.entry.name} takes no argument: only a function load(name, options) does")
    if not isinstance(found, kind):
        decorator = f"tidegate.plugins.{_DECORATORS[group]}"
        raise ModelError(f"{spec}: {plugin.package} gives {found!r:.80}: decorate a function by {decorator}")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(options.threads)
    return plugin, found


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
