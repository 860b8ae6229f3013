"""A camera's settings, which the bucket `cameras` holds, and its credentials, which the bucket `credentials` holds.

Workers may read `cameras`, for a camera's own fps, classes and score. Of the services, only ingest may read
`credentials`, which also has the path of the camera's URL: `apart` splits a camera, `joined` restores it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, get_type_hints
from urllib.parse import unquote, urlsplit

import msgspec
import nats.errors
from msgspec import Meta
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from shared.contract import credentials, names
from shared.contract.credentials import Credentials
from shared.contract.reading.missing import read_entry
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact, split_credentials
from shared.runtime.settings import shown, wanted
from shared.runtime.telemetry import logger

SCHEMES = ("rtsp", "rtsps", "file")
# The settings of at most this many cameras are cached.
_MOST_CACHED = 10_000
# Captions are at least this far apart.
SHORTEST_CAPTION_S = 1.0
# A caption covers at most half of MEDIA's ten minutes: a job may wait that long again before its video expires.
LONGEST_CAPTION_S = 300.0
# Tiles are columns by rows.
TILES = "^[1-4]x[1-4]$"


class Camera(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """url: `rtsp://…`, `rtsps://…` or `file:///…`, without credentials. detect: its substream, which is analysed in
    place of `url`; of the same scheme, host and port. transport: of RTP.

    verify_tls: whether the certificate of an `rtsps` camera is checked. realtime: whether a file is read at the rate of
    its timestamps, or as fast as the bus takes it. loop: whether a file restarts at its end. priority: high: fewer of
    its frames are deferred than of other cameras while capacity is short. always: whether static scenes are analysed,
    too. model: the detector that analyses it, by a name of CV_MODELS; None: CV_MODEL. fps, min_score, classes, tiles,
    caption_every_s, caption_prompt: this camera's own values, which override the services' settings.
    """

    url: str
    detect: str | None = None
    enabled: bool = True
    transport: Literal["tcp", "udp"] = "tcp"
    verify_tls: bool = True
    realtime: bool = True
    loop: bool = False
    priority: Literal["high"] | None = None
    always: bool = False
    model: names.Token | None = None
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
        """Return whether it is a file rather than a camera."""
        return self.url.lower().startswith("file:")


def new_camera(url: str, **fields: object) -> tuple[Camera, str | None]:
    """Return (the camera, its credentials or None) of a URL that may hold credentials. Raises SettingError.

    detect: a URL, also with the credentials of `url`, or a path at the address of `url`.
    """
    bare, secret = _split(url, "url")
    fields, login = _with_substream({**fields, "url": bare})
    check_substream_login(fields.get("detect"), login, secret)
    return _converted(fields), secret


def _split(url: str, field: str) -> tuple[str, str | None]:
    """Return (a URL without credentials, these or None). Raises SettingError that names the field of the camera."""
    _check_scheme(url, field)
    try:
        bare, secret = split_credentials(url)
        _check_address(bare, field)
    except ValueError:  # its text may repeat the password
        raise SettingError(
            f"camera {field} can't be read: give an IPv6 address as rtsp://[::1]/path, and percent-encode what is no "
            "letter or digit in a password, as %5B for ["
        ) from None
    return bare, secret


def _with_substream(fields: dict[str, object]) -> tuple[dict[str, object], str | None]:
    """Return (the fields with the whole URL of the substream, the credentials in it). Raises SettingError."""
    url, detect = str(fields["url"]), fields.get("detect")
    if not isinstance(detect, str):
        return fields, None
    if detect.startswith("/") and not detect.startswith("//"):
        detect = _parted(url)[0] + detect
    bare, login = _split(detect, "detect")
    check_same_address(url, bare)
    if bare == url:
        raise SettingError("camera detect is its url: give the path of its substream, or leave detect out")
    return {**fields, "detect": bare}, login


def check_same_address(url: str, detect: str) -> None:
    """Raise SettingError unless a substream has the scheme, host and port of its camera. Both without credentials."""
    at, wanted = (credentials.origin(part) or _parted(part)[0] for part in (detect, url))
    if at != wanted:
        raise SettingError(
            f"camera detect is at {at}, and url at {wanted}: a substream is of the same camera, so give its path "
            "alone, such as /stream2; another device is a camera of its own"
        )


def check_substream_login(detect: object, login: str | None, secret: str | None) -> None:
    """Raise SettingError if a substream can't use its camera's credentials. login: in its own URL."""
    if detect is None:
        return
    if any("://" in (part or "") for part in (login, secret)):
        raise SettingError(
            "a camera whose password is in its URL's path or query can't have detect: give user:password before the "
            "host, or add its substream as a camera of its own"
        )
    # A user alone is that of a password that comes apart.
    if login is not None and _decoded(login) != _decoded(secret or "")[: login.count(":") + 1]:
        raise SettingError("camera detect has another user or password than url: leave them out, those of url apply")


def _decoded(login: str) -> tuple[str, ...]:
    return tuple(unquote(part) for part in login.split(":", 1))


def changed(
    camera: Camera, stored: Credentials | None, fields: Mapping[str, object]
) -> tuple[Camera, Credentials | None]:
    """Return (camera, credentials) with only `fields` changed. Raises SettingError.

    A field of None is unset. `url` keeps the credentials if its origin is theirs; otherwise it brings its own or none.
    `password` of None removes them, else it is their new one, of `user` or of the user before.
    """
    rest = {name: value for name, value in fields.items() if name not in ("url", "user", "password")}
    new = None
    if isinstance(url := fields.get("url"), str):
        rest["url"], new = _split(url, "url")
    _check_inseparable(stored, new, fields)
    merged = {**msgspec.to_builtins(camera), **rest}
    if camera.detect and "detect" not in fields:
        _check_substream_follows(camera.url, str(merged["url"]))
    merged, login = _with_substream({name: value for name, value in merged.items() if value is not None})
    after, has = _converted(merged), None
    if not (after.is_file or ("password" in fields and fields["password"] is None)):
        has = _credentials_after(camera, stored, after, new, fields)
    check_substream_login(after.detect, login, has.secret if has else None)
    return after, has


def _check_substream_follows(before: str, after: str) -> None:
    """Raise SettingError if a camera's substream would stay at an address that the camera leaves."""
    if credentials.origin(before) != credentials.origin(after):
        raise SettingError(
            f"camera url moves to {credentials.origin(after) or 'another address'}, and its substream is at "
            f"{credentials.origin(before) or 'its old one'}: give detect too, or unset it"
        )


