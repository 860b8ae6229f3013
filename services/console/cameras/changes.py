"""Adds, changes and removes cameras, for people with the right to; the audit log is written first.

The person who sets a camera's address decides what it shows, so they need the right to every camera. A file, which
ingest reads on its own machine, needs an admin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.console.cameras.answers import OpenedCamera
from services.console.cameras.fields import ChangedCamera, NewCamera, TriedCamera
from services.console.cameras.state import Cameras
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.refused import Refused
from shared.client import registry
from shared.client.registry import CameraThere, NoCamera
from shared.contract import cameras, credentials
from shared.contract.cameras import Camera
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact

_PATIENCE_S = 2.0
_POLL_S = 0.01


async def add(page: Cameras, asker: Asker, new: NewCamera) -> str:
    """Add a camera and return its id. Raises Refused, SettingError."""
    _check_sees_all(asker)
    if new.id in page.console.cameras.values:
        raise _conflict(new.id)
    camera, secret = _new_camera(new)
    _check_file(asker, camera)
    if not camera.is_file:
        # Raises for credentials that can't be sent.
        credentials.bound(secret, camera.url, unverified=not camera.verify_tls)
    await page.console.audit(
        asker, "camera.add", camera=new.id, **_audit_entry(new.set_fields(), camera, secret is not None)
    )
    try:
        await registry.add(page.console.links.operator.jetstream(), new.id, camera, secret)
    except CameraThere as e:
        raise _conflict(new.id) from e
    await _until(lambda: new.id in page.console.cameras.values)
    return new.id


async def change(page: Cameras, asker: Asker, id: str, wanted: ChangedCamera) -> list[str]:
    """Change a camera and return notices for the person. Raises Refused, SettingError."""
    fields = _fields(asker, wanted)
    if not fields:
        raise Refused(400, "nothing is to be changed: give at least one setting")
    js = page.console.links.operator.jetstream()
    before = await _read(page, asker, id)
    after, entry = cameras.changed(before, await registry.credentials(js, id), fields)
    _check_file(asker, after, before)
    await page.console.audit(asker, "camera.change", camera=id, **_audit_entry(fields, after, entry is not None))
    try:
        changed = await registry.change(js, id, fields)
    except NoCamera as e:
        raise _none(id) from e
    await _until(lambda: page.console.cameras.values.get(id) == cameras.encode(changed.stored))
    return _notices(changed, fields)


async def remove(page: Cameras, asker: Asker, id: str) -> None:
    """Remove a camera. Raises Refused."""
    access.camera(asker, id, page.console.cameras.values)
    await page.console.audit(asker, "camera.remove", camera=id)
    try:
        await registry.remove(page.console.links.operator.jetstream(), id)
    except NoCamera as e:
        raise _none(id) from e
    await _until(lambda: id not in page.console.cameras.values)


async def open_once(page: Cameras, asker: Asker, wanted: TriedCamera) -> OpenedCamera:
    """Open a camera, new or changed, before it is saved. Raises Refused, SettingError."""
    js = page.console.links.operator.jetstream()
    if wanted.camera is None:
        if wanted.url is msgspec.UNSET:
            raise Refused(400, "give a url, or the id of a camera that there is")
        _check_sees_all(asker)
        camera, secret = _new_camera(wanted)
        entry = credentials.bound(secret, camera.url, unverified=not camera.verify_tls)
    else:
        fields = _fields(asker, wanted)
        camera = await _read(page, asker, wanted.camera)
        camera, entry = cameras.changed(camera, await registry.credentials(js, wanted.camera), fields)
    encoded = credentials.encode(entry) if entry else b""
    login = credentials.login(wanted.camera or "…", camera.url, camera.verify_tls, encoded)
    await page.console.audit(asker, "camera.test", camera=wanted.camera, url=_public_url(camera))
    tried = await page.trial.open(camera, login.secret)
    if tried.error and login.withheld:
        return msgspec.structs.replace(tried, error=f"{tried.error}; {login.withheld}")
    return tried


def _fields(asker: Asker, wanted: ChangedCamera | TriedCamera) -> dict[str, Any]:
    """Return the fields to change. Raises Refused, and SettingError for a user without a password."""
    fields = {name: value for name, value in wanted.set_fields().items() if name != "camera"}
    if {"url", "detect"} & fields.keys():
        _check_sees_all(asker)
    if fields.get("user") and fields.get("password") is None:
        raise SettingError("give the user's password, too: nobody can read the one that is kept")
    if fields.get("user") is None:
        fields.pop("user", None)
    return fields


def _new_camera(new: NewCamera | TriedCamera) -> tuple[Camera, str | None]:
    """Return a camera, and its credentials if any. Raises SettingError."""
    apart = ("id", "camera", "url", "user", "password")
    own = {name: value for name, value in new.set_fields().items() if name not in apart and value is not None}
    camera, secret = cameras.new_camera(str(new.url), **own)
    user, password = (value or None for value in (new.user, new.password))
    if user and not password:
        raise SettingError("give the user's password, too")
    if password:
        secret = credentials.with_password(secret, str(user) if user else None, str(password))
    return camera, secret


async def _read(page: Cameras, asker: Asker, id: str) -> Camera:
    """Read a camera. Raises Refused if there is none, or they may not see it."""
    access.camera(asker, id, page.console.cameras.values)
    try:
        return await registry.read(page.console.links.operator.jetstream(), id)
    except NoCamera as e:
        # The registry's own error names cameras with similar ids.
        raise _none(id) from e


async def _until(is_current: Callable[[], bool]) -> None:
    """Wait until the console's mirror has the change, so that the next answer shows it. A timeout undoes nothing."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            while not is_current():
                await asyncio.sleep(_POLL_S)


