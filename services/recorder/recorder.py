"""The loop: checks cameras whose next file may be complete, a few at a time, the longest waiting first.

Only a camera's headers, and the minute that is being written, are in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import nats.errors
from nats.aio.client import Client

from services.recorder import metrics
from services.recorder.admission import Admission
from services.recorder.ledgers import Ledgers, Taken
from services.recorder.sharing import Sharing
from services.recorder.tails import Tails
from services.recorder.writing import Writer
from shared.bus.log import Log
from shared.contract import names
from shared.contract.reading.missing import Unread
from shared.recordings.policy import EffectivePolicy
from shared.recordings.store import StoreUnavailable
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BusError, Full, connection_closed
from shared.runtime.tasks import supervise
from shared.runtime.telemetry import Health, logger

TURN_S = 0.5
# Interval of the search for cameras that sent something before this process started, and nothing since.
SEARCH_S = 20.0
DELAYS = Backoff(first_s=0.5, longest_s=15.0)
UNREAD_S = 5.0
FULL_S = 30.0
# A window that fails this often in a row, and not because of the store or the server, is skipped.
MOST_FAILURES = 3


class Recorder:
    """See the module. `run` until `stop` is set: files that are being written are finished.

    policy_of: the policy of a camera. admission: the cameras to record. A camera with masks takes far longer, and
    delays no other.
    """

    def __init__(
        self,
        client: Client,
        tails: Tails,
        sharing: Sharing,
        ledgers: Ledgers,
        writer: Writer,
        health: Health,
        policy_of: Callable[[str], EffectivePolicy],
        admission: Admission,
    ) -> None:
        self._client = client
        self._tails = tails
        self._sharing = sharing
        self._ledgers = ledgers
        self._writer = writer
        self._health = health
        self._policy_of = policy_of
        self._admission = admission
        self._wanted: set[str] = set()
        self._masked: set[str] = set()
        self._due_at: dict[str, float] = {}
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._trouble = 0  # consecutive failures of the store or the server
        self._not_before = 0.0
        self._log = logger("recorder")

    async def run(self, stop: asyncio.Event, writers: int, maskers: int) -> None:
        """Record until `stop` is set. Raises BusError once the connection is closed.

        writers, maskers: files that are written concurrently, of cameras without masks and with.
        """
        self._health.ready = None
        kinds = [False] * writers + [True] * maskers
        await supervise(self._share(stop), *(self._work(stop, masked) for masked in kinds))

    async def _share(self, stop: asyncio.Event) -> None:
        searched = float("-inf")
        while not stop.is_set():
            self._health.beat()
            if self._client.is_closed:
                raise connection_closed()
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
                self._due_at.pop(camera, None)
            self._tails.owned = owned
            policies = {camera: self._policy_of(camera) for camera in owned}
            recordable = {camera for camera in owned if policies[camera].record != "never"}
            self._wanted = self._admission.admit(recordable)
            metrics.UNLISTED.set(len(recordable - self._wanted))
            self._masked = {camera for camera in self._wanted if policies[camera].masks}
            metrics.CAMERAS.set(len(self._wanted))
            metrics.BEHIND.set(self._tails.waiting_s(self._wanted))
            for camera in owned - recordable:
                await self._leave_off(camera)
            for camera in recordable - self._wanted:
                self._tails.forget_old(camera)
            await asyncio.sleep(TURN_S)

    async def _leave_off(self, camera: str) -> None:
        """Record that video missing from here on was not wanted. Its segments are not waited for."""
        async with self._ledgers.only(camera):
            try:
                ledger = await self._ledgers.of(camera)
                if ledger.last and not ledger.off:
                    await self._ledgers.store(camera, msgspec.structs.replace(ledger, off=True))
            except (Taken, BusError) as e:
                self._log.debug("not marked as left off", camera=camera, error=repr(e))
        self._tails.forget_old(camera)

    async def _search(self) -> None:
        info = await self._client.jetstream().stream_info(names.MEDIA, subjects_filter=">")
        self._tails.meet(info.state.subjects or {})

    async def _work(self, stop: asyncio.Event, masked: bool) -> None:
        async with Log(self._client, names.MEDIA) as log:
            while not stop.is_set():
                camera = self._next(masked)
                if camera is None:
                    await asyncio.sleep(TURN_S)
                    continue
                self._busy.add(camera)
                try:
                    await self._process(log, camera)
                finally:
                    self._busy.discard(camera)

    def _next(self, masked: bool) -> str | None:
        """Return the camera that has been due for longest, of those with masks or without.

        Listed cameras come first, and then those with known segments: of the others only the name is known.
        """
        now = time.monotonic()
        if now < self._not_before or not self._client.is_connected:
            return None
        those = self._masked if masked else self._wanted - self._masked
        ready = [camera for camera in those - self._busy if self._due_at.get(camera, 0.0) < now]
        return min(ready, key=self._rank, default=None)

    def _rank(self, camera: str) -> tuple[bool, bool, float, str]:
        is_unlisted, has_name_alone = not self._admission.is_listed(camera), not self._tails.has_heads(camera)
        return is_unlisted, has_name_alone, self._due_at.get(camera, 0.0), camera

    async def _process(self, log: Log, camera: str) -> None:
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
        except Full as e:
            self._log.error("a camera waits for room in the bucket of ledgers", camera=camera, error=str(e))
            wait_s = FULL_S
        except (StoreUnavailable, BusError, TimeoutError, nats.errors.Error) as e:
            self._record_trouble(e)
            wait_s = 0.0
        except Exception:
            # A camera's data harms no other camera.
            self._failures[camera] = self._failures.get(camera, 0) + 1
            self._log.exception("a file can't be made", camera=camera, failures=self._failures[camera])
            wait_s = DELAYS.after(self._failures[camera])
        else:
            self._failures.pop(camera, None)
            self._record_success()
        self._due_at[camera] = time.monotonic() + wait_s

    def _record_trouble(self, error: Exception) -> None:
        if isinstance(error, StoreUnavailable):
            metrics.FAILED.inc()
            self._health.ready = f"recordings wait: {error}"
        self._trouble += 1
        self._not_before = time.monotonic() + DELAYS.after(self._trouble)
        if self._trouble == 1:
            self._log.warning("recordings wait: MEDIA keeps what is to be recorded", error=str(error) or repr(error))

    def _record_success(self) -> None:
        if self._trouble:
            self._log.info("recordings go on")
            self._health.ready = None
        self._trouble, self._not_before = 0, 0.0
