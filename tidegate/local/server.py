"""An embedded nats-server with JetStream, as a child process on loopback.

    async with NatsServer(data_dir) as server:
        client = await bus.connect(server.settings("admin"), "admin")

The same data directory continues where the last server stopped: streams, their encryption key, and the passwords of the
identities.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace
from nats.aio.client import Client

from shared import bus
from shared.contract import names, topology
from shared.contract.memory import MAX_PAYLOAD, MAX_PENDING
from shared.contract.rights import accounts
from shared.runtime import child, install
from shared.runtime.errors import BusError
from shared.runtime.ports import free_port
from shared.runtime.private_file import write_private
from shared.runtime.settings import BusSettings, load
from tidegate.local import disk, encryption, layout, logs, passwords, tenants
from tidegate.local.encryption import StoreSettings

# The bytes that streams may reserve. By default the server uses the free space at its start, and if that is less than
# what was reserved before, it refuses even to lower a limit: `disk` fits the limits instead.
PROMISES = 10**15
# The length of a line of the protocol: it bounds subjects, each of which the server keeps in memory, and logins.
MAX_CONTROL_LINE = 512
# The server's own limit of connections, if the system has none.
MOST_CONNECTIONS = 64 * 1024
# A start reads the whole store: at 1 GB/s as measured, at 0.3 GB/s if the start encrypts it.
START_S = 30.0
READ_BYTES_S = 20_000_000
POLL_S = 0.025
# Its log line once it listens.
READY = "Server is ready"
# How long it may take to read its configuration, and its log lines then.
RELOAD_S = 30.0
RELOADED, RELOAD_FAILED = "Reloaded server configuration", "Failed to reload server configuration"


def find_executable() -> str:
    """Return the path of nats-server: NATS_SERVER, else this environment's, else PATH's. Raises BusError with the
    remedy.
    """
    found = _executable()
    if not found:
        raise BusError(f"nats-server is not installed: {install.command('server')}, or set NATS_SERVER to its path")
    return found


def is_installed() -> bool:
    return bool(_executable())


def _executable() -> str | None:
    if chosen := os.environ.get("NATS_SERVER"):
        return chosen
    bundled = Path(sys.executable).parent / "nats-server"
    return str(bundled) if bundled.exists() else shutil.which("nats-server")


def most_connections() -> int:
    """Return the maximum connections that leave enough files for the streams.

    A stream that can't open a file stores nothing more until the server is restarted (nats-server 2.15.1). The server
    uses files up to the hard limit.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files // 2)


class Member(NamedTuple):
    """A server's place in a cluster: its number, the common folder of secrets, and its routes to the others.

    more: lines of its configuration.
    """

    number: int
    secrets: Path
    more: str


