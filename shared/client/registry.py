"""Adds, changes, lists and removes cameras in the buckets `cameras` and `credentials`."""

from __future__ import annotations

import datetime as dt
import difflib
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace
from nats.js import JetStreamContext
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
)
from nats.js.kv import KeyValue

from shared.contract import credentials as secrets
from shared.contract import events, names
from shared.contract.cameras import Camera, apart, changed, decode, encode, encode_removed, joined
from shared.contract.credentials import Credentials
from shared.contract.entries import entries
from shared.contract.events import CameraStatus, VideoStatus
from shared.contract.missing import check_no_key
from shared.runtime.errors import BadMessage, BusError, SettingError


class NoCamera(SettingError):
    """There is no camera of that id."""


class CameraThere(SettingError):
    """There is one already."""


class Change(NamedTuple):
    """What a camera was and is, and its credentials. stored: as the bucket `cameras` has it now."""

    before: Camera
    after: Camera
    had: Credentials | None
    has: Credentials | None
    stored: Camera


# Somebody else who changes a camera at the same time is done within one or two tries.
_TRIES = 20
# Video may be published this long after its camera was removed, and be in a worker's hands after MEDIA forgot it.
_LATEST_S = 120


async def add(js: JetStreamContext, id: str, camera: Camera, secret: str | None) -> None:
    """Write a new camera, with what `new_camera` split off its URL.

    Raises CameraThere if there is one of that id, which stays as it is.
    """
    stored, credentials = apart(camera, _given(camera, secret))
    bucket = await _bucket(js, names.CAMERAS)
    taken = CameraThere(
        f"camera {id!r} is there already: 'tidegate camera set {id} …' changes it, 'camera add … --replace' forgets "
        "all of its settings first"
    )
    try:
        await bucket.get(names.check_camera(id))
        raise taken
    except KeyNotFoundError as e:
        await check_no_key(js, names.CAMERAS, id, e)
    await _write_credentials(js, id, credentials)
    try:
        await bucket.create(id, encode(stored))
    except KeyWrongLastSequenceError as e:
        raise taken from e


async def put(js: JetStreamContext, id: str, camera: Camera, secret: str | None) -> None:
    """Write a camera, in place of what was there. Credentials first, so that ingest never finds it without them."""
    names.check_camera(id)
    stored, credentials = apart(camera, _given(camera, secret))
    await _write_credentials(js, id, credentials)
    await (await _bucket(js, names.CAMERAS)).put(id, encode(stored))


async def change(js: JetStreamContext, id: str, fields: Mapping[str, object], *, hide_path: bool = False) -> Change:
    """Change `fields` of a camera as `cameras.changed` does, and nothing else, whoever changes it at the same time.

    hide_path: also move its URL's path to its credentials, where an earlier version has left it in its entry.

    Raises NoCamera if there is no such camera, SettingError if it can't be changed so.
    """
    bucket = await _bucket(js, names.CAMERAS)
    had = await credentials(js, id)
    for _ in range(_TRIES):
        entry = await _entry(js, bucket, id)
        held = await _held(js, id)
        was_stored = decode(entry.value or b"")
        before = joined(was_stored, held)
        after, has = changed(before, _password(held), fields)
        if "url" in fields or hide_path:
            stored, holds = apart(after, has)
        else:
            stored, holds = replace(after, url=was_stored.url), _with_path(has, held, after, fields)
        if holds != held:
            await _write_credentials(js, id, holds)
        try:
            await bucket.update(id, encode(stored), last=entry.revision)
        except KeyWrongLastSequenceError:
            continue
        return Change(before, after, had, has, stored)
    raise BusError(f"camera {id!r} is being changed by others all the time: try again")


async def remove(js: JetStreamContext, id: str) -> None:
    """Forget a camera and its credentials. Raises NoCamera if there is none.

    Workers find its settings for as long as MEDIA may have its video; the server forgets them by itself.
    """
    bucket = await _bucket(js, names.CAMERAS)
    entry = await _entry(js, bucket, id)
    with suppress(SettingError):  # What is no camera has no settings that anybody goes by.
        await _keep_settings(js, id, decode(entry.value or b""))
    await bucket.delete(id)
    await _write_credentials(js, id, None)


async def _keep_settings(js: JetStreamContext, id: str, camera: Camera) -> None:
    media_s = (await js.stream_info(names.MEDIA)).config.max_age or 0
    subject = f"$KV.{names.CAMERAS}.{names.removed(id)}"
    try:
        await js.publish(subject, encode_removed(camera), msg_ttl=math.ceil(media_s) + _LATEST_S)
    except APIError as e:
        raise BusError(f"the settings of camera {id!r} can't be kept for its video: run 'tidegate setup' ({e})") from e


async def read(js: JetStreamContext, id: str) -> Camera:
    """A camera with its whole URL, for who may read credentials. Raises NoCamera if there is no such camera."""
    camera = decode((await _entry(js, await _bucket(js, names.CAMERAS), id)).value or b"")
    return joined(camera, await _held(js, id))


async def credentials(js: JetStreamContext, id: str) -> Credentials | None:
    """A camera's password: only admin, the console's operator and ingest may read it."""
    return _password(await _held(js, id))


async def _held(js: JetStreamContext, id: str) -> Credentials | None:
    """What the bucket `credentials` has of a camera: its password, its URL's path, or both."""
    try:
        entry = await (await _bucket(js, names.CREDENTIALS)).get(id)
    except KeyNotFoundError:
        return None
    return secrets.decode(entry.value) if entry.value else None


def _password(held: Credentials | None) -> Credentials | None:
    return replace(held, path="") if held and held.secret else None


