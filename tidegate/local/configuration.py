"""Finds the ScaledObjects that Tidegate ships, for the command line."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from shared.contract import catalog
from shared.contract.catalog import Service
from shared.runtime.errors import SettingError
from tidegate.keda.scaledobject import ScaledObject, load


def shipped(name: str) -> Path:
    """Return a file of `deploy/keda`: in the package for a wheel, next to it for a checkout."""
    package = Path(str(resources.files("tidegate")))
    folder = package / "deploy" / "keda"
    return (folder if folder.is_dir() else package.parent / "deploy" / "keda") / name


def scaled_object(service: str, path: str | Path | None = None) -> ScaledObject:
    """Return the ScaledObject of a service: `path`, or the file that the catalog names. Raises SettingError."""
    chosen = Path(path or _named(catalog.find(service)))
    if not chosen.exists():
        raise SettingError(f"{chosen} does not exist: name a ScaledObject with --scaled-object")
    return load(chosen)


def _named(record: Service) -> Path:
    """Return its file: ours are shipped together; your own package contains its own."""
    if not record.scaled_object:
        raise SettingError(f"{record.name} is one replica: the catalog names no ScaledObject for it")
    if record in catalog.SERVICES:
        return shipped(record.scaled_object)
    return Path(str(resources.files(record.module))) / record.scaled_object