def _check_sees_all(asker: Asker) -> None:
    if asker.cameras is not None:
        raise Refused(
            403, "whoever gives a camera its address decides what it shows, and so has to see all cameras: ask an admin"
        )


def _check_file(asker: Asker, camera: Camera, before: Camera | None = None) -> None:
    is_new = before is None or (before.url, before.detect) != (camera.url, camera.detect)
    if camera.is_file and is_new and not asker.may("admin"):
        raise Refused(403, "a file is read on the machine that ingest runs on: ask an admin, or give rtsp://…")


def _conflict(id: str) -> Refused:
    return Refused(409, f"there is a camera {id!r} already: take another id")


def _none(id: str) -> Refused:
    return Refused(404, f"there is no camera {id[:64]!r}")


def _audit_entry(fields: Mapping[str, Any], camera: Camera, has_credentials: bool) -> dict[str, Any]:
    """Return a change's audit entry, without secrets."""
    entry = {name: value for name, value in fields.items() if name not in ("id", "url", "user", "password")}
    if {"url", "detect"} & fields.keys():
        entry["url"] = _public_url(camera)
    if "detect" in entry:
        entry["detect"] = camera.detect is not None
    if {"url", "user", "password"} & fields.keys():
        entry["has_credentials"] = has_credentials
    return entry


def _public_url(camera: Camera) -> str:
    """Return its address without credentials; a URL's path counts as one."""
    return redact(camera.url) if camera.is_file else credentials.origin(camera.url)


def _notices(changed: registry.Change, fields: Mapping[str, Any]) -> list[str]:
    """Return notices about the password, for the person who changed a camera."""
    if changed.has:
        stored_credentials = credentials.encode(changed.has)
        withheld = credentials.login("…", changed.after.url, changed.after.verify_tls, stored_credentials).withheld
        return [withheld] if withheld else []
    if changed.had and not changed.after.is_file and "password" not in fields:
        was_for = changed.had.origin or "its old address"
        return [f"its password was for {was_for} and is forgotten: give the one for its new address"]
    return []
