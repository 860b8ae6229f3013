"""Repairs a stack: restarts a server that has died or stores nothing, and rebuilds a lost search index.

nats-server (2.15.1) stops a stream at the first failed write, for lack of space or file descriptors: from then on the
stream takes nothing, and nothing in it expires. Only a restart ends that. Stored messages stay. A stopped stream still
refuses invalid publishes, such as those with a wrong sequence, as before: a probe would detect nothing. So the server
itself is asked.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.search.lost import is_begun
from shared import bus
from shared.contract import names, topology
from shared.contract.memory import MAX_PAYLOAD, MB
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BusError
from shared.runtime.settings import load
from shared.runtime.telemetry import logger
from tidegate.local.server import NatsServer

# With room for less than the two largest messages a stream would immediately stop again.
LEAST_FREE = 2 * MAX_PAYLOAD
# The restart interval while a full disk keeps streams from storing. A start removes expired messages: if these filled
# the disk, that makes room.
FULL_S = 300.0
# The first restart is immediate, and the next ones after these delays, until this many seconds without trouble.
DELAYS = Backoff(first_s=1.0, longest_s=60.0, jitter=0.0)
HEALED_S = 60.0


# Maximum time of the server's answer, in seconds.
TIMEOUT_S = 1.0
# The server's text for a stopped stream, before the reason.
WRITE_ERROR = " write error: "
SEARCH = "search"


class _Fault(msgspec.Struct):
    type: str
    error: str
    stream: str = ""


class _Health(msgspec.Struct):
    errors: list[_Fault] = []


class _Answer(msgspec.Struct):
    data: _Health


async def stopped_streams(admin: Client) -> dict[str, str] | None:
    """Return the streams that store nothing until a restart, and why; None if the server does not answer."""
    try:
        answer = await admin.request(names.HEALTH, b'{"details": true}', timeout=TIMEOUT_S)
        faults = msgspec.json.decode(answer.data, type=_Answer).data.errors
    except (TimeoutError, nats.errors.Error, msgspec.DecodeError):
        return None
    return {
        fault.stream or "JetStream": fault.error.rpartition(": ")[2]
        for fault in faults
        if WRITE_ERROR in fault.error or fault.type == "JETSTREAM"
    }


class Healing:
    """Call `look` every second or so. trouble: the problem and its remedy; "" if there is none."""

    def __init__(self, server: NatsServer, clock: Callable[[], float] = time.monotonic) -> None:
        self.trouble = ""
        self._server = server
        self._clock = clock
        self._is_down = False
        self._tries = 0
        self._acted = clock()
        self._log = logger("stack")

    async def look(self, admin: Client) -> None:
        """Report the problem, and restart the server if it is time to. Raises SettingError if no restart can help."""
        died = self._is_down or self._server.has_died
        stopped = {} if died else await stopped_streams(admin)
        if stopped is None:
            return
        is_full = bool(stopped) and shutil.disk_usage(self._server.store).free < LEAST_FREE
        self._say(self._cause(died, stopped), is_full)
        if self.trouble and self._clock() - self._acted >= self._delay_s(is_full):
            await self._restart()

    def _cause(self, died: bool, stopped: Mapping[str, str]) -> str:
        if died:
            return "it has died"
        return f"nothing is stored in {', '.join(sorted(stopped))}, {min(stopped.values())}" if stopped else ""

    def _say(self, cause: str, is_full: bool) -> None:
        remedy = f"free {LEAST_FREE // MB} MB at {self._server.store}, and " if is_full else ""
        trouble = f"{remedy}nats-server is started again: {cause}" if cause else ""
        if trouble == self.trouble:
            return
        if not self.trouble:
            self._tries = 0 if self._clock() - self._acted >= HEALED_S else self._tries
            self._acted = self._clock()
        self.trouble = trouble
        if trouble:
            self._log.error(trouble, log=str(self._server.log))
        else:
            self._log.info("nats-server stores again")

    def _delay_s(self, is_full: bool) -> float:
        if is_full:
            return FULL_S
        return DELAYS.after(self._tries) if self._tries else 0.0

    async def _restart(self) -> None:
        self._acted, self._tries, self._is_down = self._clock(), self._tries + 1, True
        try:
            await self._server.restart()
        except (OSError, BusError) as e:
            self._log.error("nats-server can't be started", error=str(e))
        else:
            self._is_down = False


class Reindexing:
    """Rebuilds a lost search index from EVENTS. Call `look` every second or so. where: SEARCH_INDEX."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._renewing = False

    async def look(self, js: JetStreamContext) -> None:
        """Have all of EVENTS delivered again if the index is missing, though events were consumed.

        Search begins an index before it takes its first event. A failure is retried at the next look: an index on an
        unresponsive disk is not lost.
        """
        with contextlib.suppress(BusError, OSError):
            if self._renewing or await self._is_lost(js):
                # It is deleted and recreated: an interrupted attempt is repeated.
                self._renewing = True
                await topology.renew_consumer(js, load(topology.TopologySettings), names.EVENTS, SEARCH)
                self._renewing = False
                logger("stack").warning("the index of search is gone: it is built again from EVENTS", index=self._where)

    async def _is_lost(self, js: JetStreamContext) -> bool:
        if "://" in self._where or is_begun(self._where):
            return False
        done = (await bus.consumer_info(js, names.EVENTS, SEARCH)).ack_floor
        return bool(done and done.consumer_seq)
