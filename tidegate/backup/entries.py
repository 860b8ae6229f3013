"""Entries of buckets: whether a backup takes them, whether they are valid, what they are without passwords. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from services.console.accounts.records import ApiToken, Group, Person
from services.console.find.saved_searches import SavedSearch
from services.console.review.reviews import Review
from services.webhook import start
from shared.contract import cameras, credentials, endpoint, names, rules
from shared.contract.cameras import Camera
from shared.recordings.policy import DEFAULT, Policy, camera_key, group_key
from shared.runtime.errors import BusError, SettingError

_PEOPLE: Mapping[str, Any] = {"person": Person, "group": Group, "token": ApiToken, "saved": SavedSearch}


def is_taken(bucket: str, key: str, *, passwords: bool) -> bool:
    """Return whether a backup has this entry of one of its buckets.

    Sessions and links end with the server, and so do settings of removed cameras.
    """
    if bucket == names.CAMERAS:
        return not names.is_removed(key)
    if bucket == names.WEBHOOK:
        return key == start.KEY
    if bucket == names.ENDPOINT:
        return key == endpoint.KEY
    kind = key.partition(".")[0]
    return bucket != names.CONSOLE or (kind in _PEOPLE and (passwords or kind != "token"))


def without_passwords(bucket: str, key: str, value: bytes) -> bytes:
    """Return an entry without its password: the hash of a person's, and the path of a camera's URL.

    Raises SettingError if it can't be read.
    """
    if bucket == names.CAMERAS:
        return cameras.encode(cameras.apart(cameras.decode(value), None)[0])
    if bucket == names.CONSOLE and key.startswith("person."):
        return msgspec.json.encode(replace(_decoded(value, Person), password=""))
    return value


def check(bucket: str, key: str, value: bytes) -> None:
    """Raise SettingError for an entry that the services would not accept."""
    if (of_bucket := _CHECKS.get(bucket)) is None:
        raise SettingError(f"entries of bucket {bucket} are not restored")
    try:
        of_bucket(key, value)
    except BusError as e:
        raise SettingError(str(e)) from e


def ttl_s(bucket: str, key: str, value: bytes) -> float | None:
    """Return after how many seconds a valid entry expires, at most 0 if it has; None: never."""
    if bucket == names.CONSOLE and key.startswith("token."):
        token: ApiToken = _decoded(value, ApiToken)
        return token.expires - time.time()
    return None


def is_settled(id: str, camera: bytes, entry: bytes) -> bool:
    """Return whether a camera and its credentials belong together: ingest would send them."""
    try:
        found = cameras.decode(camera)
    except SettingError:
        return True
    return not credentials.login(id, found.url, found.verify_tls, entry).withheld


def camera_of(value: bytes) -> Camera | None:
    """Return the camera of an entry, None if it is none."""
    try:
        return cameras.decode(value)
    except SettingError:
        return None


def _console(key: str, value: bytes) -> None:
    kind, _, name = key.partition(".")
    if kind not in _PEOPLE:
        raise SettingError("it is none of people, groups, tokens and saved searches")
    for token in name.split("."):
        names.check_token(token, "name")
    _decoded(value, _PEOPLE[kind])


def _camera(key: str, value: bytes) -> None:
    names.check_camera(key)
    cameras.decode(value)


def _credentials(key: str, value: bytes) -> None:
    """Accept any value: plain text is of an earlier version."""
    names.check_camera(key)
    credentials.decode(value)


def _rules(key: str, value: bytes) -> None:
    names.check_camera(key)
    rules.decode(value)


def _policy(key: str, value: bytes) -> None:
    scope, _, name = key.partition(".")
    if key != DEFAULT and key not in (camera_key(name), group_key(name)):
        raise SettingError(f"{scope!r} is neither a camera, a group nor the default")
    if key != DEFAULT:
        names.check_token(name, scope)
    _decoded(value, Policy)


def _webhook(key: str, value: bytes) -> None:
    if key != start.KEY:
        raise SettingError("it is not where the webhook starts")
    start.decode(value)


def _endpoint(key: str, value: bytes) -> None:
    if key != endpoint.KEY:
        raise SettingError("it is not the endpoint of the webhook")
    endpoint.decode(value)


def _decoded(value: bytes, type: Any) -> Any:
    try:
        return msgspec.json.decode(value, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise SettingError(f"it can't be read: {e}") from e


_CHECKS: Mapping[str, Callable[[str, bytes], None]] = {
    names.CONSOLE: _console,
    names.REVIEWS: lambda _, value: _decoded(value, Review),
    names.WEBHOOK: _webhook,
    names.ENDPOINT: _endpoint,
    names.RECORDINGS: _policy,
    names.RULES: _rules,
    names.CREDENTIALS: _credentials,
    names.CAMERAS: _camera,
}
