"""Messages of WS-Discovery and ONVIF: requests, and the reading of answers."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib

import pytest

from tests.support.video.onvif_device import fault, soap
from tidegate.onvif import media, probe
from tidegate.onvif.elements import parse
from tidegate.onvif.soap import body, digest, envelope
from tidegate.onvif.values import BadAnswer, Login, NotAuthorized, OnvifError, Profile

ID = "0a8dc0d1-0000-4000-8000-000000000001"
NOW = dt.datetime(2026, 12, 2, 10, 0, 0, tzinfo=dt.UTC)


def _match(xaddrs: str, scopes: str = "", *, relates: str = f"uuid:{ID}", endpoint: str = "urn:uuid:1") -> bytes:
    return (
        f"<e:Envelope><e:Header><w:RelatesTo>{relates}</w:RelatesTo></e:Header><e:Body><d:ProbeMatches><d:ProbeMatch>"
        f"<w:EndpointReference><w:Address>{endpoint}</w:Address></w:EndpointReference><d:Scopes>{scopes}</d:Scopes>"
        f"<d:XAddrs>{xaddrs}</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"
    ).encode()


def test_a_question_names_its_id_and_its_type() -> None:
    root = parse(probe.question(ID, "tds:Device"))
    assert root.text("Header", "MessageID") == f"urn:uuid:{ID}"
    assert root.text("Body", "Probe", "Types") == "tds:Device"


def test_a_device_is_read_from_its_answer() -> None:
    scopes = " ".join(
        f"onvif://www.onvif.org/{scope}" for scope in ("name/Front%20Door", "hardware/M-1", "mfr/ACME", "location/gate")
    )
    (found,) = probe.answers(_match("http://10.0.0.7:8000/onvif/device_service", scopes), frozenset({ID}), "10.0.0.7")
    assert (found.name, found.model, found.manufacturer, found.location) == ("Front Door", "M-1", "ACME", "gate")
    assert found.address and found.address.short == "10.0.0.7:8000"


@pytest.mark.parametrize(
    "xaddrs",
    [
        "",
        "http://127.0.0.1:8222/",
        "http://10.0.0.8/",
        "http://10.0.0.7@10.0.0.8/",
        "file:///etc",
        "http://[",
        "http://x:y",
    ],
)
def test_an_address_that_is_not_the_senders_is_left_out(xaddrs: str) -> None:
    (found,) = probe.answers(_match(xaddrs), frozenset({ID}), "10.0.0.7")
    assert found.address is None
    (found,) = probe.answers(_match(f"{xaddrs} http://10.0.0.7/x?reboot=1"), frozenset({ID}), "10.0.0.7")
    assert found.address and found.address.url == "http://10.0.0.7:80/x"


def test_answers_to_other_questions_are_left_out() -> None:
    assert probe.answers(_match("", relates="urn:uuid:other"), frozenset({ID}), "10.0.0.7") == []
    assert probe.answers(_match("", relates=""), frozenset({ID}), "10.0.0.7") == []
    with pytest.raises(BadAnswer):
        probe.answers(_match("", endpoint=""), frozenset({ID}), "10.0.0.7")


def test_names_are_one_short_line() -> None:
    scopes = "onvif://www.onvif.org/name/" + "%1B%5B2J%0A" + "x" * 9000
    (found,) = probe.answers(_match("", scopes), frozenset({ID}), "10.0.0.7")
    assert found.name.startswith("[2J x") and len(found.name) == 128 and found.name.isprintable()


def test_a_login_is_a_digest_and_never_the_password() -> None:
    sent = envelope("<Get/>", Login("<me>", "hunter2"), b"0123456789abcdef", NOW)
    assert b"hunter2" not in sent
    token = parse(sent).first("Header", "Security", "UsernameToken")
    assert token and token.text("Username") == "<me>" and token.text("Created") == "2026-12-02T10:00:00.000Z"
    wanted = hashlib.sha1(b"0123456789abcdef" + b"2026-12-02T10:00:00.000Z" + b"hunter2").digest()
    assert base64.b64decode(token.text("Password")) == wanted
    assert b"Security" not in envelope("<Get/>", None, b"", NOW)


def test_the_digest_is_that_of_the_specification() -> None:
    """ONVIF Application Programmer's Guide 1.0, 6.1.1.3."""
    nonce = base64.b64decode("LKqI6G/AikKCQrN0zqZFlg==")
    assert digest(nonce, "2010-09-16T07:50:45Z", "userpassword") == "tuOSpGlFlIXsozq4HFNeeGeFLEI="


