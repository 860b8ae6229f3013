"""The rules of cameras in KV, and the picture to draw them into."""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from shared.bus.mirror import bind
from shared.client import registry
from shared.contract import names, segment
from shared.contract import rules as book
from shared.contract.reading.entries import entries
from shared.contract.rules import Rules
from shared.runtime.errors import SettingError
from shared.video import gop


async def cameras(client: Client) -> list[str]:
    """Return the cameras that have rules, sorted."""
    return sorted(await entries(client.jetstream(), names.RULES))


async def remove(client: Client, camera: str) -> None:
    """Raises SettingError if the camera has none."""
    await get(client, camera)
    await (await _bucket(client)).delete(camera)


async def put(client: Client, camera: str, found: Rules) -> None:
    await (await _bucket(client)).put(camera, book.encode(found))


async def get(client: Client, camera: str) -> Rules:
    """Raises SettingError if the camera has none, or does not exist."""
    try:
        entry = await (await _bucket(client)).get(names.check_camera(camera))
    except KeyNotFoundError as e:
        missing = await registry.missing(client.jetstream(), camera)
        raise SettingError(missing or f"camera {camera!r} has no rules: tidegate rules set {camera} FILE") from e
    return book.decode(entry.value or b"")


async def last_keyframe(client: Client, camera: str) -> Any:
    """Return RGB, uint8, (height, width, 3). Raises BadSegment, and SettingError if MEDIA has none of this camera."""
    from shared.video.decode import decode

    js = client.jetstream()
    try:
        raw = await js.get_msg(names.MEDIA, subject=names.media(camera), direct=True)
    except NotFoundError as e:
        raise SettingError(f"there is no video of camera {camera!r}: see 'tidegate camera list'") from e
    head, payload = segment.from_headers(raw.headers), raw.data or b""
    if not head.starts_gop:
        head, payload = await gop.start(js, head)
    return decode(payload, at=[0.0], before=await gop.earlier(js, head)).pictures[0].pixels


async def _bucket(client: Client) -> KeyValue:
    return await bind(client.jetstream(), names.RULES)
