"""A stream read as a log: the messages on a subject from a sequence on, in order, by batched direct get.

    async with Log(client, "EVENTS") as log:
        for stored in await log.read("events.detections.*", 1234):     # immediately; [] if there is nothing yet
            ...

It needs no consumer and leaves nothing on the server: the reader stores its own position, and may go back. Needs
nats-server 2.11 or later.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header
from nats.js.errors import APIError

from shared.bus.direct import SEQUENCE, TIMEOUT_S, Stored, stored
from shared.contract import names
from shared.contract.segment import rfc3339
from shared.runtime.errors import BusError

BATCH = 256
BATCH_BYTES = 4 * 1024 * 1024
_NONE, _END = "404", "204"


def check_version(client: Client, stream: str) -> None:
    """Raise BusError if the server can't serve a stream as a log."""
    version = client.connected_server_version
    if (version.major, version.minor) < (2, 11):
        raise BusError(
            f"nats-server is {version.major}.{version.minor}: 2.11 or later is needed to read {stream} as a log"
        )


class Log:
    """See the module. One request at a time."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._subject = names.api("DIRECT.GET", stream)
        self._requests = 0
        self._sub: Subscription | None = None
        self._found: list[Msg] = []
        self._end: asyncio.Future[Msg] | None = None

    async def __aenter__(self) -> Log:
        self._inbox = self._client.new_inbox()
        self._sub = await self._client.subscribe(
            f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sub and not self._client.is_closed:
            await self._sub.unsubscribe()

    async def read(self, subject: str, seq: int, *, most: int = BATCH) -> list[Stored]:
        """Return up to `most` messages on `subject`, which may have wildcards, from `seq` on; fewer if they are large.

        Raises nats.errors.Error or TimeoutError if the server does not answer.
        """
        return await self._ask({"seq": max(1, seq), "next_by_subj": subject, "batch": most, "max_bytes": BATCH_BYTES})

    async def since(self, subject: str, time: dt.datetime, *, most: int = BATCH) -> list[Stored]:
        """Return the same from those stored at `time` on. Raises as `read` does."""
        return await self._ask(
            {"start_time": rfc3339(time), "next_by_subj": subject, "batch": most, "max_bytes": BATCH_BYTES}
        )

    async def last(self, subject: str) -> Stored | None:
        """Return the last message on one subject. Raises as `read` does."""
        found = await self._ask({"multi_last": [subject], "batch": 1})
        return found[0] if found else None

    async def last_of_each(self, subjects: Sequence[str]) -> list[Stored]:
        """Return the last message on each of some subjects, up to BATCH, in the order of their storage.

        Raises as `read` does.
        """
        return await self._ask({"multi_last": list(subjects), "batch": len(subjects)}) if subjects else []

    async def all(self, subject: str) -> list[Stored]:
        """Return every message on `subject`, which may have wildcards. Raises as `read` does."""
        found: list[Stored] = []
        while part := await self.read(subject, found[-1].seq + 1 if found else 1):
            found += part
        return found

    async def _ask(self, request: dict[str, Any]) -> list[Stored]:
        self._requests += 1
        self._found = []
        self._end = asyncio.get_running_loop().create_future()
        reply = f"{self._inbox}.{self._requests}"
        await self._client.publish(self._subject, msgspec.json.encode(request), reply=reply)
        async with asyncio.timeout(TIMEOUT_S):
            end = await self._end
        headers = end.headers or {}
        if headers[Header.STATUS] not in (_NONE, _END):
            raise APIError(code=int(headers[Header.STATUS]), description=headers.get(Header.DESCRIPTION, ""))
        return [stored(message) for message in self._found]

    async def _on_message(self, message: Msg) -> None:
        # Late replies to an abandoned request are on another subject.
        if self._end is None or self._end.done() or not message.subject.endswith(f".{self._requests}"):
            return
        # A stored message may have a header of that name too, but has a sequence.
        if message.headers and Header.STATUS in message.headers and SEQUENCE not in message.headers:
            self._end.set_result(message)
        else:
            self._found.append(message)
