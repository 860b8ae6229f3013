"""Where the files that a repository ships are found by the command line."""

from __future__ import annotations

from pathlib import Path

from services.scaler.keda.scaledobject import ScaledObject, load
from shared.runtime.errors import SettingError

ROOT = Path(__file__).resolve().parents[2]


def scaled_object(service: str, path: str | None = None) -> ScaledObject:
    """The ScaledObject of a service: `path`, or `deploy/keda/<service>.yaml`. Raises SettingError."""
    chosen = Path(path or ROOT / "deploy" / "keda" / f"{service}.yaml")
    if not chosen.exists():
        raise SettingError(f"{chosen} does not exist: name a ScaledObject with --scaled-object")
    return load(chosen)
