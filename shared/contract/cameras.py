"""A camera's settings, which the bucket `cameras` holds, and its credentials, which the bucket `credentials` holds.

Workers may read `cameras`, for a camera's own fps, classes and score. Of the services, ingest alone may read
`credentials`, which has the path of the camera's URL too: `apart` writes a camera so, `joined` reads it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, get_type_hints
from urllib.parse import urlsplit

import msgspec
import nats.errors
from msgspec import Meta
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from shared.contract import credentials, names
from shared.contract.credentials import Credentials
from shared.contract.missing import check_no_key
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact, split_credentials
from shared.runtime.settings import shown, wanted
from shared.runtime.telemetry import logger

SCHEMES = ("rtsp", "rtsps", "file")
# Settings of this many cameras are remembered.
_MOST_KNOWN = 10_000
# Captions are made no more often than this.
SHORTEST_CAPTION_S = 1.0
# Tiles are written as columns by rows.
TILES = "^[1-4]x[1-4]$"


class Camera(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """url: `rtsp://…`, `rtsps://…` or `file:///…`, without credentials. transport: what RTP goes over.

    verify_tls: whether the certificate of an `rtsps` camera is checked. realtime: whether a file is read at the pace of
    its timestamps, or as fast as the bus takes it. loop: whether a file begins again at its end. priority: high, where
    fewer of its frames are left out than of others while capacity is short. always: whether video in which nothing
    changes is looked at, too. fps, min_score, classes, tiles, caption_every_s, caption_prompt: this camera's own, in
    place of the services' settings.
    """

    url: str
    enabled: bool = True
    transport: Literal["tcp", "udp"] = "tcp"
    verify_tls: bool = True
    realtime: bool = True
    loop: bool = False
    priority: Literal["high"] | None = None
    always: bool = False
    fps: Annotated[float, Meta(gt=0, le=120)] | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    classes: list[str] | None = None
    tiles: str | None = None
    caption_every_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    caption_prompt: Annotated[str, Meta(max_length=4000)] | None = None

    def __post_init__(self) -> None:
        if self.tiles is not None and not re.fullmatch(TILES, self.tiles):
            raise ValueError(f"tiles is {self.tiles!r}: give columns and rows of 1 to 4 each, such as 2x1")
        if 0 < (self.caption_every_s or 0) < SHORTEST_CAPTION_S:
            raise ValueError(f"caption_every_s is {self.caption_every_s:g}: give {SHORTEST_CAPTION_S:g} or more, or 0")

    @property
    def is_file(self) -> bool:
        """Whether it is a file rather than a camera."""
        return self.url.lower().startswith("file:")


def new_camera(url: str, **fields: object) -> tuple[Camera, str | None]:
    """(the camera, its credentials or None) of a URL that may hold credentials. Raises SettingError."""
    _check_scheme(url)
    try:
        bare, secret = split_credentials(url)
        _check_address(bare)
    except ValueError:  # its words may repeat the password
        raise SettingError(
            "camera url can't be read: give an IPv6 address as rtsp://[::1]/path, and percent-encode what is no letter "
            "or digit in a password, as %5B for ["
        ) from None
    return _converted({"url": bare, **fields}), secret


def changed(
    camera: Camera, kept: Credentials | None, fields: Mapping[str, object]
) -> tuple[Camera, Credentials | None]:
    """(camera, credentials) with `fields` changed and all else kept. Raises SettingError.

    A field of None is unset. `url` keeps the credentials where it has their origin, and brings its own or none where it
    does not. `password` of None forgets them, else it is their new one, of `user` or of the user before.
    """
    rest = {name: value for name, value in fields.items() if name not in ("url", "user", "password")}
    new = None
    if isinstance(url := fields.get("url"), str):
        bare, new = new_camera(url)
        rest["url"] = bare.url
    _check_inseparable(kept, new, fields)
    merged = {**msgspec.to_builtins(camera), **rest}
    after = _converted({name: value for name, value in merged.items() if value is not None})
    if after.is_file or ("password" in fields and fields["password"] is None):
        return after, None
    return after, _kept(camera, kept, after, new, fields)


def _kept(
    camera: Camera, kept: Credentials | None, after: Camera, new: str | None, fields: Mapping[str, object]
) -> Credentials | None:
    """The credentials of a camera that becomes `after`. new: those of its new URL.

    What an entry says is not taken on trust: somebody may have written it who may not write credentials.
    """
    unverified = kept is not None and kept.unverified
    unverified = not fields["verify_tls"] if "verify_tls" in fields else unverified
    was_for = (kept.origin or credentials.origin(camera.url)) if kept else ""
    is_for = credentials.origin(after.url)
    if (password := fields.get("password")) is not None:
        if kept and was_for != is_for and "url" not in fields:
            raise SettingError(f"the camera's password was for {was_for}, and its address is {is_for}: give --url too")
        before = new or (kept.secret if kept else None)
        user = fields.get("user")
        secret = credentials.with_password(before, None if user is None else str(user), str(password))
        return credentials.bound(secret, after.url, unverified)
    if new:
        return credentials.bound(new, after.url, unverified)
    if kept is None or ("url" in fields and was_for != is_for):
        return None
    if "url" in fields:
        return credentials.bound(kept.secret, after.url, unverified)
    return msgspec.structs.replace(kept, unverified=unverified)


def _check_inseparable(kept: Credentials | None, new: str | None, fields: Mapping[str, object]) -> None:
    """Raise SettingError where a password that is a part of the URL would be changed without it, or it without that."""
    if kept is None or "://" not in kept.secret:
        return
    if "url" in fields and new is None and "password" not in fields:
        raise SettingError("the camera's password is a part of its URL: give --url with it, or --unset password too")
    if "url" not in fields and "password" in fields:
        raise SettingError("the camera's password is a part of its URL: give --url without it too")


def apart(camera: Camera, has: Credentials | None) -> tuple[Camera, Credentials | None]:
    """Return a camera and its credentials as the buckets hold them: the URL's path is with the credentials.

    A file keeps its path, and so does a camera whose credentials are for another address, or can be bound to none.
    """
    bare, path = _parted(camera.url)
    origin = credentials.origin(camera.url)
    if camera.is_file or not path or not origin or (has and has.origin != origin):
        return camera, has
    held = has or Credentials(secret="", origin=origin, unverified=not camera.verify_tls)
    # A whole URL has its path in it.
    path = "" if "://" in held.secret else path
    return msgspec.structs.replace(camera, url=bare), msgspec.structs.replace(held, path=path)


def joined(camera: Camera, held: Credentials | None) -> Camera:
    """Return a camera with its URL's path, where that may go to its address: the inverse of `apart`."""
    if held is None or camera.is_file or held.origin != credentials.origin(camera.url) or _parted(camera.url)[1]:
        return camera
    if not credentials.may_be_unverified(held, camera.verify_tls):
        return camera
    path = _parted(split_credentials(held.secret)[0])[1] if "://" in held.secret else held.path
    return msgspec.structs.replace(camera, url=camera.url.rstrip("/") + path) if path else camera


