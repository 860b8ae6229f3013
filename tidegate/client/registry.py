"""Cameras in KV, as the command line adds, lists, changes and removes them."""

from __future__ import annotations

import msgspec
from nats.js import JetStreamContext
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, NoKeysError, NotFoundError
from nats.js.kv import KeyValue

from shared.contract import names
from shared.contract.cameras import Camera, decode, encode
from shared.contract.events import CameraStatus
from shared.runtime.errors import BusError, SettingError


async def put(js: JetStreamContext, id: str, camera: Camera, credentials: str | None) -> None:
    """Write a camera. Credentials first, so that ingest never finds the camera without them."""
    names.check_camera(id)
    secret = await _bucket(js, names.CREDENTIALS)
    if credentials:
        await secret.put(id, credentials.encode())
    else:
        await secret.delete(id)
    await (await _bucket(js, names.CAMERAS)).put(id, encode(camera))


async def remove(js: JetStreamContext, id: str) -> None:
    """Forget a camera and its credentials. Raises SettingError if there is none."""
    await read(js, id)
    await (await _bucket(js, names.CAMERAS)).delete(id)
    await (await _bucket(js, names.CREDENTIALS)).purge(id)


async def set_enabled(js: JetStreamContext, id: str, enabled: bool) -> None:
    """Raises SettingError if there is no such camera."""
    camera = msgspec.structs.replace(await read(js, id), enabled=enabled)
    await (await _bucket(js, names.CAMERAS)).put(id, encode(camera))


async def read(js: JetStreamContext, id: str) -> Camera:
    """Raises SettingError if there is no such camera."""
    try:
        entry = await (await _bucket(js, names.CAMERAS)).get(names.check_camera(id))
    except KeyNotFoundError as e:
        raise SettingError(f"there is no camera {id!r}: 'tidegate camera list' shows all") from e
    return decode(entry.value or b"")


async def all(js: JetStreamContext) -> dict[str, Camera]:
    """Every camera by id, in the order of their ids."""
    try:
        ids = await (await _bucket(js, names.CAMERAS)).keys()
    except NoKeysError:
        return {}
    return {id: await read(js, id) for id in sorted(ids)}


async def last_status(js: JetStreamContext, id: str) -> CameraStatus | None:
    """The last that ingest said of a camera, if EVENTS still has it."""
    try:
        raw = await js.get_msg(names.EVENTS, subject=names.event("cameras", id), direct=True)
        return msgspec.json.decode(raw.data or b"", type=CameraStatus)
    except (NotFoundError, msgspec.DecodeError):
        return None


async def _bucket(js: JetStreamContext, bucket: str) -> KeyValue:
    try:
        return await js.key_value(bucket)
    except (BucketNotFoundError, NotFoundError) as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e
