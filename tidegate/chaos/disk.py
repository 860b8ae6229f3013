"""What a server lacks: room on its disk, or files that it may open.

with small_disk(folder / "disk", mb=512) as disk:      # None where it can't be mounted: only root may
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
    """path: what is mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """To its last byte. Takes what others free meanwhile too, if it is called again."""
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
    """See the module. When the block ends, what is on it is copied to where it was."""
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
    kept = path.with_name(f"{path.name}.kept")
    try:
        yield disk
    finally:
        disk.free()
        try:
            shutil.copytree(path, kept)
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)
        path.rmdir()
        kept.rename(path)


@contextlib.contextmanager
def few_files(server: NatsServer) -> Iterator[None]:
    """While it lasts the server can't open a file."""
    assert server.pid
    usual = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        yield
    finally:
        # It may be another process by now, which has its own.
        if server.pid:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, usual)
