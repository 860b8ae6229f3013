"""Whether a camera that is named is there, and which was meant otherwise."""

from __future__ import annotations

import difflib

from nats.aio.client import Client

from tidegate.client import registry


async def no_such_camera(client: Client, id: str) -> str:
    """A sentence that names the nearest there is; empty if the camera is there. Raises BusError."""
    known = list(await registry.all(client.jetstream()))
    if id in known:
        return ""
    near = difflib.get_close_matches(id, known, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(map(repr, near))}?" if near else "'tidegate camera list' shows all"
    return f"there is no camera {id!r}: {meant}"
