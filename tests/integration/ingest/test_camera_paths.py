"""The path of a camera's URL may contain a secret under any name: of the services, only ingest can read it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from shared import bus as buses
from shared.client import registry
from shared.contract import cameras, credentials, names
from shared.contract.cameras import Camera, apart, joined, new_camera
from shared.contract.rights import identities
from shared.runtime.errors import SettingError
from tests.support.processes.ingest_process import Bus, Ingest, bus, start
from tests.support.video.rtsp_listener import forge, listening
from tests.support.waiting import until
from tidegate.local.server import NatsServer

__all__ = ["bus", "start"]

pytestmark = pytest.mark.xdist_group("ingest")

SECRET = "8f3aTokenInAPath"


async def raw(admin: Client, bucket: str = names.CAMERAS) -> str:
    return ((await (await admin.jetstream().key_value(bucket)).get("lobby")).value or b"").decode()


@pytest.mark.parametrize("identity", [i for i, r in identities.every().items() if names.CAMERAS in str(r.api)])
async def test_no_service_but_ingest_reads_the_path_of_a_url(server: NatsServer, admin: Client, identity: str) -> None:
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera(f"rtsps://me:pw@10.0.0.7:7441/{SECRET}?enableSrtp", fps=3.0))
    client = await buses.connect(server.settings(identity), identity)
    try:
        entry = await (await client.jetstream().key_value(names.CAMERAS)).get("lobby")
        assert json.loads(entry.value or b"") == {"url": "rtsps://10.0.0.7:7441", "fps": 3.0}
    finally:
        await client.close()
    assert (await registry.read(js, "lobby")).url == f"rtsps://10.0.0.7:7441/{SECRET}?enableSrtp"


@pytest.mark.parametrize(
    "change, url, secret",
    [
        ({"fps": 5.0}, "rtsp://10.0.0.7/a?b=c", "me:pw"),
        ({"user": "you", "password": "new"}, "rtsp://10.0.0.7/a?b=c", "you:new"),
        ({"password": None}, "rtsp://10.0.0.7/a?b=c", None),
        ({"url": "rtsp://10.0.0.7/d"}, "rtsp://10.0.0.7/d", "me:pw"),
        ({"url": "rtsp://10.0.0.7"}, "rtsp://10.0.0.7", "me:pw"),
        ({"url": "rtsp://10.0.0.8/d"}, "rtsp://10.0.0.8/d", None),
    ],
)
async def test_a_change_keeps_the_path_unless_it_has_another(
    admin: Client, change: dict[str, object], url: str, secret: str | None
) -> None:
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera("rtsp://me:pw@10.0.0.7/a?b=c"))
    assert (await registry.change(js, "lobby", change)).after.url == url
    login = await registry.credentials(js, "lobby")
    assert ((await registry.read(js, "lobby")).url, login and login.secret) == (url, secret)
    assert {"/a", "/d"} & {path for path in ("/a", "/d") if path in await raw(admin)} == set()


HOSTS = st.sampled_from(["10.0.0.7", "cam.local:8554", "[::1]:554"])
PATHS = st.text("abz09/?=&%#._-~", max_size=30).map(lambda text: f"/{text}")


@given(st.sampled_from(["rtsp", "rtsps"]), HOSTS, PATHS, st.sampled_from(["", "me:pw@"]))
def test_separately_stored_parts_form_one_camera(scheme: str, host: str, path: str, login: str) -> None:
    camera, secret = new_camera(f"{scheme}://{login}{host}{path}")
    stored, held = apart(camera, credentials.bound(secret, camera.url, unverified=False))
    assert stored.url in (f"{scheme}://{host}", f"{scheme}://{host}/")
    assert joined(stored, held and credentials.decode(credentials.encode(held))).url == camera.url


async def test_a_changed_entry_gets_no_path(admin: Client, bus: Bus, start: Callable[..., Ingest]) -> None:
    async with listening() as camera, listening() as thief:
        await registry.add(admin.jetstream(), "lobby", *new_camera(f"rtsp://{camera.address}/{SECRET}"))
        start()
        await until(lambda: any(SECRET in request for request in camera.heard))
        await forge(admin, url=f"rtsp://{thief.address}")
        await until(lambda: thief.heard)
        assert not any(SECRET in request for request in thief.heard)
        # A change of another setting moves nothing.
        await registry.change(admin.jetstream(), "lobby", {"fps": 2.0})
        assert SECRET in await raw(admin, names.CREDENTIALS) and camera.address in await raw(admin, names.CREDENTIALS)


async def test_an_entry_of_an_earlier_version_is_read_and_moved_without_a_new_connection(
    admin: Client, bus: Bus, start: Callable[..., Ingest]
) -> None:
    js = admin.jetstream()
    async with listening() as camera:
        await (await js.key_value(names.CAMERAS)).put(
            "lobby", cameras.encode(Camera(url=f"rtsp://{camera.address}/{SECRET}"))
        )
        ingest = start()
        await until(lambda: any(SECRET in request for request in camera.heard))
        await registry.change(js, "lobby", {"fps": 2.0})
        assert SECRET in await raw(admin), "an ingest of before finds it nowhere else"
        assert await registry.hide_paths(js) and not await registry.hide_paths(js)
        assert SECRET not in await raw(admin) and SECRET in await raw(admin, names.CREDENTIALS)
        heard = len(camera.heard)
        await until(lambda: len(camera.heard) > heard)
        assert SECRET in camera.heard[-1]
        assert not any(event["reason"] == "changed" for event in bus.events), ingest.log


async def test_the_path_of_a_substream_is_stored_with_that_of_its_camera(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    whole = Camera(url="rtsp://10.0.0.7/main", detect=f"rtsp://10.0.0.7/{SECRET}")
    await registry.add(js, "lobby", *new_camera("rtsp://me:pw@10.0.0.7/main", detect=f"/{SECRET}"))
    assert json.loads(await raw(admin)) == {"url": "rtsp://10.0.0.7", "detect": "rtsp://10.0.0.7"}
    assert await registry.read(js, "lobby") == whole
    await registry.change(js, "lobby", {"fps": 5.0})
    await registry.change(js, "lobby", {"user": "you", "password": "new"})
    assert await registry.read(js, "lobby") == Camera(url=whole.url, detect=whole.detect, fps=5.0)
    await registry.change(js, "lobby", {"password": None})
    await registry.change(js, "lobby", {"url": "rtsp://10.0.0.7/other"})
    assert (await registry.read(js, "lobby")).detect == whole.detect
    await registry.change(js, "lobby", {"detect": None})
    assert await registry.read(js, "lobby") == Camera(url="rtsp://10.0.0.7/other", fps=5.0)
    assert SECRET not in await raw(admin, names.CREDENTIALS) and "detect" not in await raw(admin)


async def test_a_moved_camera_gets_no_substream_in_the_clear(admin: Client) -> None:
    """Another writer of `cameras` has moved it: its path is for the old address."""
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera("rtsp://me:pw@10.0.0.7/main"))
    await (await js.key_value(names.CAMERAS)).put("lobby", cameras.encode(Camera(url="rtsp://10.0.0.8")))
    with pytest.raises(SettingError, match="give --url too"):
        await registry.change(js, "lobby", {"detect": f"/{SECRET}"})
    assert SECRET not in await raw(admin)
