"""Shortages of a server: room on its disk, or file descriptors.

Example:
    with small_disk(folder / "disk", mb=512) as disk:      # None if it can't be mounted: only root may
        disk.fill()
        disk.free()
    with few_files(server): ...
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tidegate.local.server import NatsServer

_CHUNK = 4096


class Disk:
    """path: of the mount."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Fill it to its last byte. Call it again to also take what others free meanwhile."""
        ballast = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            with contextlib.suppress(OSError):
                while os.write(ballast, bytes(_CHUNK)):
                    pass
        finally:
            os.close(ballast)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(path: Path, mb: int) -> Iterator[Disk | None]:
    """See the module. When the block ends, the disk's contents are copied to its mount point."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mb}m", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        mounted = None
    if mounted is None or mounted.returncode:
        yield None
        return
    disk = Disk(path)
    copy = path.with_name(f"{path.name}.kept")
    try:
        yield disk
    finally:
        disk.free()
        try:
            shutil.copytree(path, copy)
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)
        path.rmdir()
        copy.rename(path)


@contextlib.contextmanager
def few_files(server: NatsServer) -> Iterator[None]:
    """Keep the server from opening files, for the block."""
    assert server.pid
    usual = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        yield
    finally:
        # It may be another process by now, with its own limit.
        if server.pid:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, usual)
