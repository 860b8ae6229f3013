"""Where the command line finds the ScaledObjects that Tidegate ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from services.scaler.keda.scaledobject import ScaledObject, load
from shared.contract import catalog
from shared.contract.catalog import Service
from shared.runtime.errors import SettingError


def shipped(name: str) -> Path:
    """A file of `deploy/keda`: the wheel has that folder in the package, a checkout beside it."""
    package = Path(str(resources.files("tidegate")))
    folder = package / "deploy" / "keda"
    return (folder if folder.is_dir() else package.parent / "deploy" / "keda") / name


def scaled_object(service: str, path: str | Path | None = None) -> ScaledObject:
    """The ScaledObject of a service: `path`, or the file that the catalog names. Raises SettingError."""
    chosen = Path(path or _named(catalog.find(service)))
    if not chosen.exists():
        raise SettingError(f"{chosen} does not exist: name a ScaledObject with --scaled-object")
    return load(chosen)


def _named(record: Service) -> Path:
    """Ours are shipped together; that of a package of your own lies in it."""
    if not record.scaled_object:
        raise SettingError(f"{record.name} is one replica: the catalog names no ScaledObject for it")
    if record in catalog.SERVICES:
        return shipped(record.scaled_object)
    return Path(str(resources.files(record.module))) / record.scaled_object
