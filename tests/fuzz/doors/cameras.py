"""Cameras as a person enters them, and as the buckets hold them."""

from __future__ import annotations

from services.ingest.failures import failure_of
from shared.contract import cameras, credentials
from shared.contract.cameras import Camera
from shared.runtime.errors import SettingError
from shared.runtime.redact import MOST, join_credentials, redact, split_credentials
from tests.fuzz import good, spoil
from tests.fuzz.door import Door

_STORED = {"secret": "user:pass", "origin": "rtsp://10.0.0.7:554"}
_ENTRY = {
    "url": "rtsp://10.0.0.7:554/a?x=1",
    "fps": 2,
    "tiles": "2x1",
    "model": "yard",
    "classes": ["person"],
    "transport": "udp",
}


def _camera(data: bytes) -> None:
    """Handle an entry as ingest does before and after it connects, and show it as the command line does."""
    camera = cameras.decode(data)
    redact(camera.url)
    join_credentials(camera.url, "user:p@ss/w")
    for error in (FileNotFoundError(), OSError(5, "x"), ValueError("x")):
        failure_of(error, camera, None)
    credentials.login("lobby", camera.url, camera.verify_tls, good.as_json(_STORED)[0])
    assert cameras.decode(cameras.encode(camera)) == camera


def _url(data: bytes) -> None:
    """A camera's URL as a person enters it. Its displayed form holds no password."""
    camera, secret = cameras.new_camera(data.decode(errors="surrogateescape"))
    split_credentials(join_credentials(camera.url, secret))


def _credentials(data: bytes) -> None:
    """Handle an entry as ingest does: it sends the credentials to the camera's address, or to none."""
    camera = Camera(url="rtsp://10.0.0.7/stream")
    brought = credentials.login("lobby", camera.url, camera.verify_tls, data)
    url = join_credentials(camera.url, brought.secret)
    assert credentials.origin(url) == "rtsp://10.0.0.7:554"
    if brought.secret and "://" not in brought.secret and len(url) < MOST:
        assert redact(url) == "rtsp://***@10.0.0.7/stream"
    stored = credentials.decode(data)
    cameras.changed(camera, stored, {"fps": 2.0})
    credentials.encode(stored)


DOORS = (
    Door(
        "cameras.entry",
        lambda: good.as_json(_ENTRY, {"url": "file:///a.mp4"}),
        _camera,
        (SettingError,),
        spoil.as_json,
    ),
    Door(
        "cameras.url",
        lambda: [b"rtsp://me:p%40ss@10.0.0.7:554/a?password=x", b"file:///a.mp4", b"rtsps://[::1]/user=a_password=b"],
        _url,
        (SettingError,),
    ),
    Door(
        "cameras.credentials",
        lambda: [*good.as_json(_STORED), b"user:pass", b"rtsp://10.0.0.7/x?password=p"],
        _credentials,
        spoil=spoil.as_json,
    ),
)
