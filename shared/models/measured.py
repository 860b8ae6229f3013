"""Measured models in a folder, and the active one, which `tidegate up` runs.

    save(folder, model)
    use(folder, "yard")
    active(folder).settings      # {"CV_MODEL": "/models/yard.onnx", ...}
    use(folder, None)            # back to the default

`<name>.json` has one model, and `active` the name of the active one. Both are for their owner alone. Next to them are
what else `tidegate model add` writes: `<name>.jpg`, frames with boxes, and `<name>.yaml`, the ScaledObject.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from shared.contract.names import Token, check_token
from shared.models.machine import Machine
from shared.runtime.errors import ModelError, SettingError
from shared.runtime.private_file import write_private

DEFAULT = "tidegate model use --default"
# In a data directory.
FOLDER = "models"
ACTIVE = "active"
# From this share of the time on, the detector counts as the bottleneck.
BUSY = 0.9
_CHUNK = 1 << 20
# A stored model has some 2 kB.
_MOST_BYTES = 256 * 1024


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The rate with a backlog. cores: busy ones. busy: share of the time in the detector. decode_s: CPU of a segment's
    decoding. segment_s: seconds of video in a segment.
    """

    segments_s: float
    segment_s: float
    cores: float
    busy: float
    decode_s: float

    @property
    def bottleneck(self) -> str:
        """What to change for a higher rate, in words."""
        return "the detector" if self.busy >= BUSY else "decoding, or the cores that both share"


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as `tidegate model add` measured it.

    detector: its name in heartbeats and events. settings: variables of cv. files: absolute paths of its files and
    folders; none for a model by its name alone. fingerprint: of these files, empty without any. service_rate: segments
    a second of a replica, rounded down. cameras: for a replica at `load` of that rate, each with `fps` analysed frames
    a second.
    """

    name: Token
    spec: str
    detector: str = ""
    settings: dict[str, str]
    files: list[str] = []
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
    def missing(self) -> str:
        """The first of its files that is missing, as a sentence; empty if none is."""
        absent = next((path for path in self.files if not _is_there(path)), "")
        return absent and (
            f"model {self.name} needs {absent}, which is missing: put it back, or go back to the default by '{DEFAULT}'"
        )

    @property
    def changed(self) -> str:
        """Whether its files differ from those that were measured, as a sentence; empty if not.

        Raises SettingError if one is missing, ModelError if one can't be read.
        """
        if missing := self.missing:
            raise SettingError(missing)
        if fingerprint(self.files) == self.fingerprint:
            return ""
        return (
            f"{self.spec} has changed since it was measured as {self.name}: measure it again by "
            f"'tidegate model add {self.spec} --name {self.name}', or go back by '{DEFAULT}'"
        )


def _is_there(path: str) -> bool:
    """Whether a path exists, as far as this user may look."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def fingerprint(paths: Iterable[str | Path]) -> str:
    """Return the SHA-256 of files and folders; empty if there are none. Raises ModelError."""
    digest, count = hashlib.sha256(), 0
    try:
        for file in files_of(paths):
            count += 1
            digest.update(f"{file.name}\n{file.stat().st_size}\n".encode())
            with file.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
    except OSError as e:
        raise ModelError(f"{e.filename} can't be read: {e.strerror}; give this user the right to read it") from e
    return digest.hexdigest() if count else ""


def files_of(paths: Iterable[str | Path]) -> list[Path]:
    """Return the files of a model: of a folder all, of an .xml also its weights."""
    return [file for path in paths for file in _files(Path(path))]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    weights = path.with_suffix(".bin")
    return [path, weights] if path.suffix == ".xml" and weights.is_file() else [path]


def save(folder: Path, model: StoredModel) -> Path:
    """Store a model, replacing one of its name. Return its file. Raises SettingError."""
    path = path_of(folder, model.name, ".json")
    _write(folder, path, msgspec.json.format(msgspec.json.encode(model)).decode() + "\n")
    return path


def find(folder: Path, name: str) -> StoredModel:
    """Return a stored model. Raises SettingError that names those that there are."""
    path = path_of(folder, name, ".json")
    try:
        model = msgspec.json.decode(read(path, _MOST_BYTES), type=StoredModel)
    except FileNotFoundError:
        known = names(folder)
        there = f"there are {', '.join(known)}" if known else "there is none yet: 'tidegate model add' measures one"
        raise SettingError(f"no model is called {name}: {there}") from None
    except OSError as e:
        raise unusable(folder, e) from e
    except (msgspec.DecodeError, RecursionError) as e:
        raise SettingError(f"{path} can't be read ({e}): measure the model again by 'tidegate model add'") from e
    if model.name != name:
        raise SettingError(f"{path} is of the model {model.name}: measure {name} again by 'tidegate model add'")
    return model


def names(folder: Path) -> list[str]:
    """Return the names of the stored models, sorted. Raises SettingError."""
    try:
        return sorted(file.stem for file in folder.glob("*.json"))
    except OSError as e:
        raise unusable(folder, e) from e


def stored(folder: Path) -> list[StoredModel]:
    """Return all models, by name. Raises SettingError."""
    return [find(folder, name) for name in names(folder)]


def use(folder: Path, name: str | None) -> None:
    """Make a stored model the active one; None: the default. Raises SettingError."""
    mark = folder / ACTIVE
    if name is None:
        try:
            mark.unlink(missing_ok=True)
        except OSError as e:
            raise unusable(folder, e) from e
        return
    find(folder, name)
    _write(folder, mark, f"{name}\n")


def active(folder: Path) -> StoredModel | None:
    """Return the active model; None for the default. Raises SettingError if it can't be read."""
    if not (name := active_name(folder)):
        return None
    try:
        return find(folder, check_token(name, "active model"))
    except SettingError as e:
        raise SettingError(f"the active model can't be used ({e}): go back to the default by '{DEFAULT}'") from e


def active_name(folder: Path) -> str:
    """Return the name of the active model; empty for the default. Raises SettingError."""
    try:
        return read(folder / ACTIVE, _MOST_BYTES).decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as e:
        raise unusable(folder, e) from e


def path_of(folder: Path, name: str, suffix: str) -> Path:
    """Return the path of a model's file. Raises SettingError for a name that is no token, so none leaves the folder."""
    return folder / f"{check_token(name, 'model name')}{suffix}"


def read(path: Path, most_bytes: int) -> bytes:
    """Return a file's bytes. Raises OSError; also for a link, a device or a pipe, and for a larger file."""
    # Opening a pipe would wait for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no regular file", str(path))
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(0, f"it has more than {most_bytes} bytes", str(path))
    return data


def prepare(folder: Path) -> None:
    """Create the folder, for its owner alone. Raises SettingError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise unusable(folder, e) from e


def unusable(folder: Path, error: OSError) -> SettingError:
    """Return the error for a folder, or a file in it, that the system refuses."""
    reason = (error.strerror or str(error)).lower()
    where = error.filename or folder
    return SettingError(f"{where} can't be used ({reason}): remove it, or choose another directory with --data")


def _write(folder: Path, path: Path, text: str) -> None:
    prepare(folder)
    try:
        write_private(path, text)
    except OSError as e:
        raise unusable(folder, e) from e
