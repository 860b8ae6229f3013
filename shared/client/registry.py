"""Adds, changes, lists and removes cameras in the buckets `cameras` and `credentials`."""

from __future__ import annotations

import datetime as dt
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from msgspec.structs import replace
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from shared.bus.client import Denied
from shared.bus.log import BATCH, Log
from shared.client import secret_entries
from shared.client.secret_entries import bind
from shared.contract import credentials as secrets
from shared.contract import events, names
from shared.contract.cameras import Camera, apart, changed, decode, encode, encode_removed, joined
from shared.contract.credentials import Credentials
from shared.contract.events import CameraStatus, VideoStatus
from shared.contract.reading.entries import entries
from shared.contract.reading.missing import read_entry
from shared.runtime.errors import BadMessage, BusError, SettingError

E = TypeVar("E", CameraStatus, VideoStatus)


class NoCamera(SettingError):
    """No camera has this id."""


class CameraThere(SettingError):
    """A camera with this id exists already."""


class Change(NamedTuple):
    """A camera and its credentials before and after a change. stored: the new entry of the bucket `cameras`."""

    before: Camera
    after: Camera
    had: Credentials | None
    has: Credentials | None
    stored: Camera


# A concurrent change of the same camera is over within one or two tries.
_TRIES = 20
# Seconds after its removal for which a camera's video may still be published, and be in flight after MEDIA dropped it.
_LATEST_S = 120
# Cameras that an error lists.
_MOST_LISTED = 20


async def add(js: JetStreamContext, id: str, camera: Camera, secret: str | None) -> None:
    """Write a new camera, with the secret that `new_camera` split off its URL.

    Raises CameraThere, and leaves the entry unchanged, if the id exists.
    """
    stored, credentials = apart(camera, _bound(camera, secret))
    bucket = await bind(js, names.CAMERAS)
    taken = CameraThere(
        f"camera {id!r} is there already: 'tidegate camera set {id} …' changes it, 'camera add … --replace' forgets "
        "all of its settings first"
    )
    try:
        await read_entry(js, bucket, names.CAMERAS, names.check_camera(id))
        raise taken
    except KeyNotFoundError:
        pass
    await write_credentials(js, id, credentials)
    try:
        await bucket.create(id, encode(stored))
    except KeyWrongLastSequenceError as e:
        raise taken from e


async def put(js: JetStreamContext, id: str, camera: Camera, secret: str | None) -> None:
    """Write a camera, replacing its entry. Credentials come first, so ingest never finds the camera without them."""
    names.check_camera(id)
    stored, credentials = apart(camera, _bound(camera, secret))
    await write_credentials(js, id, credentials)
    await (await bind(js, names.CAMERAS)).put(id, encode(stored))


async def restore(js: JetStreamContext, id: str, stored: Camera, has: Credentials | None) -> None:
    """Write both entries of a camera as a backup has them, credentials first. None: the present ones stay."""
    names.check_camera(id)
    if has:
        await write_credentials(js, id, has)
    await (await bind(js, names.CAMERAS)).put(id, encode(stored))


async def change(js: JetStreamContext, id: str, fields: Mapping[str, object], *, hide_path: bool = False) -> Change:
    """Change only `fields` of a camera, as `cameras.changed` does, despite concurrent changes.

    hide_path: also move its URL's path to its credentials, if an earlier version left it in the entry.

    Raises NoCamera if there is no such camera, SettingError for an impossible change.
    """
    bucket = await bind(js, names.CAMERAS)
    had = await credentials(js, id)
    for _ in range(_TRIES):
        entry = await _entry(js, bucket, id)
        current = await _credentials_entry(js, id)
        was_stored = decode(entry.value or b"")
        before = joined(was_stored, current)
        after, has = changed(before, _password(current), fields)
        if {"url", "detect"} & fields.keys() or hide_path:
            _check_path_is_here(was_stored, current, fields)
            stored, updated = apart(after, has)
        else:
            stored = replace(after, url=was_stored.url, detect=was_stored.detect)
            updated = _with_paths(has, current, after, fields)
        if updated != current:
            await write_credentials(js, id, updated)
        try:
            await bucket.update(id, encode(stored), last=entry.revision)
        except KeyWrongLastSequenceError:
            continue
        return Change(before, after, had, has, stored)
    raise BusError(f"camera {id!r} is being changed by others all the time: try again")


