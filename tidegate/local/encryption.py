"""Encryption of the embedded server's store: its key, and the one-time migration of a plain store.

    cipher = encryption.prepare(store, secrets, settings, claim=claim)   # for the server's configuration
    ...                                                                   # the server starts
    encryption.finish(store)                             # once it runs and has all former streams

nats-server starts an encrypted store without its key, or with another, as if there were no streams; setup then writes
empty streams over the existing ones. So the key is checked before the server starts.

nats-server encrypts a plain store in place: if it is killed meanwhile a block is lost, and a stream that never held a
message fails at the next start (2.15.1). So a copy is encrypted, without the files that it fails on, and the plain
store stays next to it until the server runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract import names
from shared.contract.memory import GB
from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private
from shared.runtime.telemetry import logger
from tidegate.local import disk

# The key's file in the folder of secrets, and the SHA-256 of the key in the store, which reveals nothing of 256 random
# bits.
KEY, CHECK = "store.key", "key.sha256"
# Every stream and consumer has a file of the first name, and an encrypted one also the second.
STREAM, ENCRYPTED = "meta.inf", "meta.key"
# The server's index of a stream's blocks. Without it, the server reads the blocks.
INDEX = "index.db"


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the embedded server's store."""

    store_encryption: Annotated[
        Literal["on", "off"], Meta(description="off: what the embedded server stores can be read by who has the disk")
    ] = "on"
    store_sync_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="seconds between two syncs to disk, or 0: before each acknowledgement"),
    ] = 120.0


def prepare(store: Path, folder: Path, settings: StoreSettings, *, claim: Callable[[], None]) -> str:
    """Prepare the store for a start; return the encryption options of the configuration's block `jetstream`.

    folder: of the secrets. claim: called after all checks, and before any change. Creates a key if there is none and
    nothing needs it. Copies a plain store. Raises SettingError, without any change, if the store can't be read with the
    present key, or there is no room for a copy.
    """
    _undo(store)
    key = usable_key(store, folder, settings)
    on = settings.store_encryption == "on"
    new = on and not is_encrypted(store)
    copied = new and _has(store, STREAM)
    if copied:
        _check_room(store)
    claim()
    if new:
        key = key or _new_key(folder / KEY)
        if copied:
            _copy(store)
        store.mkdir(parents=True, exist_ok=True)
        write_private(store / CHECK, _fingerprint(key))
    return f", cipher: aes, key: {json.dumps(key)}" if on else ""


def is_encrypted(store: Path) -> bool:
    """Return whether anything in the store needs the key."""
    return _has(store, ENCRYPTED)


def usable_key(store: Path, folder: Path, settings: StoreSettings) -> str:
    """Return the present key, "" if there is none and nothing needs it.

    Raises SettingError if the server would not see the store's content.
    """
    if not is_encrypted(store):
        return _read(folder / KEY)
    if settings.store_encryption == "off":
        raise SettingError(
            f"STORE_ENCRYPTION=off can't be used: {store} is encrypted, and the server would see nothing in it. Leave "
            "STORE_ENCRYPTION unset, or choose another directory with --data"
        )
    return _checked(_read(folder / KEY), folder / KEY, store)


def converting(store: Path) -> set[str]:
    """Return the streams that the server must have before `finish`; none without a migration."""
    return {path.parent.name for path in _plain(store).glob(f"jetstream/{names.ACCOUNT}/streams/*/{STREAM}")}


def finish(store: Path) -> None:
    """Delete the plain store next to the encrypted one, which is valid from then on."""
    if _plain(store).exists():
        # The copy may still be in memory, and the power may fail.
        os.sync()
        shutil.rmtree(_plain(store).rename(_done(store)))


def _undo(store: Path) -> None:
    """Return to the plain store if its encryption did not complete."""
    shutil.rmtree(_done(store), ignore_errors=True)
    if _plain(store).exists():
        shutil.rmtree(store, ignore_errors=True)
        _plain(store).rename(store)


def _check_room(store: Path) -> None:
    needed, free = disk.stored_bytes(store), shutil.disk_usage(store).free
    if needed > free:
        raise SettingError(
            f"{store} is not encrypted yet, and a copy of it takes {needed} bytes where {free} are free: free some, "
            "or go on without by STORE_ENCRYPTION=off, which at least drops video that has expired"
        )


def _copy(store: Path) -> None:
    logger("server").info("encrypting what is stored, this once", gigabytes=round(disk.stored_bytes(store) / GB, 1))
    plain = store.rename(_plain(store))
    shutil.copytree(plain, store, ignore=_stale)


def _stale(folder: str, files: list[str]) -> list[str]:
    """Return the indexes, which would stay readable, and empty blocks, which the server can't encrypt."""
    return [f for f in files if f == INDEX or (f.endswith(".blk") and not Path(folder, f).stat().st_size)]


def _plain(store: Path) -> Path:
    return store.with_name(f"{store.name}.plain")


def _done(store: Path) -> Path:
    return store.with_name(f"{store.name}.done")


def _has(store: Path, name: str) -> bool:
    return any(name in files for _, _, files in os.walk(store))


def _checked(key: str, path: Path, store: Path) -> str:
    """Return the key, if it is the store's."""
    lost = f"Nothing was changed. Without its key nobody can read it: to begin anew, move {store} away"
    if not key:
        raise SettingError(f"{path} is missing, and {store} is encrypted with it: put it back from a backup. {lost}")
    check = _read(store / CHECK)
    if not check:
        raise SettingError(
            f"{store / CHECK} is missing, so nothing tells whether {path} is the key of {store}: put it back from a "
            f"backup. Where you are sure, write the SHA-256 of the key into it, as sha256sum prints it. {lost}"
        )
    if check.split()[0] != _fingerprint(key):
        raise SettingError(
            f"{path} is not the key that {store} is encrypted with: put that one back from a backup. {lost}"
        )
    return key


def _new_key(path: Path) -> str:
    key = secrets.token_urlsafe(32)
    write_private(path, key)
    return key


def _fingerprint(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _read(path: Path) -> str:
    """Return its text, "" if it is missing."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as e:
        raise SettingError(f"{path} can't be read ({e}): give it back to the user that runs this, mode 0600") from e
