"""The endpoint that the site file declares, in the bucket `endpoint`: read once, or followed while it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats.errors
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError

from services.webhook import metrics
from shared.bus.client import Connection
from shared.bus.mirror import Mirror, bind, mirror
from shared.bus.waiting import unanswered
from shared.contract import endpoint, names
from shared.contract.endpoint import EndpointSettings
from shared.runtime.errors import SettingError
from shared.runtime.tasks import supervise
from shared.runtime.telemetry import logger

Use = Callable[[EndpointSettings | None], None]
Refuse = Callable[[str], None]


async def read(client: Client) -> EndpointSettings | None:
    """Return the stored endpoint, None if there is none. Raises SettingError if it is unusable, and BusError."""
    bucket = await bind(client.jetstream(), names.ENDPOINT)
    try:
        return endpoint.decode((await bucket.get(endpoint.KEY)).value or b"")
    except KeyNotFoundError:
        return None
    except (TimeoutError, nats.errors.Error) as e:
        raise unanswered(f"bucket {names.ENDPOINT}", e) from e


class Following:
    """The stored endpoint, followed while it changes. First `open`, then `run`."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._changed = asyncio.Event()
        self._copy: Mirror | None = None

    async def open(self) -> Mirror:
        """Bind to the bucket. Raises Unanswered if JetStream does not answer, and BusError."""
        self._copy = await mirror(self._client, names.ENDPOINT, self._changed)
        return self._copy

    async def run(self, use: Use, refuse: Refuse) -> None:
        """Call `use` with the stored endpoint, None for none, and again after each change, until cancelled.

        refuse: called with the error of an unusable entry, after which the last usable one stays in use; and with an
        empty text before `use`. Raises BusError once the connection is closed.
        """
        assert self._copy
        await supervise(self._copy.run(), self._tell(self._copy, use, refuse))

    async def _tell(self, copy: Mirror, use: Use, refuse: Refuse) -> None:
        await copy.ready.wait()
        before: object = ""
        while True:
            self._changed.clear()
            if (entry := copy.values.get(endpoint.KEY)) != before:
                before = entry
                _judge(entry, use, refuse)
            await self._changed.wait()


def _judge(entry: bytes | None, use: Callable[[EndpointSettings | None], None], refuse: Callable[[str], None]) -> None:
    try:
        found = endpoint.decode(entry) if entry is not None else None
    except SettingError as e:
        metrics.UNUSABLE.inc()
        logger("webhook").error("the stored endpoint can't be used: the last usable one stays", error=str(e))
        refuse(str(e))
        return
    refuse("")
    use(found)
