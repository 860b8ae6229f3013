"""Writes to a bucket that this process mirrors: by expected revision, and visible in the mirror once they return."""

from __future__ import annotations

import asyncio
import math
from typing import TypeVar

import msgspec
import nats.errors
from nats.js.errors import APIError

from services.console.web.refused import Refused
from shared.bus.client import Connection
from shared.bus.mirror import Mirror

T = TypeVar("T", bound=msgspec.Struct)

PATIENCE_S = 5.0
_POLL_S = 0.005
# The server's code for an entry of another revision than expected.
_WRONG_SEQUENCE = 10071


class Changed(Refused):
    """A concurrent change of the same entry."""

    def __init__(self) -> None:
        super().__init__(409, "somebody else has changed this at the same time: look again, and then try again")


class MirroredBucket:
    """A bucket that this process writes and mirrors."""

    def __init__(self, client: Connection, bucket: str, mirror: Mirror) -> None:
        self._js = client.jetstream()
        self._bucket = bucket
        self._mirror = mirror

    def get(self, key: str) -> bytes | None:
        return self._mirror.values.get(key)

    def read(self, key: str, kind: type[T]) -> T | None:
        """Return the decoded entry; None if there is none, or it is invalid."""
        data = self.get(key)
        try:
            return None if data is None else msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def keys(self, kind: str) -> list[str]:
        """Return the keys that begin with `<kind>.`, sorted."""
        return sorted(key for key in self._mirror.values if key.startswith(f"{kind}."))

    async def write(self, key: str, value: bytes, *, revision: int | None = None, ttl_s: float = 0) -> None:
        """Write an entry. revision: expected; 0: there must be none; None: any. ttl_s: until it expires; 0: never.

        Raises Changed, and Refused if the server does not store it.
        """
        await self._publish(key, value, {}, revision, ttl_s)

    async def remove(self, key: str, *, revision: int | None = None) -> None:
        """Delete an entry. Raises as `write` does."""
        await self._publish(key, b"", {"KV-Operation": "DEL"}, revision, 0)

    def revision(self, key: str) -> int:
        """Return the entry's revision; 0 if there is none."""
        return self._mirror.revision(key) or 0

    async def _publish(
        self, key: str, value: bytes, headers: dict[str, str], revision: int | None, ttl_s: float
    ) -> None:
        if revision == 0 and key in self._mirror.values:
            raise Changed
        if revision is not None:
            # A missing entry's last sequence is that of its deletion; 0 if there never was one.
            headers["Nats-Expected-Last-Subject-Sequence"] = str(revision or self._mirror.last_known(key))
        try:
            ack = await self._js.publish(
                f"$KV.{self._bucket}.{key}",
                value,
                timeout=PATIENCE_S,
                headers=headers,
                msg_ttl=math.ceil(ttl_s) if ttl_s else None,
            )
        except APIError as e:
            if e.err_code == _WRONG_SEQUENCE:
                raise Changed from e
            raise Refused(503, f"the server does not store this ({e.description}): see its log and its disk") from e
        except (TimeoutError, nats.errors.Error) as e:
            raise Refused(503, "the server does not answer: try again in a moment") from e
        await self._wait_until_mirrored(key, ack.seq)

    async def _wait_until_mirrored(self, key: str, seq: int) -> None:
        """Wait until the mirror has the write, so that the next request is answered by it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._mirror.last_known(key) < seq:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Refused(503, "it is stored, and the server has not said so yet: look again in a moment") from None
