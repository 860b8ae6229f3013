"""Addresses of devices, the profile that suits, and streams on other hosts."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.runtime.errors import SettingError
from tests.support.examples import examples
from tidegate.onvif.choice import CODECS, LEAST_WIDTH, choices, chosen, foreign_host, suited
from tidegate.onvif.values import Address, Device, Login, Profile


@pytest.mark.parametrize(
    ("text", "url", "short"),
    [
        ("10.0.0.7", "http://10.0.0.7:80/onvif/device_service", "10.0.0.7"),
        ("Camera.local:8000", "http://camera.local:8000/onvif/device_service", "camera.local:8000"),
        ("https://10.0.0.7", "https://10.0.0.7:443/onvif/device_service", "https://10.0.0.7:443/onvif/device_service"),
        ("http://10.0.0.7:8899/x?y=1", "http://10.0.0.7:8899/x?y=1", "http://10.0.0.7:8899/x?y=1"),
        ("[fe80::1]:80", "http://[fe80::1]:80/onvif/device_service", "[fe80::1]"),
    ],
)
def test_an_address_is_read_and_written_back(text: str, url: str, short: str) -> None:
    address = Address.parse(text)
    assert (address.url, address.short) == (url, short)
    assert Address.parse(short) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://10.0.0.7",
        "10.0.0.7:0",
        "10.0.0.7:x",
        "http://[::1",
        "a b",
        "10.0.0.7/a b",
        "h/" + "x" * 2000,
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingError, match=r"ADDRESS.*10\.0\.0\.7:8000"):
        Address.parse(text)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingError, match="--user") as refused:
        Address.parse("http://me:hunter2@10.0.0.7")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(Login("me", "hunter2")) + str(Login("me", "hunter2"))


@settings(max_examples=examples(300))
@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z0-9.@:\[\]]{0,20}/[!-~]{0,20}", fullmatch=True))
def test_no_url_of_a_device_leads_to_another_origin(url: str) -> None:
    address = Address.parse("10.0.0.7:8000")
    found = address.at(url)
    sent_to = httpx.URL(found.url)
    assert (sent_to.scheme, sent_to.host, sent_to.port, sent_to.userinfo) == ("http", "10.0.0.7", 8000, b"")


_PROFILES = st.lists(
    st.builds(
        Profile,
        token=st.uuids().map(str),
        name=st.sampled_from(["main", "sub"]),
        source=st.sampled_from(["a", "b"]),
        codec=st.sampled_from(["H264", "H265", "JPEG", ""]),
        width=st.sampled_from([0, 320, 640, 1280, 3840]),
        height=st.sampled_from([0, 240, 360, 720, 2160]),
        url=st.sampled_from(["", "rtsp://10.0.0.7/x"]),
    ),
    max_size=8,
)


def _size(token: str, width: int, height: int, **fields: object) -> Profile:
    usual = {"name": token, "codec": "H264", "fps": 25.0, "url": f"rtsp://10.0.0.7/{token}"}
    return Profile(token, width=width, height=height, **usual | fields)  # type: ignore[arg-type]


@settings(max_examples=examples(300))
@given(_PROFILES)
def test_the_smallest_wide_enough_profile_of_each_source_suits(profiles: list[Profile]) -> None:
    usable = [p for p in profiles if p.codec in CODECS and p.url]
    best = suited(profiles)
    assert {p.source for p in best} == {p.source for p in usable} and len(best) == len({p.source for p in best})
    for one in best:
        widths = [p.width for p in usable if p.source == one.source]
        assert one.width == min((width for width in widths if width >= LEAST_WIDTH), default=max(widths))


@settings(max_examples=examples(300))
@given(_PROFILES)
def test_a_main_stream_is_the_largest_of_its_source(profiles: list[Profile]) -> None:
    distinct = [p._replace(url=p.url and f"{p.url}/{n}") for n, p in enumerate(profiles)]
    for choice in choices(distinct):
        group = [p for p in distinct if p.codec in CODECS and p.url and p.source == choice.main.source]
        largest = max(p.width * p.height for p in group)
        if choice.detect:
            assert choice.main.width * choice.main.height == largest > choice.detect.width * choice.detect.height
        else:
            assert choice.main.width * choice.main.height == largest


@pytest.mark.parametrize(
    ("profiles", "main", "detect", "reason"),
    [
        ([_size("1", 3840, 2160), _size("2", 640, 360), _size("3", 320, 240)], "1", "2", "2 (H264 640x360 at 25 fps)"),
        ([_size("1", 3840, 2160), _size("2", 640, 360, fps=1.0), _size("3", 704, 576)], "1", "3", "is large enough"),
        ([_size("1", 1280, 720), _size("2", 320, 240)], "1", None, "no profile is larger"),
        ([_size("1", 320, 240)], "1", None, "is under 640 pixels wide"),
        ([_size("1", 1280, 720), _size("2", 640, 360, url="rtsp://10.0.0.7:8554/2")], "2", None, "10.0.0.7:8554"),
        ([_size("1", 1280, 720), _size("2", 640, 360, url="rtsp://10.0.0.7/1")], "2", None, "detect is its url"),
    ],
)
def test_a_substream_is_taken_or_the_reason_is_given(
    profiles: list[Profile], main: str, detect: str | None, reason: str
) -> None:
    (choice,) = choices(profiles)
    assert (choice.main.token, choice.detect.token if choice.detect else None) == (main, detect)
    assert reason in choice.reason
    alone = chosen(Device(profiles=tuple(profiles)), None, one_stream=True)
    assert (alone.main, alone.detect) == (choice.analysed, None)


def _profile(token: str, **fields: object) -> Profile:
    return Profile(token, **{"name": "main", "codec": "H264", "width": 1280, "url": "rtsp://10.0.0.7/x"} | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("profiles", "name", "answer"),
    [
        ([_profile("1")], None, "1"),
        ([_profile("1"), _profile("2", name="sub", width=640)], None, "2"),
        ([_profile("1"), _profile("2", name="sub")], "sub", "2"),
        ([_profile("1", name="2"), _profile("2")], "2", "2"),
        ([_profile("1", source="a"), _profile("2", source="b")], None, "2 video sources.*1, 2"),
        ([_profile("1"), _profile("2")], "main", "give the token of one, 1, 2"),
        ([_profile("1")], "other", "no profile 'other': it has 1"),
        ([_profile("1", codec="JPEG")], "1", "JPEG video"),
        ([_profile("1", codec="JPEG")], None, "no profile"),
        ([_profile("1", url="", problem="the device names no URL")], "1", "names no URL"),
        ([], None, "no profile"),
    ],
)
def test_a_profile_is_chosen_or_the_reason_is_given(profiles: list[Profile], name: str | None, answer: str) -> None:
    device = Device(profiles=tuple(profiles))
    if answer in ("1", "2"):
        assert chosen(device, name).analysed.token == answer
    else:
        with pytest.raises(SettingError, match=answer):
            chosen(device, name)


@pytest.mark.parametrize(
    ("url", "foreign"),
    [
        ("rtsp://10.0.0.7/x", ""),
        ("rtsp://10.0.0.7:8554/x", ""),
        ("rtsp://CAM.local/x", ""),
        ("rtsp://cam.local./x", ""),
        ("rtsp://10.0.0.8/x", "10.0.0.8"),
        ("rtsp://10.0.0.7.evil.example/x", "10.0.0.7.evil.example"),
        ("rtsp://[::ffff:10.0.0.7]/x", ""),
        ("rtsp://localhost/x", "localhost"),
    ],
)
def test_a_stream_on_another_host_is_noticed(url: str, foreign: str) -> None:
    device = Device(peers=frozenset({"10.0.0.7"}))
    assert foreign_host(Profile("1", "", url=url), Address.parse("cam.local"), device) == foreign
