"""A client with the right to read that constantly tries to do more, during all faults.

Example:
    intruder = Intruder(settings_of_viewer)
    await intruder.run()                # until cancelled
    await intruder.got_in(admin)        # accepted attempts: must be empty
"""

from __future__ import annotations

import asyncio
import contextlib

import nats.errors
from nats.aio.client import Client

from shared import bus
from shared.contract import names
from shared.runtime.errors import TidegateError
from shared.runtime.settings import BusSettings

# No camera has this id.
FORGED = "forged"
_EVERY_S = 5.0
# The user in the server's log of refusals. No other may appear there.
REFUSED = ':viewer"'
# Evidence of success is in streams; a bucket is one.
_PLACES = {
    names.media(FORGED): names.MEDIA,
    names.main(FORGED): names.MEDIA,
    names.event("detections", FORGED): names.EVENTS,
    names.event("alerts", FORGED): names.EVENTS,
    names.job("verify", FORGED): names.VLM,
    f"$KV.{names.LEASES}.camera.{FORGED}": f"KV_{names.LEASES}",
    f"$KV.{names.CAMERAS}.{FORGED}": f"KV_{names.CAMERAS}",
}
# If accepted, these would delete acknowledged messages.
_API_REQUESTS = (f"$JS.API.STREAM.PURGE.{names.MEDIA}", f"$JS.API.STREAM.DELETE.{names.EVENTS}")


class Intruder:
    """settings: of an identity that may only read."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._taken: set[str] = set()

    async def run(self) -> None:
        while True:
            # An unreachable server admits no client.
            with contextlib.suppress(TimeoutError, nats.errors.Error, TidegateError, OSError):
                client = await bus.connect(self._settings, self._settings.nats_user, timeout_s=5)
                try:
                    while client.is_connected:
                        await self._try(client)
                        await asyncio.sleep(_EVERY_S)
                finally:
                    await client.close()
            await asyncio.sleep(_EVERY_S)

    async def _try(self, client: Client) -> None:
        for subject in (*_PLACES, *_API_REQUESTS):
            await client.publish(subject, b"forged")
        await client.flush()

    async def got_in(self, admin: Client) -> list[str]:
        """Return the subjects with stored messages so far, as streams expire them. An unreachable server adds none."""
        js = admin.jetstream()
        for subject, stream in _PLACES.items():
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                if (await js.stream_info(stream, subjects_filter=subject)).state.subjects:
                    self._taken.add(subject)
        return sorted(self._taken)