def _credentials_after(
    camera: Camera, stored: Credentials | None, after: Camera, new: str | None, fields: Mapping[str, object]
) -> Credentials | None:
    """Return the credentials of a camera that becomes `after`. new: those of its new URL.

    An entry is not trusted: its writer may lack the right to write credentials.
    """
    unverified = stored is not None and stored.unverified
    unverified = not fields["verify_tls"] if "verify_tls" in fields else unverified
    was_for = (stored.origin or credentials.origin(camera.url)) if stored else ""
    is_for = credentials.origin(after.url)
    if (password := fields.get("password")) is not None:
        if stored and was_for != is_for and "url" not in fields:
            raise SettingError(f"the camera's password was for {was_for}, and its address is {is_for}: give --url too")
        before = new or (stored.secret if stored else None)
        user = fields.get("user")
        secret = credentials.with_password(before, None if user is None else str(user), str(password))
        return credentials.bound(secret, after.url, unverified)
    if new:
        return credentials.bound(new, after.url, unverified)
    if stored is None or ("url" in fields and was_for != is_for):
        return None
    if "url" in fields:
        return credentials.bound(stored.secret, after.url, unverified)
    return msgspec.structs.replace(stored, unverified=unverified)


def _check_inseparable(stored: Credentials | None, new: str | None, fields: Mapping[str, object]) -> None:
    """Raise SettingError if a password that is part of the URL would change without the URL, or the reverse."""
    if stored is None or "://" not in stored.secret:
        return
    if "url" in fields and new is None and "password" not in fields:
        raise SettingError("the camera's password is a part of its URL: give --url with it, or --unset password too")
    if "url" not in fields and "password" in fields:
        raise SettingError("the camera's password is a part of its URL: give --url without it too")


def apart(camera: Camera, has: Credentials | None) -> tuple[Camera, Credentials | None]:
    """Return a camera and its credentials as the buckets hold them: the paths of its URLs are with the credentials.

    A file keeps its path; so does a camera whose credentials are for another address, or can't be bound.
    """
    url, path = _pathless(camera.url)
    detect, detect_path = _pathless(camera.detect) if camera.detect else (camera.detect, "")
    origin = credentials.origin(camera.url)
    if camera.is_file or not (path or detect_path) or not origin or (has and has.origin != origin):
        return camera, has
    entry = has or Credentials(secret="", origin=origin, unverified=not camera.verify_tls)
    # A whole URL includes its path.
    path = "" if "://" in entry.secret else path
    entry = msgspec.structs.replace(entry, path=path, detect_path=detect_path)
    return msgspec.structs.replace(camera, url=url, detect=detect), entry


def joined(camera: Camera, entry: Credentials | None) -> Camera:
    """Return a camera with the paths of its URLs, if its address may get them: the inverse of `apart`."""
    if entry is None or camera.is_file or entry.origin != credentials.origin(camera.url):
        return camera
    if not credentials.may_be_unverified(entry, camera.verify_tls):
        return camera
    path = _parted(split_credentials(entry.secret)[0])[1] if "://" in entry.secret else entry.path
    detect = camera.detect
    if detect and credentials.origin(detect) == entry.origin:
        detect = _with_path(detect, entry.detect_path)
    return msgspec.structs.replace(camera, url=_with_path(camera.url, path), detect=detect)


