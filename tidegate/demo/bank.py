"""A bank of RTSP cameras on loopback: a process that serves files in a loop, without re-encoding.

    async with Bank([Path("crossing.mp4"), Path("alley.mp4")], Path("bank")) as bank:
        bank.url("crossing.mp4")       # rtsp://127.0.0.1:40123/crossing.mp4?play_count=0

The server is aio-rtsp-toolkit's. This module starts it, not its own script: a thread plays each camera, and asyncio's
default of a few threads limits the script to a few cameras.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from shared.runtime import child, install
from shared.runtime.errors import BusError, SettingError
from shared.runtime.ports import free_port, takes_connections

MAX_CAMERAS = 128
READY_S = 15.0


class Bank:
    """See the module. files: .mp4 or .mkv with distinct names. folder: for the log and for links to the files.

    host: the address to listen at.
    """

    def __init__(self, files: Sequence[Path], folder: Path, *, host: str = "127.0.0.1") -> None:
        self._host = host
        self._files = list(files)
        self._served = folder / "served"
        self._log = folder / "cameras.log"
        self._port = free_port(0)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        """Return the URL that plays this file in an endless loop."""
        return f"rtsp://{self._host}:{self._port}/{quote(name)}?play_count=0"

    @property
    def urls(self) -> list[str]:
        """The URLs of all files, in their order."""
        return [self.url(f.name) for f in self._files]

    async def __aenter__(self) -> Bank:
        if importlib.util.find_spec("aio_rtsp_toolkit") is None:
            raise SettingError(
                f"the demo's RTSP server is not installed: {install.command('demo')}, or give --rtsp URL"
            )
        self._link()
        command = child.python("tidegate.demo.bank", str(self._served), self._host, str(self._port))
        self._process = child.spawn(command, log=self._log)
        try:
            await self._wait_until_ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + READY_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process.poll() is not None:
                break
            if await takes_connections(self._port, self._host):
                return
            await asyncio.sleep(0.05)
        raise BusError(f"the demo's RTSP server does not start: {child.last_lines(self._log) or 'no answer'}")

    async def _stop(self) -> None:
        """Kill the server: a camera has nothing to finish."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)

    def _link(self) -> None:
        """Fill a folder with hard links to the files alone: the server refuses files outside of its folder."""
        shutil.rmtree(self._served, ignore_errors=True)
        self._served.mkdir(parents=True)
        for file in self._files:
            try:
                (self._served / file.name).hardlink_to(file)
            except OSError:  # another file system
                shutil.copyfile(file, self._served / file.name)


def _serve(folder: str, host: str, port: int) -> None:
    """Run the server in the child process, until it is killed."""
    from aio_rtsp_toolkit import server  # type: ignore[import-untyped]

    async def go() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_CAMERAS))
        await server.serve(folder, host, port)

    asyncio.run(go())


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