def _parted(url: str) -> tuple[str, str]:
    """(scheme and host, what follows: empty for a mere `/`) of a URL."""
    scheme, _, rest = url.partition("://")
    host = urlsplit(url).netloc
    path = rest[len(host) :]
    return f"{scheme}://{host}", "" if path == "/" else path


def _converted(fields: dict[str, object]) -> Camera:
    hints = get_type_hints(Camera, include_extras=True)
    for name, value in fields.items():
        try:
            msgspec.convert(value, hints[name])
        except msgspec.ValidationError as e:
            raise SettingError(f"camera {name} is {shown(value)}: give {wanted(hints[name])}") from e
    try:
        return msgspec.convert(fields, Camera)
    except msgspec.ValidationError as e:
        raise SettingError(f"camera {e}") from e


def _check_scheme(url: str) -> None:
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise SettingError("camera url has a space or a line break in it: give %20 for a space")
    if re.search("[\ud800-\udfff]", url):
        raise SettingError("camera url has bytes in it that are no text: percent-encode them, as %E9")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if not scheme:
        raise SettingError(f"camera url has no scheme: give {redact(f'rtsp://{url}')}, or file:///path for a file")
    if scheme not in SCHEMES:
        raise SettingError(f"camera url has the scheme {scheme!r}: give rtsp://host/path, rtsps://… or file:///path")