def _pathless(url: str) -> tuple[str, str]:
    """Return (a URL without its path, the path). A URL with a mere `/` stays as it is."""
    bare, path = _parted(url)
    return (bare, path) if path else (url, "")


def _with_path(url: str, path: str) -> str:
    """Return a URL with the path that is stored apart. An entry of an earlier version has its own."""
    return url.rstrip("/") + path if path and not _parted(url)[1] else url


def _parted(url: str) -> tuple[str, str]:
    """Return (scheme and host, the rest: empty for a mere `/`) of a URL."""
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


def _check_scheme(url: str, field: str = "url") -> None:
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise SettingError(f"camera {field} has a space or a line break in it: give %20 for a space")
    if re.search("[\ud800-\udfff]", url):
        raise SettingError(f"camera {field} has bytes in it that are no text: percent-encode them, as %E9")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if not scheme:
        raise SettingError(f"camera {field} has no scheme: give {redact(f'rtsp://{url}')}, or file:///path for a file")
    if scheme not in SCHEMES:
        raise SettingError(
            f"camera {field} has the scheme {scheme!r}: give rtsp://host/path, rtsps://… or file:///path"
        )


def _check_address(bare: str, field: str = "url") -> None:
    """Raise SettingError for a URL that leads nowhere. bare: without credentials."""
    if "@" in bare:
        raise SettingError(f"camera {field} has an @ after its host: give / # ? of a password as %2F %23 %3F")
    parts = urlsplit(bare)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise SettingError(f"camera {field} names no file: give file:///path, with three slashes")
        return
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise SettingError(f"camera {field} has the port {parts.netloc.rpartition(':')[2]}: give one of 1 to 65535")
    if not parts.hostname:
        raise SettingError(f"camera {field} has no host: give {parts.scheme}://host/path")


def encode(camera: Camera) -> bytes:
    """Return a camera as the bucket holds it: JSON."""
    return msgspec.json.encode(camera)


def decode(data: bytes) -> Camera:
    """Return the camera of an entry. Raises SettingError for an entry that is not ours."""
    try:
        camera = msgspec.json.decode(data, type=Camera)
        _check_scheme(camera.url)
        _check_address(camera.url)
        if camera.detect is not None:
            _check_scheme(camera.detect, "detect")
            _check_address(camera.detect, "detect")
            check_same_address(camera.url, camera.detect)
    except (ValueError, RecursionError, SettingError) as e:
        raise SettingError(f"entry in bucket 'cameras' is not a camera: {e}") from e
    return camera


def encode_removed(camera: Camera) -> bytes:
    """Return the settings that workers need for the waiting video of a removed camera: no address, and not counted."""
    return encode(
        Camera(
            url="",
            enabled=False,
            priority=camera.priority,
            always=camera.always,
            model=camera.model,
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
    """Gives a worker a camera's own settings, also for the waiting video of a removed camera.

    It reads them one by one, and caches each for `ttl_s` seconds.
    """

    def __init__(self, js: JetStreamContext, ttl_s: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._js = js
        self._ttl_s = ttl_s
        self._clock = clock
        self._bucket: KeyValue | None = None
        self._cached: dict[str, tuple[float, Camera | None]] = {}

    async def get(self, camera: str) -> Camera | None:
        """Return the camera; None if there is none. If the bucket does not answer, the last cached value."""
        at, cached = self._cached.get(camera, (float("-inf"), None))
        if self._clock() - at < self._ttl_s:
            return cached
        try:
            self._bucket = self._bucket or await self._js.key_value(names.CAMERAS)
            cached = await self._read(self._bucket, camera, was_there=cached is not None)
        except (TimeoutError, nats.errors.Error, SettingError) as e:
            logger("cameras").warning("a camera's settings can't be read", camera=camera, error=repr(e))
        self._cached.pop(camera, None)
        self._cached[camera] = (self._clock(), cached)
        # Any publisher of segments can invent names.
        if len(self._cached) > _MOST_CACHED:
            del self._cached[next(iter(self._cached))]
        return cached

    async def _read(self, bucket: KeyValue, camera: str, *, was_there: bool) -> Camera | None:
        for key, decoded in ((camera, decode), (names.removed(camera), decode_removed)):
            try:
                if was_there:
                    entry = await read_entry(self._js, bucket, names.CAMERAS, key)
                else:
                    entry = await bucket.get(key)
            except KeyNotFoundError:
                continue
            return decoded(entry.value) if entry.value else None
        return None
