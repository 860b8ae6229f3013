"""A device that is logged in to, on a real socket: its streams, its login, and what a hostile one can't do."""

from __future__ import annotations

import datetime as dt
import gzip
import re
import ssl
from collections.abc import AsyncIterator, Callable
from http.server import BaseHTTPRequestHandler

import pytest

from tests.support.video.onvif_device import (
    MEDIA,
    MEDIA2,
    OnvifDevice,
    Stream,
    endless,
    fault,
    http,
    soap,
)
from tests.support.waiting import patience_s
from tidegate.onvif import http as requests
from tidegate.onvif.device import read
from tidegate.onvif.values import Address, Device, Login, NotAuthorized, OnvifError

PASSWORD = "hunt<er>&2"
LOGIN = Login("viewer", PASSWORD)
STREAMS = [
    Stream("main", "H265", 1920, 1080, "rtsp://10.0.0.7/main", "Main"),
    Stream("<sub>", "H264", 640, 360, "rtsp://me:pw@10.0.0.7:8554/sub?a=1&b=2", "Sub", fps=12.5),
]


@pytest.fixture(autouse=True)
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(requests, "REQUEST_S", patience_s())
    yield


async def _read(device: OnvifDevice, login: Login | None = LOGIN) -> Device:
    found = await read(Address.parse(device.address), login, within_s=4 * patience_s())
    heard = "".join(request.body + str(request.headers) for request in device.heard)
    assert PASSWORD not in heard and "hunt&lt;" not in heard and "Basic" not in heard
    return found


@pytest.mark.parametrize("media", [(MEDIA, MEDIA2), (MEDIA,), (MEDIA2,), ()], ids=["both", "first", "second", "old"])
@pytest.mark.parametrize("digest", [False, True], ids=["token", "digest"])
async def test_its_model_and_its_streams_are_read(media: tuple[str, ...], digest: bool) -> None:
    with OnvifDevice(STREAMS, login=(LOGIN.user, PASSWORD), media=media, digest=digest) as device:
        found = await _read(device)
    assert (found.manufacturer, found.model, found.firmware) == ("ACME", "Model-1", "1.2")
    main, sub = found.profiles
    assert main.codec == ("H265" if MEDIA2 in media else "H264")
    assert (sub.token, sub.name, sub.codec, sub.width, sub.height, sub.fps) == ("<sub>", "Sub", "H264", 640, 360, 12.5)
    assert sub.url == "rtsp://10.0.0.7:8554/sub?a=1&b=2"
    assert found.peers == {device.ip}


@pytest.mark.parametrize("days", [-20_000, -1, 1, 2_000_000])
async def test_a_wrong_clock_is_taken_over(days: int) -> None:
    with OnvifDevice(STREAMS, login=(LOGIN.user, PASSWORD), ahead=dt.timedelta(days=days)) as device:
        assert len((await _read(device)).profiles) == 2


@pytest.mark.parametrize("digest", [False, True], ids=["token", "digest"])
async def test_a_wrong_password_is_tried_once(digest: bool) -> None:
    with OnvifDevice(STREAMS, login=(LOGIN.user, PASSWORD), digest=digest) as device:
        with pytest.raises(NotAuthorized):
            await _read(device, Login(LOGIN.user, "wrong"))
        tokens = [request for request in device.heard if "UsernameToken" in request.body]
        assert len({request.operation for request in tokens}) == 1 and len(tokens) == 1 + digest
        with pytest.raises(NotAuthorized):
            await _read(device, None)


async def test_no_service_url_leads_to_another_host() -> None:
    """A device can name any address for its media service: requests stay at the address that was chosen."""
    with OnvifDevice(STREAMS) as other:
        elsewhere = "".join(
            f"<Service><Namespace>{space}</Namespace><XAddr>{other.service}</XAddr></Service>"
            for space in (MEDIA, MEDIA2)
        )
        answer = soap(f"<GetServicesResponse>{elsewhere}</GetServicesResponse>")
        with OnvifDevice(STREAMS, login=(LOGIN.user, PASSWORD), answers={"GetServices": lambda _: answer}) as device:
            assert len((await _read(device)).profiles) == 2
        assert other.heard == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_no_redirect_is_followed(status: str) -> None:
    with OnvifDevice(STREAMS) as other:
        moved = http(b"", status, f"Location: {other.service}")
        answers = {"GetDeviceInformation": lambda _: moved, "GetServices": lambda _: moved}
        with (
            OnvifDevice(STREAMS, answers=answers | {"GetCapabilities": lambda _: moved}) as device,
            pytest.raises(OnvifError, match="redirects"),
        ):
            await _read(device)
        assert other.heard == []


async def test_basic_authentication_gets_no_password() -> None:
    ask = http(b"", "401 Unauthorized", 'WWW-Authenticate: Basic realm="onvif"')
    with OnvifDevice(STREAMS, answers={"GetDeviceInformation": lambda _: ask}) as device:
        with pytest.raises(NotAuthorized):
            await _read(device)
        assert all("Authorization" not in request.headers for request in device.heard)


def _of(operation: str, inside: str) -> bytes:
    return soap(f"<{operation}Response>{inside}</{operation}Response>")


