"""A console as a process, for the benchmarks of its pages."""

from __future__ import annotations

from pathlib import Path

import psutil
from nats.aio.client import Client

from bench.processor import cpu_s, family
from services.console.accounts.records import new_link
from services.console.web.asker import Role
from shared.contract import names
from shared.runtime import child
from shared.runtime.ports import free_port
from tidegate.local.server import NatsServer


class Served:
    """A console process. url: of its pages, with a trailing slash."""

    def __init__(self, server: NatsServer, admin: Client, folder: Path) -> None:
        port = free_port(0)
        env = {"PATH": "/usr/bin:/bin", **server.environment("console"), "CONSOLE_PORT": str(port)}
        self.url = f"http://127.0.0.1:{port}/"
        self.process = child.spawn(child.python("services.console"), log=folder / "console.log", env=env)
        self._admin = admin

    async def link(self, name: str, role: Role = "admin") -> str:
        """Return the secret of a new one-time link."""
        secret, key, entry = new_link(name, role)
        await (await self._admin.jetstream().key_value(names.CONSOLE)).put(key, entry)
        return secret

    def cpu_s(self) -> float:
        """Return user and system seconds, including its decoding children and those that have exited."""
        ended = psutil.Process(self.process.pid).cpu_times()
        return float(ended.children_user + ended.children_system) + cpu_s(*family(self.process.pid))

    def resident_mb(self) -> float:
        """Return the resident memory of the process without its children."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