async def remove(js: JetStreamContext, id: str) -> None:
    """Forget a camera and its credentials. Raises NoCamera if there is none.

    Workers find its settings while MEDIA may have its video; the server expires them.
    """
    bucket = await bind(js, names.CAMERAS)
    entry = await _entry(js, bucket, id)
    with suppress(SettingError):  # An invalid entry has no settings in use.
        await _keep_settings(js, id, decode(entry.value or b""))
    await bucket.delete(id)
    await write_credentials(js, id, None)


async def _keep_settings(js: JetStreamContext, id: str, camera: Camera) -> None:
    media_s = (await js.stream_info(names.MEDIA)).config.max_age or 0
    subject = f"$KV.{names.CAMERAS}.{names.removed(id)}"
    try:
        await js.publish(subject, encode_removed(camera), msg_ttl=math.ceil(media_s) + _LATEST_S)
    except APIError as e:
        raise BusError(f"the settings of camera {id!r} can't be kept for its video: run 'tidegate setup' ({e})") from e


async def read(js: JetStreamContext, id: str) -> Camera:
    """Return a camera with its whole URL, for identities that may read credentials. Raises NoCamera."""
    camera = decode((await _entry(js, await bind(js, names.CAMERAS), id)).value or b"")
    return joined(camera, await _credentials_entry(js, id))


async def credentials(js: JetStreamContext, id: str) -> Credentials | None:
    """Return a camera's password: only admin, the console's operator and ingest may read it."""
    return _password(await _credentials_entry(js, id))


async def _credentials_entry(js: JetStreamContext, id: str) -> Credentials | None:
    """Return a camera's entry in the bucket `credentials`: its password, its URL's path, or both."""
    try:
        entry = await (await bind(js, names.CREDENTIALS)).get(id)
    except KeyNotFoundError:
        return None
    return secrets.decode(entry.value) if entry.value else None


def _password(entry: Credentials | None) -> Credentials | None:
    return replace(entry, path="", detect_path="") if entry and entry.secret else None


def _check_path_is_here(stored: Camera, current: Credentials | None, fields: Mapping[str, object]) -> None:
    """Raise SettingError if a substream changes whose camera's own path is stored for another address."""
    to = secrets.origin(stored.url)
    if "detect" in fields and "url" not in fields and current and current.origin != to:
        was_for = current.origin or "no address"
        raise SettingError(f"the camera's credentials are for {was_for}, and its address is {to}: give --url too")


def _with_paths(
    has: Credentials | None, current: Credentials | None, after: Camera, fields: Mapping[str, object]
) -> Credentials | None:
    """Return the credentials of a camera whose URLs, and so their paths, stay. current: those before."""
    if current is None or not (current.path or current.detect_path):
        return has
    if has is None:
        unverified = not after.verify_tls if "verify_tls" in fields else current.unverified
        return replace(current, secret="", unverified=unverified)
    return replace(has, path=current.path, detect_path=current.detect_path)


async def bind_credentials(js: JetStreamContext) -> list[str]:
    """Bind the entries of earlier versions to the cameras' present addresses; a line for each. Raises BusError.

    Entries that have an address stay: a later change of a camera's entry does not move its password. Passwords of
    removed cameras are erased.
    """
    there = set(await _ids(js))
    done = []
    for id in sorted(await entries(js, names.CREDENTIALS)):
        if id not in there:
            await write_credentials(js, id, None)
            done.append(f"password of camera {id} erased: there is no such camera")
        elif (unbound := await credentials(js, id)) and not unbound.origin:
            done.append(await _bind(js, id, unbound))
    return done


async def _bind(js: JetStreamContext, id: str, unbound: Credentials) -> str:
    try:
        camera = await read(js, id)
        new = secrets.bound(unbound.secret, camera.url, unverified=not camera.verify_tls)
    except SettingError as e:
        return f"password of camera {id} can't be bound to an address: {e}"
    assert new is not None
    await write_credentials(js, id, new)
    return f"password of camera {id} bound to {new.origin}"


