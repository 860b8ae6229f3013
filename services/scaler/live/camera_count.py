"""The replicas of ingest that a bucket's enabled cameras need: their number over the cameras of one replica."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
from nats.js.errors import NotFoundError

from services.scaler.live.answers import FIRST_S, LiveAnswer, LiveMetric
from services.scaler.live.metadata import CamerasQuery
from shared.bus.client import Connection
from shared.bus.infos import Missing, Unavailable
from shared.bus.mirror import Mirror, mirror
from shared.contract import cameras
from shared.contract.questions.explain import Explanation, Term
from shared.runtime.errors import BusError, SettingError, TidegateError
from shared.runtime.tasks import end

RETRY_S = 5.0


class LiveCameras(LiveMetric):
    """See the module."""

    metric = "cameras"
    query: CamerasQuery

    def __init__(self, client: Connection, query: CamerasQuery) -> None:
        super().__init__()
        self.query = query
        self._client = client
        self._mirror: Mirror | None = None
        self._error: TidegateError = Unavailable(f"bucket {query.bucket}: not read yet")
        self._tried = asyncio.Event()
        self._moved = asyncio.Event()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._watch())]

    async def answer(self) -> LiveAnswer:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await self._tried.wait()
                if self._mirror:
                    await self._mirror.ready.wait()
        count = self._count()
        return LiveAnswer(count / self.query.cameras_per_replica, count > 0)

    @property
    def active(self) -> bool | None:
        try:
            return self._count() > 0
        except (Missing, Unavailable):
            return None

    @property
    def missing(self) -> bool:
        return self._mirror is None and isinstance(self._error, Missing)

    def explanation(self) -> Explanation:
        terms: dict[str, Term] = {}
        error = ""
        try:
            count = self._count()
            terms = {"replicas": count / self.query.cameras_per_replica, "active": count > 0, "cameras": float(count)}
        except (Missing, Unavailable) as e:
            error = str(e)
        return Explanation(
            service=self.query.service,
            of=f"enabled cameras in bucket {self.query.bucket}",
            terms=terms,
            settings={"cameras_per_replica": self.query.cameras_per_replica},
            error=error,
            asked_s=self.unused_s,
        )

    async def close(self) -> None:
        await end(*self._tasks)

    def _count(self) -> int:
        """Return the number of enabled cameras. Raises Missing or Unavailable."""
        if not self._client.is_connected:
            raise Unavailable("NATS is not connected")
        if self._mirror is None or not self._mirror.ready.is_set():
            raise self._error
        return sum(_is_enabled(value) for value in self._mirror.values.values())

    async def _follow(self) -> None:
        while not self._client.is_closed:
            try:
                self._mirror = await mirror(self._client, self.query.bucket, self._moved)
                self._tried.set()
                await self._mirror.run()
            except BusError as e:
                self._error = (Missing if isinstance(e.__cause__, NotFoundError) else Unavailable)(str(e))
            self._tried.set()
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            self.notify(self.active)


def _is_enabled(value: bytes) -> bool:
    with suppress(SettingError, msgspec.ValidationError):
        return cameras.decode(value).enabled
    return False
