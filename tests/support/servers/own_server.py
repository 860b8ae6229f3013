"""A nats-server as an operator runs it: its configuration includes the output of `tidegate accounts`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from shared.contract.memory import MAX_PAYLOAD
from shared.runtime import child
from shared.runtime.ports import free_port, takes_connections
from shared.runtime.settings import BusSettings
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s, until
from tidegate.local.server import find_executable


class OwnServer:
    """folder: of this test; the output of `tidegate accounts` is in its `secrets`. monitored: on port `monitoring`."""

    def __init__(self, folder: Path, *, monitored: bool = False) -> None:
        self.folder, self.secrets, self.log = folder, folder / "secrets", folder / "nats.log"
        self.port = free_port(0)
        self.monitoring = free_port(0) if monitored else 0
        self.url = f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self) -> OwnServer:
        config = self.folder / "nats.conf"
        page = f"http: 127.0.0.1:{self.monitoring}\n" if self.monitoring else ""
        config.write_text(
            f"host: 127.0.0.1\nport: {self.port}\nmax_payload: {MAX_PAYLOAD}\n{page}"
            f"jetstream {{ store_dir: '{self.folder}/js', max_file_store: {10**15} }}\ninclude secrets/accounts.conf\n"
        )
        self._process = child.spawn([find_executable(), "-c", str(config)], log=self.log)
        async with asyncio.timeout(patience_s()):
            while not await takes_connections(self.port):
                assert self._process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: object, trace: TracebackType | None) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, 60)

    def settings(self, user: str) -> BusSettings:
        """The settings of a user."""
        return BusSettings(nats_url=self.url, nats_user=user, nats_password=(self.secrets / user).read_text())

    async def reload(self) -> None:
        """Wait until it has read its configuration again."""
        before = self.log.read_text().count("Reloaded server configuration")
        self._process.send_signal(signal.SIGHUP)
        await until(lambda: self.log.read_text().count("Reloaded server configuration") > before)

    async def tidegate(self, *arguments: str, user: str = "admin", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command with a user's password."""
        fields = {"NATS_URL": self.url, "NATS_USER": user, "NATS_PASSWORD_FILE": str(self.secrets / user)}
        return await asyncio.to_thread(
            subprocess.run, [*COMMAND, *arguments], env=os.environ | fields | env, cwd=self.folder, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip


def accounts(folder: Path, *arguments: str) -> str:
    """Run `tidegate accounts secrets` in the folder, and return its output."""
    command = [*COMMAND, "accounts", "secrets", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120).stdout
