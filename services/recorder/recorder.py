"""The loop: cameras whose next file may be complete are looked at, a few at a time, the longest waiting first.

Nothing of a camera is in memory but its headers, and the minute that is being written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import nats.errors
from nats.aio.client import Client

from services.recorder import metrics
from services.recorder.ledgers import Ledgers, Taken
from services.recorder.sharing import Sharing
from services.recorder.tails import Tails
from services.recorder.writing import Writer
from shared.bus.log import Log
from shared.contract import names
from shared.contract.missing import Unread
from shared.recordings.policy import Kept
from shared.recordings.store import Unkept
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BusError
from shared.runtime.tasks import supervise
from shared.runtime.telemetry import Health, logger

TURN_S = 0.5
# Cameras that sent something before we came, and nothing since, are looked for so often.
SEARCH_S = 20.0
DELAYS = Backoff(first_s=0.5, longest_s=15.0)
UNREAD_S = 5.0
# What fails so often, one time after the other, and neither by the store nor the server, is passed over.
MOST_FAILURES = 3


class Recorder:
    """See the module. `run` until `stop` is set: what is being written then is finished.

    kept: the policy of a camera. One with masks takes far longer, and keeps no other waiting.
    """

    def __init__(
        self,
        client: Client,
        tails: Tails,
        sharing: Sharing,
        ledgers: Ledgers,
        writer: Writer,
        health: Health,
        kept: Callable[[str], Kept],
    ) -> None:
        self._client = client
        self._tails = tails
        self._sharing = sharing
        self._ledgers = ledgers
        self._writer = writer
        self._health = health
        self._kept = kept
        self._wanted: set[str] = set()
        self._masked: set[str] = set()
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._trouble = 0  # of the store or the server, one time after the other
        self._not_before = 0.0
        self._log = logger("recorder")

    async def run(self, stop: asyncio.Event, writers: int, maskers: int) -> None:
        """writers, maskers: files that are written at once, of cameras without masks and with. Raises BusError once the
        connection is closed.
        """
        self._health.ready = None
        kinds = [False] * writers + [True] * maskers
        await supervise(self._share(stop), *(self._work(stop, masked) for masked in kinds))

    async def _share(self, stop: asyncio.Event) -> None:
        searched = float("-inf")
        while not stop.is_set():
            self._health.beat()
            if self._client.is_closed:
                raise BusError("the connection to NATS was closed")
            try:
                await self._sharing.share()
                if time.monotonic() - searched > SEARCH_S:
                    await self._search()
                    searched = time.monotonic()
            except (TimeoutError, nats.errors.Error, BusError) as e:
                self._log.debug("not shared", error=repr(e))
            owned = {camera for camera in self._tails.cameras if self._sharing.has(camera)}
            for camera in self._tails.owned - owned:
                self._ledgers.forget(camera)
                self._due.pop(camera, None)
            self._tails.owned = owned
            kept = {camera: self._kept(camera) for camera in owned}
            self._wanted = {camera for camera in owned if kept[camera].record != "never"}
            self._masked = {camera for camera in self._wanted if kept[camera].masks}
            metrics.CAMERAS.set(len(self._wanted))
            metrics.BEHIND.set(self._tails.waiting_s(self._wanted))
            for camera in owned - self._wanted:
                await self._leave_off(camera)
            await asyncio.sleep(TURN_S)

    async def _leave_off(self, camera: str) -> None:
        """Remember that what is missing from here on was not wanted. Its segments are not waited for."""
        async with self._ledgers.only(camera):
            try:
                ledger = await self._ledgers.of(camera)
                if ledger.last and not ledger.off:
                    await self._ledgers.store(camera, msgspec.structs.replace(ledger, off=True))
            except (Taken, BusError) as e:
                self._log.debug("not marked as left off", camera=camera, error=repr(e))
        self._tails.forget_old(camera)

    async def _search(self) -> None:
        info = await self._client.jetstream().stream_info(names.MEDIA, subjects_filter=names.media(">"))
        self._tails.meet(subject.removeprefix(names.media("")) for subject in info.state.subjects or {})

    async def _work(self, stop: asyncio.Event, masked: bool) -> None:
        async with Log(self._client, names.MEDIA) as log:
            while not stop.is_set():
                camera = self._next(masked)
                if camera is None:
                    await asyncio.sleep(TURN_S)
                    continue
                self._busy.add(camera)
                try:
                    await self._look(log, camera)
                finally:
                    self._busy.discard(camera)

    def _next(self, masked: bool) -> str | None:
        """The camera that is due for longest, of those with masks or without.

        Those of which something is to be recorded come first: of others there is nothing but a name.
        """
        now = time.monotonic()
        if now < self._not_before or not self._client.is_connected:
            return None
        those = self._masked if masked else self._wanted - self._masked
        due = [camera for camera in those - self._busy if self._due.get(camera, 0.0) < now]
        return min(due, key=lambda c: (not self._tails.has_heads(c), self._due.get(c, 0.0), c), default=None)

    async def _look(self, log: Log, camera: str) -> None:
        try:
            async with self._ledgers.only(camera):
                if self._failures.get(camera, 0) >= MOST_FAILURES:
                    await self._writer.pass_over(log, camera)
                wait_s = await self._writer.write(log, camera)
        except Taken:
            self._log.info("another process records the camera", camera=camera)
            self._ledgers.forget(camera)
            wait_s = TURN_S
        except Unread as e:
            self._log.warning("waits for what can't be read yet", camera=camera, error=str(e))
            wait_s = UNREAD_S
        except (Unkept, BusError, TimeoutError, nats.errors.Error) as e:
            self._troubled(e)
            wait_s = 0.0
        except Exception:
            # Whatever a camera sends harms no other.
            self._failures[camera] = self._failures.get(camera, 0) + 1
            self._log.exception("a file can't be made", camera=camera, failures=self._failures[camera])
            wait_s = DELAYS.after(self._failures[camera])
        else:
            self._failures.pop(camera, None)
            self._worked()
        self._due[camera] = time.monotonic() + wait_s

    def _troubled(self, error: Exception) -> None:
        if isinstance(error, Unkept):
            metrics.FAILED.inc()
            self._health.ready = f"recordings wait: {error}"
        self._trouble += 1
        self._not_before = time.monotonic() + DELAYS.after(self._trouble)
        if self._trouble == 1:
            self._log.warning("recordings wait: MEDIA keeps what is to be recorded", error=str(error) or repr(error))

    def _worked(self) -> None:
        if self._trouble:
            self._log.info("recordings go on")
            self._health.ready = None
        self._trouble, self._not_before = 0, 0.0
