"""Receives the events of all cameras: stored segments, detections, and their status."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from services.console.cameras.state_tracker import CameraReport, CameraState, CameraStateTracker, DetectionSummary
from services.console.console import Console
from services.console.feed.hub import FeedEvent, Hub
from services.console.links.subscriptions import subscribed
from shared.bus import direct
from shared.contract import cameras, events, names, segment
from shared.contract.cameras import Camera
from shared.contract.events import CameraStatus, Detections, VideoStatus
from shared.contract.reading.bounds import in_time
from shared.runtime.errors import BadMessage, BadSegment, BusError, SettingError

EVERY_S = 1.0
# Concurrent requests.
_AT_ONCE = 16
_KINDS = (CameraStatus.kind, VideoStatus.kind, Detections.kind)
_DETECTION_DECODER = msgspec.json.Decoder(DetectionSummary)


class CameraMonitor:
    """The state of each camera."""

    def __init__(self, console: Console, hub: Hub) -> None:
        self._console = console
        self._client = console.links.viewer
        self._bucket = console.cameras
        self._trackers: dict[str, CameraStateTracker] = {}
        self._entries: dict[str, tuple[bytes, Camera | SettingError]] = {}
        self._recalled_ids: set[str] = set()
        self._connection = -1
        hub.taps.append(self._on_event)

    def settings(self, id: str) -> Camera | SettingError | None:
        """Return a camera's settings, or the error of its entry; None if there is none. An entry is decoded once."""
        value = self._bucket.values.get(id)
        if value is None:
            return None
        cached = self._entries.get(id)
        if cached is None or cached[0] != value:
            cached = self._entries[id] = value, _decode_entry(value)
        return cached[1]

    def now(self, id: str) -> CameraState:
        """Return the state of an existing camera."""
        tracker = self._trackers.get(id) or CameraStateTracker()
        return tracker.now(id, self.status(id), time.monotonic())

    def status(self, id: str) -> CameraReport:
        """Return whether an existing camera delivers, and why not."""
        entry = self.settings(id)
        if isinstance(entry, SettingError):
            return CameraReport("unusable", f"{entry}: remove it, then add it again")
        tracker = self._trackers.get(id) or CameraStateTracker()
        return tracker.report(entry is not None and entry.enabled, _wall())

    async def run(self) -> None:
        """Run until cancelled."""
        async with subscribed(self._client, {names.stored(names.media(">")): self._on_segment}):
            while True:
                if self._client.is_connected:
                    await self._recall()
                await asyncio.sleep(EVERY_S)

    def _on_event(self, event: FeedEvent) -> None:
        if event.kind not in _KINDS or event.camera not in self._bucket.values:
            return
        content = _decode_event(event.kind, event.camera, bytes(event.data))
        if isinstance(content, DetectionSummary):
            self._tracker(event.camera).add_detections(content, time.monotonic(), _wall())
        elif content:
            self._tracker(event.camera).add_status(content)

    async def _on_segment(self, message: Msg) -> None:
        camera = message.subject.removeprefix(names.stored(names.media("")))
        if camera not in self._bucket.values:
            return
        try:
            head = segment.from_message(names.media(camera), message.headers)
        except BadSegment:
            return
        self._tracker(camera).add_segment(head, time.monotonic())

    def _tracker(self, camera: str) -> CameraStateTracker:
        return self._trackers.setdefault(camera, CameraStateTracker())

    async def _recall(self) -> None:
        """Fetch the last events of new cameras; of all cameras after a reconnect."""
        if (connection := self._client.stats["reconnects"]) != self._connection:
            self._connection, self._recalled_ids = connection, set()
        existing = set(self._console.camera_ids)
        self._recalled_ids &= existing
        for id in self._trackers.keys() - existing:
            del self._trackers[id]
        for id in self._entries.keys() - existing:
            del self._entries[id]
        new = sorted(existing - self._recalled_ids)
        for begin in range(0, len(new), _AT_ONCE):
            part = new[begin : begin + _AT_ONCE]
            answered = await asyncio.gather(*map(self._last_of, part))
            self._recalled_ids.update(id for id, is_answered in zip(part, answered, strict=True) if is_answered)

    async def _last_of(self, id: str) -> bool:
        """Fetch a camera's last events; return whether the server has answered."""
        for kind in _KINDS:
            try:
                last = await direct.get(self._client, names.EVENTS, subject=names.event(kind, id))
            except NotFoundError:
                continue
            except (BusError, APIError, TimeoutError, nats.errors.Error):
                return False
            content = _decode_event(kind, id, last.data)
            if isinstance(content, DetectionSummary):
                self._tracker(id).add_recalled(content)
            elif content:
                self._tracker(id).add_status(content)
        return True


def _decode_event(kind: str, camera: str, data: bytes) -> CameraStatus | VideoStatus | DetectionSummary | None:
    """Decode an event; None if it is invalid."""
    try:
        match kind:
            case CameraStatus.kind:
                return events.decode(data, CameraStatus, names.event(kind, camera))
            case VideoStatus.kind:
                return events.decode(data, VideoStatus, names.event(kind, camera))
        detected = _DETECTION_DECODER.decode(data)
        return detected if in_time(detected.start) else None
    except (BadMessage, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _decode_entry(value: bytes) -> Camera | SettingError:
    try:
        return cameras.decode(value)
    except SettingError as e:
        return e


def _wall() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
