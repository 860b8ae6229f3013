"""A camera's password goes to the address it belongs to, and to no other: attacks on it, with a real ingest.

A writer of the bucket `cameras` can send ingest to any address. The listener here is no camera: it asks
for a password, as a camera does, and stores each request.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract import names
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.video.rtsp_listener import BASIC, LOGIN, forge, listening
from tests.support.waiting import until

__all__ = ["bus", "start"]

pytestmark = pytest.mark.xdist_group("ingest")


async def reason_of(bus: Bus, words: str) -> str:
    """The reason of a camera's status, once there is one with `words` in it."""
    await until(lambda: any(words in event["reason"] for event in bus.events))
    return next(str(event["reason"]) for event in bus.events if words in event["reason"])


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://{thief}/live",
        "rtsp://localhost:{thief_port}/live",
        "rtsp://{camera}@{thief}/live",
        "rtsp://someone@{thief}/live",
        "rtsp://{thief}#@{camera}/live",
        "rtsp://{thief}?@{camera}/live",
        "rtsp://{thief}\\@{camera}/live",
    ],
)
async def test_a_changed_entry_gets_no_password(
    admin: Client, bus: Bus, start: Callable[..., Ingest], url: str
) -> None:
    async with listening() as camera, listening() as thief:
        await add(admin, "lobby", f"rtsp://{LOGIN}@{camera.address}/live")
        ingest = start()
        await until(lambda: any(BASIC in request for request in camera.heard))
        places = {"camera": camera.address, "thief": thief.address, "thief_port": thief.port}
        await forge(admin, url=url.format(**places))
        # Either it connects, without the password, or it refuses the entry.
        await until(lambda: thief.heard or "camera can't be used" in ingest.log)
        if thief.heard:
            reason = await reason_of(bus, "--password-stdin")
            assert f"rtsp://{camera.address}" in reason, "for which address it is"
        # Once ingest has connected to a second camera, it has handled the first.
        await add(admin, "hall", f"rtsp://{LOGIN}@{camera.address}/hall")
        await until(lambda: any("/hall" in request and BASIC in request for request in camera.heard))
    assert not thief.saw_password, thief.heard
    assert "S3cretPass" not in ingest.log + json.dumps(bus.events)


async def test_another_path_of_the_same_address_gets_the_password(
    admin: Client, bus: Bus, start: Callable[..., Ingest]
) -> None:
    async with listening() as camera:
        await add(admin, "lobby", f"rtsp://{LOGIN}@{camera.address}/live")
        start()
        await until(lambda: any(BASIC in request for request in camera.heard))
        await forge(admin, url=f"rtsp://{camera.address}/other")
        await until(lambda: any("/other" in request and BASIC in request for request in camera.heard))


@pytest.mark.parametrize("asks_first", [True, False])
async def test_a_redirect_of_a_camera_does_not_pass_its_password_on(
    admin: Client, bus: Bus, start: Callable[..., Ingest], asks_first: bool
) -> None:
    async with listening() as camera, listening() as thief:
        camera.then = f"RTSP/1.0 302 Found\r\nLocation: rtsp://{thief.address}/live"
        if not asks_first:
            camera.first = camera.then
        await add(admin, "lobby", f"rtsp://{LOGIN}@{camera.address}/live")
        start()
        reason = await reason_of(bus, "--password-stdin")
        assert f"rtsp://{thief.address}" in reason, "where it was sent"
        assert not thief.saw_password, thief.heard


@pytest.mark.parametrize("challenge", ["Digest realm=, nonce=", "Digest", "Digest realm", "Digest =, ,=x"])
async def test_an_empty_challenge_is_answered(
    admin: Client, bus: Bus, start: Callable[..., Ingest], challenge: str
) -> None:
    async with listening() as camera:
        camera.first = camera.then = f"RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: {challenge}"
        await add(admin, "lobby", f"rtsp://{LOGIN}@{camera.address}/live")
        start()
        assert "--password-stdin" in await reason_of(bus, "the camera refuses this user or password")


async def test_a_password_in_the_url_stays_with_its_address(
    admin: Client, bus: Bus, start: Callable[..., Ingest]
) -> None:
    async with listening() as camera, listening() as thief:
        await add(admin, "lobby", f"rtsp://{camera.address}/live?user=operator&password=S3cretPass")
        start()
        await until(lambda: any("S3cretPass" in request for request in camera.heard))
        await forge(admin, url=f"rtsp://{thief.address}/live")
        await until(lambda: thief.heard)
        assert "--password-stdin" in await reason_of(
            bus, f"its password is not sent, as it is for rtsp://{camera.address}"
        )
        assert not thief.saw_password, thief.heard


async def test_an_older_password_is_used_once_the_admin_has_bound_it(
    admin: Client, bus: Bus, start: Callable[..., Ingest]
) -> None:
    async with listening() as camera:
        js = admin.jetstream()
        await add(admin, "lobby", f"rtsp://{camera.address}/live")
        await (await js.key_value(names.CREDENTIALS)).put("lobby", LOGIN.encode())
        await (await js.key_value(names.CREDENTIALS)).put("gone", LOGIN.encode())
        start()
        reason = await reason_of(bus, "tidegate setup")
        assert not camera.saw_password, camera.heard
        assert reason.startswith("the camera asks for a user and a password")
        lines = await registry.bind_credentials(js)
        assert lines == [
            "password of camera gone erased: there is no such camera",
            f"password of camera lobby bound to rtsp://{camera.address}",
        ]
        await until(lambda: any(BASIC in request for request in camera.heard))
        assert await registry.bind_credentials(js) == []
