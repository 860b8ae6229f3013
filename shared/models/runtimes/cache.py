"""The folder of what a device compiles from a file: engines of TensorRT, programs of MIGraphX, blobs of OpenVINO.

    with locked(folder("engines", key("yolo11n", content, gpu, version))) as path: ...

A device, driver or runtime of another version can't use them. So the folder's name has all of these.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from shared.runtime.errors import ModelError

_DIGITS = 16


def root() -> Path:
    """Return TIDEGATE_CACHE, or `~/.cache/tidegate`."""
    return Path(os.environ.get("TIDEGATE_CACHE") or Path.home() / ".cache" / "tidegate")


def key(content: bytes, *parts: str) -> str:
    """Return a folder's name for a file's content and the parts that its engine depends on. Pure."""
    readable = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part).strip("_") for part in parts)
    digest = hashlib.sha256(content)
    for part in parts:
        digest.update(b"\0" + part.encode())
    return f"{readable}-{digest.hexdigest()[:_DIGITS]}"


def folder(name: str) -> Path:
    """Return a folder of the cache; create it. Raises ModelError."""
    path = root() / "engines" / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ModelError(f"{path} can't be written ({e.strerror}): set TIDEGATE_CACHE to a folder that can") from e
    return path


@contextlib.contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold a folder's lock: one process compiles, and the others wait and read its result. None: nothing to lock."""
    if path is None:
        yield
        return
    try:
        file = (path / ".lock").open("a")
    except OSError as e:
        raise ModelError(f"{path} can't be written ({e.strerror}): set TIDEGATE_CACHE to a folder that can") from e
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
