"""The key file of recordings: its place on this machine, and its creation."""

from __future__ import annotations

import os
from pathlib import Path

from shared.recordings.opening import KEY_FILE
from shared.recordings.stores import keys
from shared.recordings.stores.keys import Keys, Secret
from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private

FILE = "recordings.key"


def usual(data: Path) -> Path:
    """Return its path unless RECORDER_KEY_FILE is set."""
    return data / "secrets" / FILE


def used(data: Path) -> str:
    """Return the file that encrypts recordings here; empty if there is none."""
    return os.environ.get(KEY_FILE) or (str(usual(data)) if usual(data).exists() else "")


def make(path: Path, *, rotate: bool) -> Secret:
    """Write a file with a new key; rotate: before the existing ones. Raises SettingError and OSError."""
    keys.check_installed(KEY_FILE)
    if path.exists() and not rotate:
        raise SettingError(f"{path} is there already: --rotate puts a new key before those in it, and keeps them")
    fresh = Secret.new()
    before = keys.read(path, KEY_FILE) if rotate else Keys(())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, keys.text_of(Keys((fresh, *before.all), before.only)))
    return fresh