class ServerProcess:
    """nats-server as a child process. log: the file that it appends to."""

    def __init__(self, executable: str, log: Path) -> None:
        self._executable = executable
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def has_died(self) -> bool:
        """Whether it ended without `stop`."""
        return self._child is not None and self._child.poll() is not None

    async def start(self, config: Path, limit_s: float) -> None:
        """Start it, and wait until its log says that it takes clients: another server may answer at its port.

        Raises BusError with the last lines of its log.
        """
        before = self._log.stat().st_size if self._log.exists() else 0
        process = self._child = child.spawn([self._executable, "-c", str(config)], log=self._log)
        for _ in range(int(limit_s / POLL_S)):
            if process.poll() is not None:
                raise BusError(f"nats-server exited with {process.returncode}: {child.last_lines(self._log)}")
            if READY in await asyncio.to_thread(logs.since, self._log, before):
                return
            await asyncio.sleep(POLL_S)
        await self.stop(signal.SIGTERM)
        raise BusError(f"nats-server did not take clients within {limit_s:.0f} s: {child.last_lines(self._log)}")

    async def reload(self) -> None:
        """Make it read its configuration, and wait until its log confirms that. Raises BusError."""
        process, before = self._child, self._log.stat().st_size
        if process is None:
            return
        process.send_signal(signal.SIGHUP)
        for _ in range(int(RELOAD_S / POLL_S)):
            lines = await asyncio.to_thread(logs.since, self._log, before)
            if process.poll() is not None or RELOADED in lines:
                return
            if RELOAD_FAILED in lines:
                break
            await asyncio.sleep(POLL_S)
        raise BusError(f"nats-server did not take its configuration anew: {child.last_lines(self._log)}")

    async def stop(self, sig: signal.Signals) -> None:
        """Stop it, by this signal and after 5 s by SIGKILL."""
        process, self._child = self._child, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(sig)
        try:
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    def send_signal(self, sig: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._child is not None:
            self._child.send_signal(sig)


class ServerConfig:
    """The configuration of a server, next to its key: a copy of the data without the secrets has neither.

    passwords: of all identities. tenants: as in their file.
    """

    def __init__(self, store: Path, port: int, secrets: Path, suffix: str, more: str) -> None:
        self._store = store
        self._port = port
        self._secrets = secrets
        self._suffix = suffix
        self._more = more
        self.read()

    def read(self) -> None:
        """Read the tenants and the passwords again. Raises SettingError."""
        self._version = tenants.version(self._secrets)
        self.tenants = tenants.read(self._secrets)
        self.passwords = passwords.ensure(self._secrets, tenants.users(self.tenants))

    @property
    def is_current(self) -> bool:
        """Whether the file of tenants is as it was read."""
        return tenants.version(self._secrets) == self._version

    def write(self, cipher: str, sync: str) -> Path:
        """Write the file, and return its path. cipher: the lines of the store's encryption. sync: its interval."""
        path = self._secrets / f"nats{self._suffix}.conf"
        text = self._text(cipher, sync)
        if not path.exists() or path.read_text() != text:
            write_private(path, text)
        return path

    def _text(self, cipher: str, sync: str) -> str:
        connections, hashed = most_connections(), passwords.hashed(self.passwords)
        return (
            f"server_name: tidegate{self._suffix}\nhost: 127.0.0.1\nport: {self._port}\nmax_payload: {MAX_PAYLOAD}\n"
            f"max_pending: {MAX_PENDING}\nmax_control_line: {MAX_CONTROL_LINE}\nmax_connections: {connections}\n"
            f"jetstream {{ store_dir: {json.dumps(str(self._store))}, max_file_store: {PROMISES}{cipher},"
            f' sync_interval: "{sync}" }}\n'
            f"{self._more}{accounts.block(hashed, self.tenants, tells_health=True, connections=connections)}"
        )


class NatsServer:
    """See the module. `store` and `secrets` are its folders.

    port: preferred; `url` has the actual one. executable: another nats-server. member: its place in a cluster, if any.
    """

    def __init__(
        self, data: Path, *, port: int = 0, executable: str | None = None, member: Member | None = None
    ) -> None:
        self._data = data
        port = free_port(port)
        self.url = f"nats://127.0.0.1:{port}"
        self.log = data / "nats.log"
        self.store = data / "jetstream"
        self.secrets = member.secrets if member else data / "secrets"
        suffix = f"-{member.number}" if member else ""
        self.name = f"tidegate{suffix}"
        self._process = ServerProcess(executable or find_executable(), self.log)
        self._config = ServerConfig(self.store, port, self.secrets, suffix, member.more if member else "")
        self._cipher = self._sync = ""

    def settings(self, identity: str) -> BusSettings:
        """Return how to connect as one of the identities."""
        return BusSettings(nats_url=self.url, nats_user=identity, nats_password=self._config.passwords[identity])

    def environment(self, identity: str) -> dict[str, str]:
        """Return the same as variables for a child process. The password is in a file: no process list shows it."""
        path = self.secrets / identity
        return {"NATS_URL": self.url, "NATS_USER": identity, "NATS_PASSWORD_FILE": str(path)}

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def has_died(self) -> bool:
        """Whether it ended without `stop`."""
        return self._process.has_died

    async def __aenter__(self) -> NatsServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start and wait until it takes clients, for as long as it may need to read the store.

        Raises SettingError if a newer version owns the data, or the present key can't read the store, and BusError with
        the last lines of its log.
        """
        layout.check(self._data)
        self._config.read()
        settings = load(StoreSettings)
        claim = partial(layout.claim, self._data)
        self._cipher = await asyncio.to_thread(encryption.prepare, self.store, self.secrets, settings, claim=claim)
        self._sync = f"{settings.store_sync_s:g}s" if settings.store_sync_s else "always"
        config = self._config.write(self._cipher, self._sync)
        await self._process.start(config, START_S + disk.stored_bytes(self.store) / READ_BYTES_S)
        if wanted := encryption.converting(self.store):
            await self._check_converted(wanted)
        await asyncio.to_thread(encryption.finish, self.store)

    async def reload(self) -> bool:
        """Reload changed tenants and readers; return whether there were any.

        Clients whose rights are unchanged stay connected. Raises SettingError if their file can't be read, and BusError
        with the server's reason if it refuses them.
        """
        if self.pid is None or self._config.is_current:
            return False
        self._config.read()
        self._config.write(self._cipher, self._sync)
        # A new account gets its imports when the server reads it the second time (nats-server 2.15.1).
        for _ in range(2):
            await self._process.reload()
        return True

    async def _check_converted(self, wanted: set[str]) -> None:
        """Stop unless it has all streams of the plain store. The next start then begins with the plain store again."""
        admin = await bus.connect(self.settings("admin"), "admin")
        try:
            have = {str(info.config.name) for info in await admin.jetstream().streams_info()}
        finally:
            await admin.close()
        if missing := wanted - have:
            await self.stop()
            raise BusError(
                f"{', '.join(sorted(missing))} can't be encrypted, and all stays as it was: {self.log} says why. "
                "STORE_ENCRYPTION=off starts without"
            )

    async def set_up(self, admin: Client, *, copies: int = 1) -> list[str]:
        """Create the streams, consumers and buckets of the settings, with limits that fit this disk.

        copies: of each stream, on that many servers, all of which store on this disk. Returns a line for each change.
        Raises BusError and SettingError.
        """
        js = admin.jetstream()
        streams = {str(info.config.name): info for info in await js.streams_info()}
        requested = load(topology.TopologySettings)
        if copies > 1:
            requested = replace(requested, stream_replicas=copies)
        limits = disk.fitted(requested, disk.room(self.store) // copies, streams)
        less = [] if limits == requested else [f"limits fitted to this disk: {disk.describe(limits)}"]
        readers = [
            r.consumer for tenant in self._config.tenants if tenant.name == names.ACCOUNT for r in tenant.readers
        ]
        return less + await topology.apply(js, limits) + await topology.apply_consumers(js, limits, readers)

    async def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, by this signal and after 5 s by SIGKILL."""
        await self._process.stop(sig)

    def pause(self) -> None:
        """Freeze it with its connections open, like a machine that hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def restart(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop and start again on the same port and data."""
        await self.stop(sig)
        await self.start()
