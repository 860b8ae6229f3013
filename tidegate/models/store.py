"""Measured models in a data directory, and the active one, which `tidegate up` runs.

    save(data, model)
    use(data, "yard")
    active(data).settings      # {"CV_MODEL": "/models/yard.onnx", ...}
    use(data, None)            # back to the default

`models/<name>.json` has one model, and `models/active` the name of the active one. Both are for their owner alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from services.cv import model_spec
from shared.contract.names import Token, check_token
from shared.runtime.errors import ModelError, SettingError
from shared.runtime.settings import value_of
from tidegate.local.encryption import write_private
from tidegate.local.running import unusable
from tidegate.models.capacity import Rate
from tidegate.models.machine import Machine

_CHUNK = 1 << 20
DEFAULT = "tidegate model use --default"


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as `tidegate model add` measured it.

    settings: variables of cv. fingerprint: of its files, empty without any. service_rate: segments a second of a
    replica, rounded down. cameras: for a replica at `load` of that rate, each with `fps` analysed frames a second.
    """

    name: Token
    spec: str
    settings: dict[str, str]
    fingerprint: str
    service_rate: float
    rate: Rate
    fps: float
    cameras: int
    load: float
    latency_target_s: float
    footage: str
    added: dt.datetime
    machine: Machine

    @property
    def rate_in_words(self) -> str:
        """Where the rate is from."""
        return (
            f"a replica does {self.service_rate:g} a second: model {self.name}, as 'tidegate model add' measured it on "
            f"{self.machine.cpu} ({self.added:%Y-%m-%d})"
        )

    @property
    def changed(self) -> str:
        """Whether its files differ from those that were measured, as a sentence; empty if not. Raises SettingError."""
        if absent := [path for path in model_spec.paths(self.spec) if not path.exists()]:
            raise SettingError(
                f"model {self.name} needs {absent[0]}, which is missing: put it back, or go back to the "
                f"default by '{DEFAULT}'"
            )
        if fingerprint(self.spec) == self.fingerprint:
            return ""
        return (
            f"{self.spec} has changed since it was measured as {self.name}: measure it again by "
            f"'tidegate model add {self.spec} --name {self.name}', or go back by '{DEFAULT}'"
        )


class Chosen(NamedTuple):
    """settings: variables that cv gets from the active model. sentence, warning: for people; may be empty."""

    settings: dict[str, str]
    sentence: str = ""
    warning: str = ""


def fingerprint(spec: str) -> str:
    """Return the SHA-256 of a model's files; empty if it has none. Raises ModelError."""
    files = [file for path in model_spec.paths(spec) for file in _files(path)]
    digest = hashlib.sha256()
    try:
        for file in files:
            digest.update(f"{file.name}\n{file.stat().st_size}\n".encode())
            with file.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
    except OSError as e:
        raise ModelError(f"{e.filename} can't be read: {e.strerror}; give this user the right to read it") from e
    return digest.hexdigest() if files else ""


def _files(path: Path) -> list[Path]:
    """Return the files of a model: of a folder all, of an .xml also its weights."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    weights = path.with_suffix(".bin")
    return [path, weights] if path.suffix == ".xml" and weights.is_file() else [path]


def save(data: Path, model: StoredModel) -> Path:
    """Store a model, replacing one of its name. Return its file. Raises SettingError."""
    path = _path(data, model.name)
    _write(data, path, msgspec.json.format(msgspec.json.encode(model)).decode() + "\n")
    return path


def find(data: Path, name: str) -> StoredModel:
    """Return a stored model. Raises SettingError that names those that there are."""
    path = _path(data, name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoredModel)
    except FileNotFoundError:
        names = [file.stem for file in sorted(folder(data).glob("*.json"))]
        there = f"there are {', '.join(names)}" if names else "there is none yet: 'tidegate model add' measures one"
        raise SettingError(f"no model is called {name}: {there}") from None
    except OSError as e:
        raise unusable(data, e) from e
    except msgspec.DecodeError as e:
        raise SettingError(f"{path} can't be read ({e}): measure the model again by 'tidegate model add'") from e


def stored(data: Path) -> list[StoredModel]:
    """Return all models, by name. Raises SettingError."""
    return [find(data, file.stem) for file in sorted(folder(data).glob("*.json"))]


def use(data: Path, name: str | None) -> None:
    """Make a stored model the active one; None: the default. Raises SettingError."""
    mark = folder(data) / "active"
    if name is None:
        try:
            mark.unlink(missing_ok=True)
        except OSError as e:
            raise unusable(data, e) from e
        return
    find(data, name)
    _write(data, mark, f"{name}\n")


def active(data: Path) -> StoredModel | None:
    """Return the active model; None for the default. Raises SettingError if it can't be read."""
    if not (name := active_name(data)):
        return None
    try:
        return find(data, check_token(name, "active model"))
    except SettingError as e:
        raise SettingError(f"the active model can't be used ({e}): go back to the default by '{DEFAULT}'") from e


def active_name(data: Path) -> str:
    """Return the name of the active model; empty for the default. Raises SettingError."""
    try:
        return (folder(data) / "active").read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as e:
        raise unusable(data, e) from e


def chosen(data: Path, environ: Mapping[str, str]) -> Chosen:
    """Return how cv runs the active model.

    CV_MODEL in the environment has priority over the active model, and each other variable over its own. Raises
    SettingError if a file of the model is missing, ModelError if it needs a package.
    """
    model = active(data)
    if model is None:
        return Chosen({})
    if own := value_of("CV_MODEL", environ):
        return Chosen({}, f"CV_MODEL={own} is set: the active model {model.name} is not used")
    changed = model.changed
    settings = {name: value for name, value in model.settings.items() if not value_of(name, environ)}
    device, runtime, precision = (
        settings.get(name) or value_of(name, environ) or "" for name in ("CV_DEVICE", "CV_RUNTIME", "CV_PRECISION")
    )
    model_spec.check(model.spec, device or "cpu", runtime, precision)
    return Chosen(settings, f"detector {model.name}, {model.spec}: '{DEFAULT}' goes back", changed)


def folder(data: Path) -> Path:
    return data / "models"


def prepare(data: Path) -> None:
    """Create the folder, for its owner alone. Raises SettingError."""
    try:
        folder(data).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise unusable(data, e) from e


def _path(data: Path, name: str) -> Path:
    return folder(data) / f"{check_token(name, 'model name')}.json"


def _write(data: Path, path: Path, text: str) -> None:
    prepare(data)
    try:
        write_private(path, text)
    except OSError as e:
        raise unusable(data, e) from e
