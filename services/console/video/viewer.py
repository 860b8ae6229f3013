"""One browser's live video: it chooses the cameras and gets their chunks; a slow one misses whole GOPs.

At most two segments wait for each camera, and a slow browser delays no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from services.console.metrics import DROPPED
from services.console.video import frames
from services.console.video.frames import Chunk
from shared.contract.names import Token

MOST_CAMERAS = 64
MOST_WAITING = 2


class Send(Protocol):
    """Send a message to the browser, and return once there is room for the next. Text is JSON."""

    async def __call__(self, message: bytes | str) -> None: ...


class Cameras(Protocol):
    """A source of chunks for the viewers of cameras."""

    def watch(self, camera: str, viewer: Viewer) -> None: ...

    def unwatch(self, camera: str, viewer: Viewer) -> None: ...


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A browser's message: all cameras that it watches from now on."""

    watch: Annotated[tuple[Token, ...], Meta(max_length=MOST_CAMERAS)]


class _Camera:
    """The waiting chunks of one camera."""

    def __init__(self) -> None:
        self._waiting: deque[Chunk] = deque()
        self._has_begun = False
        self._is_broken = True
        self._dropped = 0
        self._init = b""

    def offer(self, chunk: Chunk) -> None:
        """Queue a chunk, or drop whole GOPs: after a dropped segment decoding needs a keyframe."""
        is_full = len(self._waiting) >= MOST_WAITING
        if chunk.begins:
            self._drop(len(self._waiting) if is_full else 0)
            if is_full:
                self._waiting.clear()
            self._has_begun, self._is_broken = True, False
        elif self._is_broken or is_full:
            self._is_broken = True
            self._drop(1 if self._has_begun else 0)
            return
        self._waiting.append(chunk)

    def next(self) -> bytes | None:
        """Return the next message, if there is one."""
        if not self._waiting:
            return None
        if self._waiting[0].init != self._init:
            self._init = self._waiting[0].init
            return frames.init(self._waiting[0])
        dropped, self._dropped = self._dropped, 0
        return frames.media(self._waiting.popleft(), dropped)

    def _drop(self, count: int) -> None:
        self._dropped += count
        DROPPED.labels("segment").inc(count)


class Viewer:
    """See the module. sees: whether the person may see a camera now; a hidden one is answered as a missing one."""

    def __init__(self, send: Send, live: Cameras, sees: Callable[[str], bool]) -> None:
        self._send = send
        self._live = live
        self._sees = sees
        self._cameras: dict[str, _Camera] = {}
        self._notices: dict[str, str] = {}
        self._wakeup = asyncio.Event()

    async def hear(self, message: bytes | str) -> None:
        """Handle a message of the browser. An invalid one is answered with an error."""
        try:
            wanted = dict.fromkeys(msgspec.json.decode(message, type=Watch).watch)
        except (msgspec.MsgspecError, UnicodeError) as e:
            self._notify("", error=f'say which cameras you watch, such as {{"watch": ["lobby"]}}: {e}')
            return
        for camera in [camera for camera in self._cameras if camera not in wanted]:
            self._leave(camera)
        for camera in wanted:
            if not self._sees(camera):
                self._notify(camera, error=f"there is no camera {camera!r}")
            elif camera not in self._cameras:
                self._cameras[camera] = _Camera()
                self._live.watch(camera, self)

    def offer(self, chunk: Chunk) -> None:
        """Queue a segment of a watched camera."""
        if not self._sees(chunk.camera):
            self._leave(chunk.camera)
            self._notify(chunk.camera, error=f"there is no camera {chunk.camera!r}")
        elif chunk.camera in self._cameras:
            self._cameras[chunk.camera].offer(chunk)
            self._wakeup.set()

    def only_pictures(self, camera: str, reason: str) -> None:
        """Notify the browser that it can't play a camera's video."""
        if camera in self._cameras and self._sees(camera):
            self._notify(camera, pictures=reason)

    async def run(self) -> None:
        """Send until cancelled or `send` raises."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while messages := self._next():
                for message in messages:
                    await self._send(message)

    def close(self) -> None:
        """Stop watching all cameras."""
        for camera in list(self._cameras):
            self._leave(camera)

    def _next(self) -> list[bytes | str]:
        """Return the notices, and the next message of each camera, so that no camera delays another."""
        notices, self._notices = list(self._notices.values()), {}
        media = [message for camera in self._cameras.values() if (message := camera.next()) is not None]
        return [*notices, *media]

    def _leave(self, camera: str) -> None:
        if self._cameras.pop(camera, None):
            self._live.unwatch(camera, self)

    def _notify(self, camera: str, **what: str) -> None:
        """Queue a notice; a newer one of the same camera replaces it."""
        if len(self._notices) <= MOST_CAMERAS:
            self._notices[camera] = msgspec.json.encode({"camera": camera, **what} if camera else what).decode()
        self._wakeup.set()
