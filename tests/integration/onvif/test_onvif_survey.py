"""The list of cameras on a network of loopback: by real multicast, next to devices that lie."""

from __future__ import annotations

import contextlib

import pytest

from shared.runtime.errors import SettingError
from tests.support.video.onvif_device import OnvifDevice, Stream, endless, network
from tidegate.onvif import discovery, survey
from tidegate.onvif.discovery import Answers
from tidegate.onvif.survey import LOGIN, Surveyed

STREAMS = [Stream("main", "H264", 1280, 720, "rtsp://10.0.0.7/main")]
# Longer than a busy machine takes to answer on loopback.
WAIT_S = 2.0


async def _survey(asker: str) -> dict[str, Surveyed]:
    return {one.found.sender: one for one in await survey.survey([asker], WAIT_S)}


async def test_devices_are_listed_with_streams_where_no_login_is_needed() -> None:
    net = network()
    with (
        OnvifDevice(STREAMS, ip=f"{net}.2") as open_one,
        OnvifDevice(STREAMS, ip=f"{net}.3", login=("viewer", "hunter2")) as closed,
    ):
        found = await _survey(f"{net}.1")
    assert list(found) == [open_one.ip, closed.ip]
    assert [p.url for p in found[open_one.ip].device.profiles] == ["rtsp://10.0.0.7/main"]
    assert found[open_one.ip].found.name == "Front Door" and found[closed.ip].note == LOGIN
    sent = "".join(request.body + str(request.headers) for request in open_one.heard + closed.heard)
    assert "Username" not in sent and "Authorization" not in sent


@pytest.mark.slow
async def test_bad_devices_do_not_harm_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_DEVICE_S", 5.0)
    net = network()
    with contextlib.ExitStack() as devices:

        def add(number: int, **changes: object) -> OnvifDevice:
            return devices.enter_context(OnvifDevice(STREAMS, ip=f"{net}.{number}", **changes))  # type: ignore[arg-type]

        good = add(2)
        add(3, datagram=lambda _: b"\x00nonsense")
        add(4, datagram=lambda usual: usual + b" " * 20_000)
        add(5, datagram=lambda usual: b'<!DOCTYPE a [<!ENTITY b "c">]>' + usual)
        add(6, datagram=lambda usual: usual.replace(b"uuid:", b"uuid:0"))
        victim = add(7, xaddrs=good.service, scopes="onvif://www.onvif.org/name/%1B%5B2J")
        slow = add(8, answers={"GetServices": lambda h: endless(h, b" ", b"<a", every_s=0.1)})
        broken = add(9, answers={"GetServices": lambda _: b"\x00", "GetCapabilities": lambda _: b"\x00"})
        found = await _survey(f"{net}.1")
    assert set(found) == {good.ip, victim.ip, slow.ip, broken.ip}
    assert found[good.ip].device.profiles and not found[good.ip].note
    assert "no address of its own" in found[victim.ip].note and victim.heard == []
    assert found[victim.ip].found.name == "[2J"
    assert "within" in found[slow.ip].note and "HTTP" in found[broken.ip].note


async def test_the_first_answer_of_a_device_counts_and_no_sender_fills_the_list() -> None:
    answers = Answers(frozenset({"1"}))
    with OnvifDevice() as device:
        first = device.match("urn:uuid:1")
        answers.datagram_received(first, ("10.0.0.1", 3702))
        answers.datagram_received(first.replace(b"Front", b"Back"), ("10.0.0.1", 3702))
        assert [found.name for found in answers.found.values()] == ["Front Door"]
        for n in range(5000):
            answers.datagram_received(first.replace(b"urn:uuid:127", b"urn:uuid:%d" % n), ("10.0.0.2", 3702))
        assert len(answers.found) == 1 + 16
        for n in range(3000):
            answers.datagram_received(first, (f"10.1.{n >> 8}.{n & 255}", 3702))
    assert len(answers.found) == discovery.MOST_DEVICES


async def test_a_network_that_is_not_ours_is_refused() -> None:
    for interfaces in (["203.0.113.7"], []):
        with pytest.raises(SettingError, match="--interface"):
            await discovery.discover(interfaces, WAIT_S)


async def test_loopback_is_asked_by_its_address_only() -> None:
    assert not [address for address in discovery.interfaces() if address.startswith("127.")]
