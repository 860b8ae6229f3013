"""The health of the system, as far as the console can see: a line for each check."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import nats.errors
from nats.aio.client import Client

from services.console.console import Console
from services.console.system import findings
from services.console.system.findings import Finding, bad, ok, warn
from services.console.system.states import StreamState
from services.console.web.asker import ROLES, Asker
from services.console.web.cached_value import CachedValue
from shared.bus import infos
from shared.client import registry
from shared.contract import cameras as contract
from shared.contract import names
from shared.runtime import problems
from shared.runtime.errors import BusError, SettingError
from shared.runtime.plain import plain

CACHE_S = 5.0
_RANKS = ("bad", "warn", "ok")
_LOOPBACK = ("127.", "::1", "localhost")


class Doctor:
    """See the module. streams: their cached states."""

    def __init__(self, console: Console, streams: CachedValue[list[StreamState]]) -> None:
        self._console = console
        self._links = console.links
        self._streams = streams
        self._found = CachedValue(self._check, CACHE_S)

    async def check(self, asker: Asker) -> list[Finding]:
        """Return the findings that the asker may see, the worst first. Those of all cameras need the right to all."""
        system_wide, others = await self._found.get()
        found = [f for f in others if f.camera is None or asker.sees(f.camera)]
        found += system_wide if asker.cameras is None else []
        if all(f.camera is None for f in found):
            found.append(ok("cameras", "Each of those that you may see delivers video, or is switched off."))
        return sorted(found, key=lambda f: (_RANKS.index(f.level), f.camera is not None))

    async def _check(self) -> tuple[list[Finding], list[Finding]]:
        """Return the findings of all cameras together, and all others."""
        now = dt.datetime.now(dt.UTC)
        states, buckets, cameras = await asyncio.gather(self._streams.get(), self._buckets(), self._of_cameras(now))
        system_wide = [*self._processes(), *findings.of_streams(states, now)]
        return system_wide, [*self._connections(), *self._access(), *buckets, *cameras]

    def _processes(self) -> list[Finding]:
        """Report the processes of this machine that can't work. In a cluster Kubernetes does."""
        path = self._console.settings.console_problems
        return findings.processes(problems.read(Path(path))) if path else []

    def _connections(self) -> list[Finding]:
        """Check the connection of each role."""
        clients = {"itself": self._links.own, **{f"{role}s": getattr(self._links, role) for role in ROLES}}
        return [_connection(name, client) for name, client in clients.items()]

    def _access(self) -> list[Finding]:
        """Check how people reach the console, and that an admin can add others."""
        settings = self._console.settings
        host, found = settings.console_host, []
        if not host.startswith(_LOOPBACK) and not settings.is_https:
            remedy = "set CONSOLE_CERT and CONSOLE_KEY, or CONSOLE_URL to the https address of a proxy"
            found.append(bad("the console", f"It listens on {host} without TLS: passwords can be read.", remedy))
        if not self._console.people.admins():
            found.append(warn("people", "There is no admin who sees all cameras.", "tidegate console link"))
        return found

    async def _buckets(self) -> list[Finding]:
        links = self._links
        buckets: Sequence[tuple[str, Client]] = (
            (names.CAMERAS, links.viewer),
            (names.RULES, links.viewer),
            (names.RUNS, links.viewer),
            (names.CREDENTIALS, links.operator),
            (names.CONSOLE, links.own),
            (names.REVIEWS, links.own),
        )
        return list(await asyncio.gather(*(_bucket(client, name) for name, client in buckets)))

    async def _of_cameras(self, now: dt.datetime) -> list[Finding]:
        enabled = sorted(filter(self._is_enabled, self._console.cameras.values))
        try:
            statuses, videos = await registry.last_statuses(self._links.viewer, enabled)
        except (TimeoutError, nats.errors.Error, BusError):
            return [bad("cameras", "Nothing is known of them: EVENTS can't be read.", "see the log of nats-server")]
        return findings.cameras(enabled, statuses, videos, now)

    def _is_enabled(self, id: str) -> bool:
        try:
            return not names.is_removed(id) and contract.decode(self._console.cameras.values[id]).enabled
        except SettingError:
            return False


def _connection(name: str, client: Client) -> Finding:
    what = f"NATS, for {name}"
    if not client.is_connected:
        remedy = "see whether nats-server runs: the console connects again by itself"
        return bad(what, "It is not connected.", remedy)
    where = plain(client.connected_url.netloc.rpartition("@")[2] if client.connected_url else "")
    return ok(what, f"It is connected to {where}.")


async def _bucket(client: Client, name: str) -> Finding:
    try:
        await infos.stream(client, f"KV_{name}")
    except infos.Missing:
        return findings.bucket(name, False)
    except BusError:
        return findings.bucket(name, None)
    return findings.bucket(name, True)
