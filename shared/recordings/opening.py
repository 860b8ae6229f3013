"""Opens the store that a setting names: a folder or a bucket, encrypted or not."""

from __future__ import annotations

from pathlib import Path

from shared.contract import catalog
from shared.recordings.store import Store
from shared.recordings.stores import keys
from shared.recordings.stores.folder import Folder
from shared.recordings.stores.sealed import Sealed
from shared.runtime import install
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact

KEY_FILE = "RECORDER_KEY_FILE"
_BUCKETS = ("s3", "gs", "az", "azure", "abfs", "abfss", "https")


def check(place: str, setting: str) -> None:
    """Raise SettingError for a place that `open_store` would reject without a try."""
    scheme, separator, _ = place.partition("://")
    if not separator:
        return
    if scheme not in _BUCKETS:
        raise SettingError(f"{setting}={redact(place)} can't be used: give a folder, or s3://…, gs://… or az://…")
    if "@" in place and scheme not in ("abfs", "abfss"):
        raise SettingError(f"{setting} holds credentials: give them as variables of the bucket's cloud")
    if not catalog.is_importable("obstore"):
        raise SettingError(f"{setting} names a bucket, which needs obstore: {install.command('recorder')}")


def open_store(place: str, setting: str, *, free: float = 0.0) -> Store:
    """Open a store. place: a path, or such as `s3://bucket/below`. setting: its name. Raises SettingError.

    free: the share of a folder's disk that stays free for others.
    """
    check(place, setting)
    if "://" not in place:
        return Folder(Path(place), free)
    from shared.recordings.stores.bucket import Bucket

    try:
        return Bucket(place)
    except ValueError as e:
        raise SettingError(f"{setting}={redact(place.partition('?')[0])} can't be used: {e}") from e


def open_recordings(place: str, setting: str, key_file: str, *, free: float = 0.0) -> Store:
    """Open a store of recordings. key_file: path of the keys; empty: new data is plain. Raises SettingError."""
    return Sealed(open_store(place, setting, free=free), read_keys(key_file), KEY_FILE)


def read_keys(key_file: str) -> keys.Keys | None:
    """Read the keys; None if no file is named. Raises SettingError."""
    if not key_file:
        return None
    keys.check_installed(KEY_FILE)
    return keys.read(Path(key_file), KEY_FILE)
