"""Fetches each camera's last events, at the start and after each reconnect."""

from __future__ import annotations

import asyncio
from typing import Protocol

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from services.console.now.camera_states import CameraStates
from shared.bus import direct
from shared.contract import events, names
from shared.contract.events import CameraStatus, VideoStatus
from shared.runtime.errors import BadMessage, BusError

EVERY_S = 1.0
# Concurrent requests.
AT_ONCE = 16


class _Cameras(Protocol):
    values: dict[str, bytes]


class LastEvents:
    """See the module."""

    def __init__(self, client: Client, cameras: _Cameras, camera_states: CameraStates) -> None:
        self._client = client
        self._cameras = cameras
        self._camera_states = camera_states
        self._recalled_ids: set[str] = set()
        self._connection = -1

    async def run(self) -> None:
        while True:
            if self._client.is_connected:
                await self._recall()
            await asyncio.sleep(EVERY_S)

    async def _recall(self) -> None:
        if (connection := self._client.stats["reconnects"]) != self._connection:
            self._connection, self._recalled_ids = connection, set()
        existing = {id for id in self._cameras.values if not names.is_removed(id)}
        if self._recalled_ids - existing:
            self._camera_states.forget_removed(existing)
            self._recalled_ids &= existing
        new = sorted(existing - self._recalled_ids)
        for begin in range(0, len(new), AT_ONCE):
            part = new[begin : begin + AT_ONCE]
            found = await asyncio.gather(*map(self._camera, part))
            self._recalled_ids.update(id for id, is_answered in zip(part, found, strict=True) if is_answered)

    async def _camera(self, id: str) -> bool:
        """Fetch a camera's last events; return whether the server has answered."""
        kinds: tuple[type[CameraStatus] | type[VideoStatus], ...] = (CameraStatus, VideoStatus)
        for kind in kinds:
            subject = names.event(kind.kind, id)
            try:
                last = await direct.get(self._client, names.EVENTS, subject=subject)
                self._camera_states.add_status(events.decode(last.data, kind, subject))
            except (NotFoundError, BadMessage):
                continue
            except (BusError, APIError, TimeoutError, nats.errors.Error):
                return False
        return True