def _payload(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("data", "status", "error", "text"),
    [
        (b"", 401, NotAuthorized, "login"),
        (b"", 403, NotAuthorized, "login"),
        (_payload(fault("ter:Sender", "Sender not Authorized")), 400, NotAuthorized, "login"),
        (_payload(fault("ter:NotAuthorized", "no")), 400, NotAuthorized, "login"),
        (_payload(fault("wsse:FailedAuthentication", "no")), 500, NotAuthorized, "login"),
        (
            _payload(fault("ter:ActionNotSupported", "a \x1b[2J\nb".replace("\x1b", " "))),
            500,
            OnvifError,
            r"refuses Get: a",
        ),
        (b"<html>", 404, OnvifError, "status 404"),
        (b"<html>", 200, BadAnswer, "no XML"),
        (b"<a/>", 200, BadAnswer, "none of ONVIF"),
        (_payload(soap("<OtherResponse/>")), 200, BadAnswer, "none of ONVIF"),
    ],
)
def test_a_failed_answer_has_a_reason(data: bytes, status: int, error: type[OnvifError], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        body(data, status, "Get")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("fields", "its"),
    [
        (("2026", "12", "2", "10", "0", "0"), NOW),
        (("1970", "1", "1", "0", "0", "60"), dt.datetime(1970, 1, 1, 0, 0, 59, tzinfo=dt.UTC)),
        (("2026", "13", "2", "10", "0", "0"), None),
        (("-1", "1", "1", "0", "0", "0"), None),
        (("", "", "", "", "", ""), None),
        (("9" * 4000, "1", "1", "0", "0", "0"), dt.datetime(9999, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_a_clock_is_read_or_left(fields: tuple[str, ...], its: dt.datetime | None) -> None:
    year, month, day, hour, minute, second = fields
    text = (
        f"<r><SystemDateAndTime><UTCDateTime><Time><Hour>{hour}</Hour><Minute>{minute}</Minute><Second>{second}</Second>"
        f"</Time><Date><Year>{year}</Year><Month>{month}</Month><Day>{day}</Day></Date></UTCDateTime></SystemDateAndTime></r>"
    )
    assert media.clock(parse(text.encode())) == its
    assert media.clock(parse(b"<r/>")) is None


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("rtsp://10.0.0.7/a?b=c&amp;d", "rtsp://10.0.0.7/a?b=c&d"),
        ("rtsp://me:hunter2@10.0.0.7/a", "rtsp://10.0.0.7/a"),
        ("file:///etc/passwd", ""),
        ("http://10.0.0.7/", ""),
        ("rtsp://10.0.0.7/a b", ""),
        ("rtsp://10.0.0.7/a&#10;b", ""),
        ("rtsp://10.0.0.7/a@b", ""),
        ("rtsp://", ""),
        ("rtsp://[", ""),
        ("rtsp://10.0.0.7/" + "x" * 2000, ""),
        ("", ""),
    ],
)
def test_a_url_of_a_stream_is_one_that_can_be_opened(url: str, read: str) -> None:
    for answer in (f"<r><MediaUri><Uri>{url}</Uri></MediaUri></r>", f"<r><Uri>{url}</Uri></r>"):
        profile = media.with_url(Profile("1", ""), parse(answer.encode()))
        assert profile.url == read and bool(profile.problem) is not bool(read)


def test_numbers_and_tokens_out_of_bounds_are_left_out() -> None:
    def one(token: str, width: str, rate: str) -> str:
        return (
            f'<Profiles token="{token}"><VideoEncoderConfiguration><Encoding>H264</Encoding><Resolution><Width>{width}'
            f"</Width><Height>-5</Height></Resolution><RateControl><FrameRateLimit>{rate}</FrameRateLimit></RateControl>"
            "</VideoEncoderConfiguration></Profiles>"
        )

    text = (
        one("a", "99999", "nan")
        + one("a", "1", "1")
        + one("", "1", "1")
        + one("b" * 100, "1", "1")
        + one("c", "64", "1e9")
    )
    found = media.profiles(parse(f"<r>{text}</r>".encode()))
    assert [(p.token, p.width, p.height, p.fps) for p in found] == [("a", 0, 0, 0.0), ("c", 64, 0, 0.0)]
