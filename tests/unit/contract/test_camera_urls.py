"""Credentials of a camera's URL: stored apart, hidden in logs, and refused if they are ambiguous."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import credentials
from shared.contract.cameras import Camera, apart, changed, joined, new_camera
from shared.contract.cameras import decode as decode_camera
from shared.contract.cameras import encode as encode_camera
from shared.contract.credentials import Credentials
from shared.runtime.errors import SettingError
from shared.runtime.redact import join_credentials, redact, split_credentials

printable = st.text(string.ascii_letters + string.digits + "!@#$%&*:?/ _-", min_size=1, max_size=20)


@given(user=st.text(string.ascii_letters, min_size=1, max_size=10), password=printable)
def test_credentials_round_trip_and_stay_out_of_logs(user: str, password: str) -> None:
    url = join_credentials("rtsp://10.0.0.7:554/stream1", f"{user}:{password.replace('%', '')}")
    bare, found = split_credentials(url)
    assert bare == "rtsp://10.0.0.7:554/stream1"
    assert join_credentials(bare, found) == url
    assert redact(f"can't open {url}: refused") == "can't open rtsp://***@10.0.0.7:554/stream1: refused"


def test_passwords_in_queries_are_redacted() -> None:
    assert redact("rtsp://cam/x?user=me&password=p&channel=1") == "rtsp://cam/x?user=***&password=***&channel=1"
    assert "hunter2" not in redact("can't open rtsp://cam:554/user=admin_password=hunter2_channel=1_stream=0: refused")
    assert "hunter2" not in redact("rtsp://admin:hunter2/x#?@10.0.0.1/stream")


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://cam/x?username=me&password=hunter2&channel=1",
        "rtsp://cam:554/user=admin_password=hunter2_channel=1_stream=0",
        "rtsp://me:hunter2@cam/x?token=hunter2",
    ],
)
def test_credentials_outside_the_user_info_are_stored_apart(url: str) -> None:
    camera, secret = new_camera(url)
    assert "hunter2" not in camera.url
    assert join_credentials(camera.url, secret) == url


def test_a_password_that_would_cut_its_url_is_refused_with_the_remedy() -> None:
    with pytest.raises(SettingError, match="%2F") as refused:
        new_camera("rtsp://admin:hunter2/x@10.0.0.1/stream")
    assert "hunter2" not in str(refused.value)


def test_a_foreign_entry_is_refused() -> None:
    for data in (b"", b"{", b'{"url":"\xff"}', b'{"url":1}', b"[]"):
        with pytest.raises(SettingError):
            decode_camera(data)


paths = st.text(string.ascii_letters + string.digits + "/-_.~", max_size=12).map(lambda text: f"/{text.lstrip('/')}")
queries = st.sampled_from(["", "?channel=1", "?channel=1&subtype=1"])
hosts = st.sampled_from(["rtsp://10.0.0.7", "rtsp://10.0.0.7:8554", "rtsps://cam.example", "rtsp://[::1]:554"])
secrets = st.sampled_from([None, "me:p%40ss", "me:"])


@given(hosts, paths, paths, queries, secrets, st.booleans())
def test_a_camera_comes_apart_and_together_with_both_paths(
    host: str, main: str, sub: str, query: str, secret: str | None, verify: bool
) -> None:
    url = join_credentials(host + main + query, secret)
    if main == sub:
        return
    camera, found = new_camera(url, detect=sub + query, verify_tls=verify)
    assert (camera.url, camera.detect, found) == (host + main + query, host + sub + query, secret)
    has = credentials.bound(secret, camera.url, not verify)
    stored, entry = apart(camera, has)
    assert joined(stored, entry) == camera == joined(decode_camera(encode_camera(stored)), entry)
    for path in (main, sub):
        assert path == "/" or f"{path}{query}" not in f"{stored.url}{stored.detect}".replace(host, "")
    whole = new_camera(url, detect=join_credentials(camera.detect or "", secret), verify_tls=verify)
    assert whole == (camera, secret)


@pytest.mark.parametrize(
    ("url", "detect", "remedy"),
    [
        ("rtsp://a/1", "rtsp://b/2", "a substream is of the same camera"),
        ("rtsp://a/1", "rtsp://a:8554/2", "a substream is of the same camera"),
        ("rtsp://a/1", "rtsps://a/2", "a substream is of the same camera"),
        ("rtsp://a/1", "file:///2.mp4", "a substream is of the same camera"),
        ("file:///1.mp4", "rtsp://a/2", "a substream is of the same camera"),
        ("rtsp://a/1", "rtsp://a/1", "leave detect out"),
        ("rtsp://a/1", "2", "camera detect has no scheme"),
        ("rtsp://a/1", "/a b", "camera detect has a space"),
        ("rtsp://me:pw1@a/1", "rtsp://me:hunter2@a/2", "those of url apply"),
        ("rtsp://a/1", "rtsp://me:hunter2@a/2", "those of url apply"),
        ("rtsp://a/1", "/2?password=hunter2", "a camera of its own"),
        ("rtsp://a/1?password=hunter2", "/2", "a camera of its own"),
    ],
)
def test_a_substream_of_another_camera_is_refused_with_the_remedy(url: str, detect: str, remedy: str) -> None:
    with pytest.raises(SettingError) as refused:
        new_camera(url, detect=detect)
    assert remedy in str(refused.value) and "hunter2" not in str(refused.value)


def test_a_foreign_entry_can_send_no_path_to_another_host() -> None:
    with pytest.raises(SettingError):
        decode_camera(b'{"url":"rtsp://a","detect":"rtsp://b"}')
    entry = Credentials(secret="me:pw", origin="rtsp://a:554", path="/1", detect_path="/2")
    assert joined(Camera(url="rtsp://a", detect="rtsp://b"), entry).detect == "rtsp://b"


HAD = Credentials(secret="me:pw", origin="rtsp://a:554")
TWO = Camera(url="rtsp://a/1", detect="rtsp://a/2")


@pytest.mark.parametrize(
    ("fields", "after", "has"),
    [
        ({"fps": 5.0}, Camera(url="rtsp://a/1", detect="rtsp://a/2", fps=5.0), True),
        ({"detect": "/3"}, Camera(url="rtsp://a/1", detect="rtsp://a/3"), True),
        ({"detect": "rtsp://me:pw@a/3"}, Camera(url="rtsp://a/1", detect="rtsp://a/3"), True),
        ({"detect": None}, Camera(url="rtsp://a/1"), True),
        ({"url": "rtsp://a/4"}, Camera(url="rtsp://a/4", detect="rtsp://a/2"), True),
        ({"url": "rtsp://b/4", "detect": "/5"}, Camera(url="rtsp://b/4", detect="rtsp://b/5"), False),
        ({"url": "rtsp://b/4", "detect": None}, Camera(url="rtsp://b/4"), False),
    ],
)
def test_a_change_of_either_stream_keeps_the_rest(fields: dict[str, object], after: Camera, has: bool) -> None:
    assert changed(TWO, HAD, fields) == (after, HAD if has else None)


def test_a_camera_that_moves_takes_its_substream_along_or_is_refused() -> None:
    with pytest.raises(SettingError, match="give detect too, or unset it"):
        changed(TWO, HAD, {"url": "rtsp://b/1"})
    with pytest.raises(SettingError, match="a camera of its own"):
        changed(TWO, None, {"url": "rtsp://a/1?password=hunter2"})