def _hostile(operation: str) -> dict[str, Callable[[BaseHTTPRequestHandler], bytes | None]]:
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return {
        "endless XML": lambda h: endless(h, b"<a>" * 10_000),
        "endless text": lambda h: endless(h, b"a" * 100_000, b"<a>"),
        "endless refusal": lambda h: (
            h.wfile.write(b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="a", nonce="b"\r\n\r\n'),
            endless(h, b"a" * 100_000),
        )[1],
        "endless headers": lambda h: (
            (h.wfile.write(b"HTTP/1.1 200 OK\r\n"), [h.wfile.write(b"a: b\r\n" * 1000) for _ in range(10**6)])[0]
            and None
        ),
        "entities": lambda _: http(f'<!DOCTYPE a [<!ENTITY e0 "ha">{bomb}]><a>&e9;</a>'.encode()),
        "compressed": lambda _: http(
            gzip.compress(b"<a>" + b"x" * 10**7 + b"</a>"), "200 OK", "Content-Encoding: gzip"
        ),
        "namespaces": lambda _: http(
            f'<a:r xmlns:a="{"u" * 100_000}">{"".join(f"<a:n{n}/>" for n in range(40_000))}</a:r>'.encode()
        ),
        "no HTTP": lambda _: b"\x00\x01\x02",
        "nothing": lambda _: b"",
        "wrong length": lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "wrong digest": lambda _: http(b"", "401 No", "WWW-Authenticate: Digest"),
        "unknown digest": lambda _: http(
            b"", "401 No", 'WWW-Authenticate: Digest realm="a", nonce="b", algorithm=ROT13'
        ),
        "digest of the body": lambda _: http(
            b"", "401 No", 'WWW-Authenticate: Digest realm="a", nonce="b", qop="auth-int"'
        ),
        "escapes": lambda _: fault("ter:InvalidArgs", "\x9b31m\u202egnp.exe"),
        "another answer": lambda _: _of("GetNothing", ""),
        "unknown charset": lambda _: http(b'<?xml version="1.0" encoding="nonsense"?><a/>'),
    }


@pytest.mark.parametrize("operation", ["GetServices", "GetProfiles", "GetStreamUri"])
@pytest.mark.parametrize("kind", list(_hostile("")))
async def test_a_hostile_answer_is_a_sentence(kind: str, operation: str) -> None:
    answer = _hostile(operation)[kind]
    answers = {operation: answer} | ({"GetCapabilities": answer} if operation == "GetServices" else {})
    with OnvifDevice(STREAMS, login=(LOGIN.user, PASSWORD), answers=answers) as device:
        if operation == "GetStreamUri":
            found = await _read(device)
            assert all(p.problem.isprintable() and p.problem and not p.url for p in found.profiles)
            return
        with pytest.raises(OnvifError) as raised:
            await _read(device)
    text = str(raised.value)
    assert text.isprintable() and len(text) < 300 and PASSWORD not in text


async def test_a_slow_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REQUEST_S", 0.5)
    slow = {"GetCapabilities": lambda h: endless(h, b" ", b"<a", every_s=0.1)}
    with (
        OnvifDevice(STREAMS, answers=slow | {"GetServices": slow["GetCapabilities"]}) as device,
        pytest.raises(OnvifError, match="does not answer GetCapabilities"),
    ):
        await _read(device)


async def test_a_device_that_is_slow_at_every_answer_ends() -> None:
    slow = {"GetStreamUri": lambda h: endless(h, b" ", b"<a", every_s=0.1)}
    with OnvifDevice(STREAMS, answers=slow) as device, pytest.raises(OnvifError, match="within 1 s"):
        await read(Address.parse(device.address), LOGIN, within_s=1.0)  # clock: it never answers in full


async def test_thousands_of_profiles_are_counted_and_not_read() -> None:
    many = [Stream(f"p{n}", "H264", 640, 360, "rtsp://10.0.0.7/x") for n in range(2000)]
    with OnvifDevice(many) as device:
        found = await _read(device)
        uris = [request for request in device.heard if request.operation == "GetStreamUri"]
    assert len(found.profiles) == len(uris) == 128 and found.unread == 2000 - 128


async def test_a_token_that_is_markup_stays_a_token() -> None:
    evil = Stream("</ProfileToken><Evil/>", "H264", 640, 360, "rtsp://10.0.0.7/x")
    with OnvifDevice([evil]) as device:
        (profile,) = (await _read(device)).profiles
        (sent,) = [request.body for request in device.heard if request.operation == "GetStreamUri"]
    assert "<Evil/>" not in sent and re.search("&lt;Evil/&gt;", sent) and profile.url


async def test_a_certificate_is_checked_unless_told_otherwise(tls_device: OnvifDevice) -> None:
    address = Address.parse(f"https://{tls_device.address}")
    with pytest.raises(OnvifError, match="certificate"):
        await read(address, LOGIN)
    assert tls_device.heard == []
    assert len((await read(address, LOGIN, verify=False)).profiles) == 2


@pytest.fixture
async def tls_device() -> AsyncIterator[OnvifDevice]:
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with OnvifDevice(STREAMS, login=(LOGIN.user, PASSWORD), tls=context) as device:
        yield device