async def hide_paths(js: JetStreamContext) -> list[str]:
    """Move paths of URLs from `cameras` to `credentials`, once every ingest reads them there; a line for each.

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
    """Return every camera by id, in the order of their ids; for an invalid entry, the error.

    whole: with the paths of their URLs, for identities that may read credentials.
    """
    found: dict[str, Camera | SettingError] = {}
    stored = await entries(js, names.CAMERAS)
    credentials_by_id = await entries(js, names.CREDENTIALS) if whole else {}
    for id, value in sorted(stored.items()):
        if names.is_removed(id):
            continue
        try:
            found[id] = joined(
                decode(value), secrets.decode(credentials_by_id[id]) if credentials_by_id.get(id) else None
            )
        except SettingError as e:
            found[id] = e
    return found


async def missing(js: JetStreamContext, id: str) -> str:
    """Return a sentence that names the nearest camera; empty if the id exists, or if this user may not read cameras.

    Raises BusError.
    """
    try:
        ids = await _ids(js)
    except Denied:
        return ""
    return "" if id in ids else _no_such(id, ids)


async def check(js: JetStreamContext, wanted: Iterable[str]) -> None:
    """Raise NoCamera, with the nearest ids and the list, for the first of these ids that does not exist."""
    ids = await _ids(js)
    for id in wanted:
        if id not in ids:
            raise NoCamera(f"{_no_such(id, ids)}{_listed(ids)}; --force stores it for a camera that is added later")


def _listed(ids: Sequence[str]) -> str:
    if not ids:
        return " (there are none yet)"
    more = f" and {len(ids) - _MOST_LISTED} more" if len(ids) > _MOST_LISTED else ""
    return f" (there are {', '.join(ids[:_MOST_LISTED])}{more})"


async def last_status(js: JetStreamContext, id: str) -> CameraStatus | None:
    """Return the last status event of a camera; None if EVENTS has none."""
    try:
        raw = await js.get_msg(names.EVENTS, subject=names.event("cameras", id), direct=True)
        return events.decode(raw.data or b"", CameraStatus, names.event("cameras", id))
    except (NotFoundError, BadMessage):
        return None


async def last_statuses(client: Client, ids: Sequence[str]) -> tuple[dict[str, CameraStatus], dict[str, VideoStatus]]:
    """Return the last status and video events of these cameras, by direct get, in few requests.

    Raises nats.errors.Error or TimeoutError if the server does not answer.
    """
    statuses: dict[str, CameraStatus] = {}
    videos: dict[str, VideoStatus] = {}
    async with Log(client, names.EVENTS) as log:
        for begin in range(0, len(ids), BATCH):
            part = ids[begin : begin + BATCH]
            await _last(log, part, CameraStatus, statuses.__setitem__)
            await _last(log, part, VideoStatus, videos.__setitem__)
    return statuses, videos


async def _last(log: Log, ids: Sequence[str], kind: type[E], take: Callable[[str, E], None]) -> None:
    for stored in await log.last_of_each([names.event(kind.kind, id) for id in ids]):
        with suppress(BadMessage):
            take(stored.subject.rpartition(".")[2], events.decode(stored.data, kind, stored.subject))


async def unreadable(js: JetStreamContext, id: str) -> VideoStatus | None:
    """Return why a camera's segments can't be read now; None if they can, as far as is known."""
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


def _no_such(id: str, ids: Sequence[str]) -> str:
    near = difflib.get_close_matches(id, ids, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(map(repr, near))}?" if near else "'tidegate camera list' shows all"
    return f"there is no camera {id!r}: {meant}"


def _bound(camera: Camera, secret: str | None) -> Credentials | None:
    return None if camera.is_file else secrets.bound(secret, camera.url, unverified=not camera.verify_tls)


async def write_credentials(js: JetStreamContext, id: str, credentials: Credentials | None) -> None:
    """Write or delete them; the former ones are overwritten on disk."""
    await secret_entries.write(js, names.CREDENTIALS, id, secrets.encode(credentials) if credentials else None)
