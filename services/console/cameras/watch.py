"""Hears what is said of all cameras: what is stored, what is detected, who comes and goes.

watch = Watch(client, cameras, hub)
running = asyncio.create_task(watch.run())
watch.now("lobby")
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Protocol

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from services.console.cameras.sight import CameraState, Detected, Sight
from services.console.feed.hub import Heard, Hub
from shared.bus import direct
from shared.bus.client import Connection
from shared.contract import cameras, events, names, segment
from shared.contract.bounds import in_time
from shared.contract.cameras import Camera
from shared.contract.events import CameraStatus, Detections, VideoStatus
from shared.runtime.errors import BadMessage, BadSegment, BusError, SettingError

EVERY_S = 1.0
# So many cameras are asked for at once.
_AT_ONCE = 16
_KINDS = (CameraStatus.kind, VideoStatus.kind, Detections.kind)
_DETECTED = msgspec.json.Decoder(Detected)


class Bucket(Protocol):
    """The bucket `cameras`, as `shared.bus.mirror.Mirror` has it."""

    values: dict[str, bytes]


class Watch:
    """See the module. client: the viewer's."""

    def __init__(self, client: Connection, bucket: Bucket, hub: Hub) -> None:
        self._client = client
        self._bucket = bucket
        self._sights: dict[str, Sight] = {}
        self._entries: dict[str, tuple[bytes, Camera | SettingError]] = {}
        self._recalled: set[str] = set()
        self._connection = -1
        hub.taps.append(self._heard)

    @property
    def ids(self) -> list[str]:
        """Of all cameras there are, sorted."""
        return sorted(id for id in self._bucket.values if not names.is_removed(id))

    def settings(self, id: str) -> Camera | SettingError | None:
        """Of a camera; why its entry is none; None where there is none. An entry is read once."""
        value = self._bucket.values.get(id)
        if value is None:
            return None
        known = self._entries.get(id)
        if known is None or known[0] != value:
            known = self._entries[id] = value, _decoded(value)
        return known[1]

    def now(self, id: str) -> CameraState:
        """How a camera does that there is."""
        entry = self.settings(id)
        if isinstance(entry, SettingError):
            return CameraState(id=id, state="unusable", reason=f"{entry}: remove it, then add it anew")
        sight = self._sights.get(id) or Sight()
        return sight.now(id, entry is not None and entry.enabled, time.monotonic(), _wall())

    async def run(self) -> None:
        """Until cancelled."""
        subscription = await self._client.subscribe(names.stored(names.media(">")), cb=self._stored)
        try:
            while True:
                if self._client.is_connected:
                    await self._recall()
                await asyncio.sleep(EVERY_S)
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()

    def _heard(self, event: Heard) -> None:
        if event.kind not in _KINDS or event.camera not in self._bucket.values:
            return
        said = _said(event.kind, event.camera, bytes(event.data))
        if isinstance(said, Detected):
            self._sight(event.camera).detected(said, time.monotonic(), _wall())
        elif said:
            self._sight(event.camera).said(said)

    async def _stored(self, message: Msg) -> None:
        camera = message.subject.removeprefix(names.stored(names.media("")))
        if camera not in self._bucket.values:
            return
        try:
            head = segment.from_message(names.media(camera), message.headers)
        except BadSegment:
            return
        self._sight(camera).stored(head, time.monotonic())

    def _sight(self, camera: str) -> Sight:
        return self._sights.setdefault(camera, Sight())

    async def _recall(self) -> None:
        """What was last said of cameras that are new to us; of all of them after the connection was lost."""
        if (connection := self._client.stats["reconnects"]) != self._connection:
            self._connection, self._recalled = connection, set()
        there = set(self.ids)
        self._recalled &= there
        for gone in self._sights.keys() - there:
            del self._sights[gone]
        for gone in self._entries.keys() - there:
            del self._entries[gone]
        new = sorted(there - self._recalled)
        for begin in range(0, len(new), _AT_ONCE):
            part = new[begin : begin + _AT_ONCE]
            answered = await asyncio.gather(*map(self._last_of, part))
            self._recalled.update(id for id, is_known in zip(part, answered, strict=True) if is_known)

    async def _last_of(self, id: str) -> bool:
        """Whether the server has answered."""
        for kind in _KINDS:
            try:
                last = await direct.get(self._client, names.EVENTS, subject=names.event(kind, id))
            except NotFoundError:
                continue
            except (BusError, APIError, TimeoutError, nats.errors.Error):
                return False
            said = _said(kind, id, last.data)
            if isinstance(said, Detected):
                self._sight(id).recalled(said)
            elif said:
                self._sight(id).said(said)
        return True


def _said(kind: str, camera: str, data: bytes) -> CameraStatus | VideoStatus | Detected | None:
    """What an event says; None where it is none."""
    try:
        match kind:
            case CameraStatus.kind:
                return events.decode(data, CameraStatus, names.event(kind, camera))
            case VideoStatus.kind:
                return events.decode(data, VideoStatus, names.event(kind, camera))
        detected = _DETECTED.decode(data)
        return detected if in_time(detected.start) else None
    except (BadMessage, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _decoded(value: bytes) -> Camera | SettingError:
    try:
        return cameras.decode(value)
    except SettingError as e:
        return e


def _wall() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