def _with_path(
    has: Credentials | None, held: Credentials | None, after: Camera, fields: Mapping[str, object]
) -> Credentials | None:
    """Credentials of a camera whose URL stays: its path does, too. held: those before."""
    if held is None or not held.path:
        return has
    if has is None:
        unverified = not after.verify_tls if "verify_tls" in fields else held.unverified
        return replace(held, secret="", unverified=unverified)
    return replace(has, path=held.path)


async def bind_credentials(js: JetStreamContext) -> list[str]:
    """Bind what earlier versions wrote to the addresses that cameras have now; a line for each. Raises BusError.

    Nothing that has an address is touched: whoever changes an entry later does not move its password. Passwords of
    cameras that are gone are erased.
    """
    there = set(await _ids(js))
    done = []
    for id in sorted(await entries(js, names.CREDENTIALS)):
        if id not in there:
            await _write_credentials(js, id, None)
            done.append(f"password of camera {id} erased: there is no such camera")
        elif (kept := await credentials(js, id)) and not kept.origin:
            done.append(await _bind(js, id, kept))
    return done


async def _bind(js: JetStreamContext, id: str, kept: Credentials) -> str:
    try:
        camera = await read(js, id)
        new = secrets.bound(kept.secret, camera.url, unverified=not camera.verify_tls)
    except SettingError as e:
        return f"password of camera {id} can't be bound to an address: {e}"
    assert new is not None
    await _write_credentials(js, id, new)
    return f"password of camera {id} bound to {new.origin}"


async def hide_paths(js: JetStreamContext) -> list[str]:
    """Move paths of URLs from `cameras` to `credentials`, once each ingest reads them there; a line for each.

    Raises BusError.
    """
    done = []
    for id, camera in (await all(js)).items():
        if isinstance(camera, SettingError) or apart(camera, None)[0] == camera:
            continue
        stored = (await change(js, id, {"enabled": camera.enabled}, hide_path=True)).stored
        if stored.url != camera.url:
            done.append(f"path of camera {id} is among its credentials")
        else:
            done.append(
                f"path of camera {id} stays: its credentials are for another address, 'tidegate camera set --url'"
            )
    return done


async def all(js: JetStreamContext, *, whole: bool = False) -> dict[str, Camera | SettingError]:
    """Every camera by id, in the order of their ids; of an entry that is no camera, why it is none.

    whole: with the paths of their URLs, for who may read credentials.
    """
    found: dict[str, Camera | SettingError] = {}
    held = await entries(js, names.CREDENTIALS) if whole else {}
    for id, value in sorted((await entries(js, names.CAMERAS)).items()):
        if names.is_removed(id):
            continue
        try:
            found[id] = joined(decode(value), secrets.decode(held[id]) if held.get(id) else None)
        except SettingError as e:
            found[id] = e
    return found


async def missing(js: JetStreamContext, id: str) -> str:
    """A sentence that names the nearest camera there is; empty if there is one of that id. Raises BusError."""
    known = await _ids(js)
    return "" if id in known else _no_such(id, known)


async def last_status(js: JetStreamContext, id: str) -> CameraStatus | None:
    """The last event of a camera that came or went; None if EVENTS has none."""
    try:
        raw = await js.get_msg(names.EVENTS, subject=names.event("cameras", id), direct=True)
        return events.decode(raw.data or b"", CameraStatus, names.event("cameras", id))
    except (NotFoundError, BadMessage):
        return None


async def unreadable(js: JetStreamContext, id: str) -> VideoStatus | None:
    """Why the segments of a camera can't be read now; None if they can, as far as anybody has said."""
    at = names.event(VideoStatus.kind, id)
    try:
        raw = await js.get_msg(names.EVENTS, subject=at, direct=True)
        status = events.decode(raw.data or b"", VideoStatus, at)
    except (NotFoundError, BadMessage):
        return None
    return status if status.lasts(dt.datetime.now(dt.UTC)) else None


async def _entry(js: JetStreamContext, bucket: KeyValue, id: str) -> KeyValue.Entry:
    try:
        return await bucket.get(names.check_camera(id))
    except KeyNotFoundError as e:
        raise NoCamera(_no_such(id, await _ids(js))) from e


async def _ids(js: JetStreamContext) -> list[str]:
    return sorted(id for id in await entries(js, names.CAMERAS) if not names.is_removed(id))


def _no_such(id: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(id, known, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(map(repr, near))}?" if near else "'tidegate camera list' shows all"
    return f"there is no camera {id!r}: {meant}"


def _given(camera: Camera, secret: str | None) -> Credentials | None:
    return None if camera.is_file else secrets.bound(secret, camera.url, unverified=not camera.verify_tls)


async def _write_credentials(js: JetStreamContext, id: str, credentials: Credentials | None) -> None:
    """Write them, or forget them; those before are overwritten on disk, where a purge would leave them."""
    bucket = await _bucket(js, names.CREDENTIALS)
    try:
        await _erase(js, (await bucket.get(id)).revision)
        if credentials is None:
            await bucket.delete(id)
    except KeyNotFoundError as e:
        await check_no_key(js, names.CREDENTIALS, id, e)
    if credentials:
        await bucket.put(id, secrets.encode(credentials))


async def _erase(js: JetStreamContext, revision: int | None) -> None:
    try:
        await js.delete_msg(f"KV_{names.CREDENTIALS}", revision or 0)
    except NotFoundError:  # Somebody else was there first.
        pass
    except APIError as e:
        raise BusError(
            f"a camera's old password can't be erased ({e.description}): run 'tidegate setup', and then this again"
        ) from e


async def _bucket(js: JetStreamContext, bucket: str) -> KeyValue:
    try:
        return await js.key_value(bucket)
    except (BucketNotFoundError, NotFoundError) as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e