def _check_address(bare: str) -> None:
    """Raise SettingError for a URL that leads nowhere. bare: without credentials."""
    if "@" in bare:
        raise SettingError("camera url has an @ after its host: give / # ? of a password as %2F %23 %3F")
    parts = urlsplit(bare)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise SettingError("camera url names no file: give file:///path, with three slashes")
        return
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise SettingError(f"camera url has the port {parts.netloc.rpartition(':')[2]}: give one of 1 to 65535")
    if not parts.hostname:
        raise SettingError(f"camera url has no host: give {parts.scheme}://host/path")


def encode(camera: Camera) -> bytes:
    """A camera as the bucket holds it: JSON."""
    return msgspec.json.encode(camera)


def decode(data: bytes) -> Camera:
    """The camera that the bucket holds. Raises SettingError if the entry was not written by us."""
    try:
        camera = msgspec.json.decode(data, type=Camera)
        _check_scheme(camera.url)
        _check_address(camera.url)
    except (ValueError, RecursionError, SettingError) as e:
        raise SettingError(f"entry in bucket 'cameras' is not a camera: {e}") from e
    return camera


def encode_removed(camera: Camera) -> bytes:
    """What workers need of a camera that was removed, while its video waits: not where it is, and it counts nowhere."""
    return encode(
        Camera(
            url="",
            enabled=False,
            priority=camera.priority,
            always=camera.always,
            fps=camera.fps,
            min_score=camera.min_score,
            classes=camera.classes,
            tiles=camera.tiles,
            caption_every_s=camera.caption_every_s,
            caption_prompt=camera.caption_prompt,
        )
    )


def decode_removed(data: bytes) -> Camera:
    """The inverse of `encode_removed`. Raises SettingError."""
    try:
        return msgspec.json.decode(data, type=Camera)
    except (ValueError, RecursionError) as e:
        raise SettingError(f"entry in bucket 'cameras' has no camera's settings: {e}") from e


class CameraDirectory:
    """Gives a worker a camera's own settings, also for the video that waits of one that was removed.

    It reads them one by one, and remembers each for `ttl_s` seconds.
    """

    def __init__(self, js: JetStreamContext, ttl_s: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._js = js
        self._ttl_s = ttl_s
        self._clock = clock
        self._bucket: KeyValue | None = None
        self._known: dict[str, tuple[float, Camera | None]] = {}

    async def get(self, camera: str) -> Camera | None:
        """The camera; None where there is none. The last that is known, where the bucket does not answer."""
        at, known = self._known.get(camera, (float("-inf"), None))
        if self._clock() - at < self._ttl_s:
            return known
        try:
            self._bucket = self._bucket or await self._js.key_value(names.CAMERAS)
            known = await self._read(self._bucket, camera, was_there=known is not None)
        except (TimeoutError, nats.errors.Error, SettingError) as e:
            logger("cameras").warning("a camera's settings can't be read", camera=camera, error=repr(e))
        self._known.pop(camera, None)
        self._known[camera] = (self._clock(), known)
        # Any publisher of segments can make up names.
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return known

    async def _read(self, bucket: KeyValue, camera: str, *, was_there: bool) -> Camera | None:
        for key, decoded in ((camera, decode), (names.removed(camera), decode_removed)):
            try:
                entry = await bucket.get(key)
            except KeyNotFoundError as e:
                if was_there:
                    await check_no_key(self._js, names.CAMERAS, key, e)
                continue
            return decoded(entry.value) if entry.value else None
        return None
