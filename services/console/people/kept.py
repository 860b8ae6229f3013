"""Entries of a bucket that this process mirrors: written where they are as we know them, and seen here once they are.

kept = Kept(client, "console", mirror)
await kept.write("person.anna", data, revision=0)      # raises Changed where somebody was there first
await kept.remove("person.anna")
"""

from __future__ import annotations

import asyncio
import math

import nats.errors
from nats.js.errors import APIError

from services.console.web.refused import Refused
from shared.bus.client import Connection
from shared.bus.mirror import Mirror

PATIENCE_S = 5.0
_POLL_S = 0.005
# The server's code for an entry that somebody has changed meanwhile.
_WRONG_SEQUENCE = 10071


class Changed(Refused):
    """Somebody else has changed it at the same time."""

    def __init__(self) -> None:
        super().__init__(409, "somebody else has changed this at the same time: look again, and then try again")


class Kept:
    """See the module."""

    def __init__(self, client: Connection, bucket: str, mirror: Mirror) -> None:
        self._js = client.jetstream()
        self._bucket = bucket
        self._mirror = mirror

    def get(self, key: str) -> bytes | None:
        return self._mirror.values.get(key)

    def keys(self, kind: str) -> list[str]:
        """The keys that begin with `<kind>.`, sorted."""
        return sorted(key for key in self._mirror.values if key.startswith(f"{kind}."))

    async def write(self, key: str, value: bytes, *, revision: int | None = None, ttl_s: float = 0) -> None:
        """revision: that it must have; 0: that there must be none; None: whatever there is. ttl_s: it ends by itself.

        Raises Changed, and Refused where the server does not store it.
        """
        await self._publish(key, value, {}, revision, ttl_s)

    async def remove(self, key: str, *, revision: int | None = None) -> None:
        """Raises as `write` does."""
        await self._publish(key, b"", {"KV-Operation": "DEL"}, revision, 0)

    def revision(self, key: str) -> int:
        """0 where there is none."""
        return self._mirror.revision(key) or 0

    async def _publish(
        self, key: str, value: bytes, headers: dict[str, str], revision: int | None, ttl_s: float
    ) -> None:
        if revision == 0 and key in self._mirror.values:
            raise Changed
        if revision is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self._place(key) if revision == 0 else revision)
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
        await self._heard(key, ack.seq)

    def _place(self, key: str) -> int:
        """The sequence of what says that there is none: 0 where nothing was ever said of it."""
        return self._mirror.last_known(key)

    async def _heard(self, key: str, seq: int) -> None:
        """Wait until this process knows what it wrote, so that whoever asks next is answered by it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._mirror.last_known(key) < seq:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Refused(503, "it is stored, and the server has not said so yet: look again in a moment") from None
