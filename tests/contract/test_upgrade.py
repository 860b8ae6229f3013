"""A data directory works with the next version, and neither an older nor a newer version spoils it."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from services.analytics.partitions import checkpoint
from services.analytics.settings import AnalyticsSettings
from shared import bus
from shared.contract import names
from shared.contract.events import Tracks
from shared.contract.topology import TopologySettings, apply, buckets, streams
from shared.runtime.errors import SettingError
from tests.support.files import contents
from tests.support.video.walking_people import detections, publish
from tests.support.worlds import analytics_world as analytics
from tests.support.worlds.older_data import ACROSS, CAMERA, Older, create
from tidegate.local.server import NatsServer

# The streams and consumers of a server of each older version, and one camera's stored checkpoint.
OLDER = sorted((Path(__file__).parent / "upgrade").glob("*.json"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_0_2_0_does_not_start_on_data_of_this_version(data: Path) -> None:
    """It would write a fresh `nats.conf`, and its server would delete MEDIA, for which it has no key."""
    data.mkdir()
    (data / "nats.conf").write_text("password: p")
    for _ in range(2):
        async with NatsServer(data):
            pass
        with pytest.raises(IsADirectoryError):
            (data / "nats.conf").unlink(missing_ok=True)
    assert "docs/how-to/upgrade.md" in (data / "nats.conf" / "README").read_text()


async def test_a_newer_version_s_data_is_left_alone(data: Path) -> None:
    async with NatsServer(data):
        pass
    mark = data / "format"
    ours = mark.read_text()
    mark.write_text(f"{int(ours) + 1}\n")
    before = dict(contents(data))
    with pytest.raises(SettingError, match=rf"{data} is of a newer Tidegate.* Nothing was changed"):
        await NatsServer(data).start()
    assert dict(contents(data)) == before
    mark.write_text("")
    with pytest.raises(SettingError, match=rf"{mark} can't be read .* put it back"):
        await NatsServer(data).start()
    mark.write_text(ours)
    async with NatsServer(data):
        pass


@pytest.fixture(params=OLDER, ids=lambda path: path.stem)
def older(request: pytest.FixtureRequest) -> Older:
    return msgspec.json.decode(request.param.read_bytes(), type=Older)


@contextlib.asynccontextmanager
async def left_by(older: Older, data: Path) -> AsyncIterator[tuple[NatsServer, Client]]:
    """A server with the older version's streams and consumers, and checkpoints that fit where EVENTS is."""
    async with NatsServer(data) as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        try:
            await create(admin, older)
            yield server, admin
        finally:
            await admin.close()


async def test_setup_upgrades_an_older_store_and_keeps_consumer_positions(older: Older, data: Path) -> None:
    async with left_by(older, data) as (_, admin):
        js = admin.jetstream()
        for n in range(3):
            await js.publish(names.media(CAMERA), b"video", headers={"Nats-Msg-Id": f"e/{n}"})
        worker = await js.pull_subscribe_bind("cv", names.MEDIA)
        done, _held = await worker.fetch(2)
        await done.ack_sync()
        await worker.unsubscribe()
        settings = TopologySettings()
        assert await apply(js, settings) != []
        assert await apply(js, settings) == [], "nothing is left to do"
        for want in (*streams(settings), *buckets(settings).values()):
            assert _limits((await js.stream_info(str(want.name))).config) == _limits(want), want.name
        cv = await js.consumer_info(names.MEDIA, "cv")
        assert cv.ack_floor and (cv.ack_floor.stream_seq, cv.num_ack_pending, cv.num_pending) == (1, 1, 1)
        assert (await js.publish(names.media(CAMERA), b"video", headers={"Nats-Msg-Id": "e/2"})).duplicate
        remaining = await (await js.key_value(names.ANALYTICS)).get(f"camera.0.{CAMERA}")
        assert remaining.value == older.value(f"camera.0.{CAMERA}")


def _limits(config: StreamConfig) -> tuple[object, ...]:
    republish = config.republish and (config.republish.src, config.republish.dest, bool(config.republish.headers_only))
    return config.subjects, config.max_age or 0, bool(config.allow_rollup_hdrs), republish


@pytest.mark.slow
async def test_analytics_continues_from_an_older_version_s_checkpoint(older: Older, data: Path) -> None:
    """Old tracks end under their own ids, once, and new ones have unused ids."""
    async with left_by(older, data) as (server, admin):
        await apply(admin.jetstream(), TopologySettings())
        was = checkpoint.unpacked(older.value(f"camera.0.{CAMERA}"))
        count = AnalyticsSettings().analytics_partitions
        assert older.value("partitions") == str(count).encode()
        start = dt.datetime.fromtimestamp(was.last_active, dt.UTC) + dt.timedelta(minutes=1)
        await publish(admin, detections([ACROSS], 10, camera=CAMERA, epoch="new", start=start))
        for _ in range(2):
            async with analytics.running(server, analytics_partitions=count):
                found = await analytics.until(admin, lambda reply: len(_ended(reply)) > len(was.followed))
        followed = [object.id for object in was.followed.values()]
        assert _ended([event for _, event in found]) == [*followed, f"{was.id_prefix}-{was.count + 1}"]


@pytest.mark.slow
@pytest.mark.parametrize("key", [f"camera.0.{CAMERA}", "position.0"])
async def test_an_unreadable_checkpoint_is_reported(
    older: Older, data: Path, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    older.checkpoints[key] = base64.b64encode(b"of a version to come").decode()
    async with left_by(older, data) as (server, admin):
        await apply(admin.jetstream(), TopologySettings())
        start = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
        await publish(admin, detections([ACROSS], 10, camera=CAMERA, epoch="new", start=start))
        async with analytics.running(server, analytics_partitions=AnalyticsSettings().analytics_partitions):
            found = await analytics.until(admin, _ended)
        assert _ended([event for _, event in found]) == ["new0-1"]
    assert "can't be read: it starts again" in "".join(capfd.readouterr())


def _ended(found: list[Any]) -> list[str]:
    return [track.id for event in found if type(event) is Tracks for track in event.tracks if track.state == "end"]
