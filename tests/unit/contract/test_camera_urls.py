"""Credentials of a camera's URL: stored apart, hidden in logs, and refused if they are ambiguous."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.cameras import decode as decode_camera
from shared.contract.cameras import new_camera
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
