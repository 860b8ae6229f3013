"""Cameras' scenes in the bucket `scenes`, shared by all replicas. While it is unavailable, local scenes suffice."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from shared.contract import names
from shared.runtime.telemetry import logger

# The maximum wait of a segment for the shared entry.
TIMEOUT_S = 1.0


class Entry(NamedTuple):
    """data: None without an entry. revision: of the bucket; the next write must follow this one."""

    data: bytes | None
    revision: int


class SharedScenes:
    """One per process."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js
        self._bound: KeyValue | None = None
        self._log = logger("static_scene")
        self._away = False

    async def read(self, camera: str) -> Entry | None:
        """Read the entry; None if the bucket does not answer."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                entry = await (await self._bucket()).get(camera)
        except KeyNotFoundError as e:
            self._away = False
            return Entry(None, getattr(e.entry, "revision", None) or 0)
        except (TimeoutError, nats.errors.Error) as e:
            self._say(e)
            return None
        self._away = False
        return Entry(entry.value, entry.revision or 0)

    async def write(self, camera: str, data: bytes, revision: int) -> None:
        """Write, unless another replica has since `revision`, which is as good."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await (await self._bucket()).update(camera, data, last=revision)
        except KeyWrongLastSequenceError:
            return
        except (TimeoutError, nats.errors.Error) as e:
            self._say(e)

    async def _bucket(self) -> KeyValue:
        self._bound = self._bound or await self._js.key_value(names.SCENES)
        return self._bound

    def _say(self, error: Exception) -> None:
        """Log once, until the bucket answers again."""
        if not self._away:
            self._away = True
            self._log.warning(
                "bucket scenes does not answer: what other replicas know of static scenes is missing", error=repr(error)
            )
