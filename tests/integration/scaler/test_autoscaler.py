"""The autoscaler with a real server and real processes; its fast clock turns minutes into seconds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import structlog
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.scaler.live.live_metrics import LiveMetrics
from shared.client import explain
from shared.contract import names
from shared.runtime.errors import SettingError
from tests.support.messages import consume
from tests.support.paths import ROOT
from tests.support.waiting import until
from tidegate.keda.scaledobject import (
    ExternalTrigger,
    MetricsApiTrigger,
    PrometheusTrigger,
    ScaledObject,
    Trigger,
    load,
)
from tidegate.local.scaling.autoscaler import Autoscaler, observing
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

SCALED = load(ROOT / "deploy/keda/cv.yaml")
IDLE_WORKER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
SPEED = 200.0


@asynccontextmanager
async def running(
    client: Client, folder: Path, scaled: ScaledObject = SCALED, speed: float = SPEED
) -> AsyncIterator[Autoscaler]:
    pool = Replicas("cv", IDLE_WORKER, {}, folder, grace_s=2.0)
    async with observing(client, speed) as live_metrics:
        autoscaler = Autoscaler(live_metrics, scaled, pool, speed=speed)
        task = asyncio.create_task(autoscaler.run())
        try:
            yield autoscaler
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await pool.close()


async def publish(client: Client, count: int) -> None:
    js = client.jetstream()
    await asyncio.gather(*(js.publish(names.media("lobby"), b"video") for _ in range(count)))


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"service": "cv", **labels}) or 0.0


async def test_replicas_follow_the_backlog_up_and_back_to_zero(admin: Client, tmp_path: Path) -> None:
    ups, seconds = (
        sample("tidegate_scale_events_total", direction="up"),
        sample("tidegate_replica_seconds_total"),
    )
    with structlog.testing.capture_logs() as logs:
        async with running(admin, tmp_path) as autoscaler:
            await until(lambda: autoscaler.state.pending == 0)
            assert autoscaler.state.desired == 0
            await publish(admin, 95)
            await until(lambda: autoscaler.state.desired == 5)  # ceil(95 / 20)
            await until(lambda: autoscaler.state.replicas == 5)
            assert sample("tidegate_replicas") == 5
            await consume(admin, 95)
            await until(lambda: autoscaler.state.desired == 0)
            state = autoscaler.state
    assert (state.pending, state.ack_pending, state.peak_replicas, state.expired) == (0, 0, 5, 0)
    assert state.replica_seconds > 0
    assert sample("tidegate_replica_seconds_total") > seconds
    assert sample("tidegate_scale_events_total", direction="up") > ups
    changes = [line for line in logs if line["event"].startswith("scaled")]
    first = changes[0]
    assert (first["event"], first["consumer"], first["before"]) == ("scaled up", "cv", 0)
    assert first["pending"] > 0 and first["reason"]
    assert changes[-1]["after"] == 0 and "no trigger was active for 300 s" in changes[-1]["reason"]


async def test_an_absent_server_freezes_the_replicas(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    blind = msgspec.structs.replace(SCALED, spec=msgspec.structs.replace(SCALED.spec, fallback=None))
    async with running(admin, tmp_path, blind) as autoscaler:
        await publish(admin, 60)
        await until(lambda: autoscaler.state.desired == 3)
        await server.stop()
        await until(lambda: autoscaler.state.pending is None)
        await asyncio.sleep(2.0)  # clock: the outage outlasts cooldown and stabilisation
        assert "NATS is not connected" in autoscaler.state.reason
        assert autoscaler.state.desired == 3
        await server.start()
        await until(lambda: autoscaler.state.pending == 60)


async def test_expired_messages_are_counted(admin: Client, tmp_path: Path) -> None:
    js = admin.jetstream()
    async with running(admin, tmp_path) as autoscaler:
        await publish(admin, 10)
        await consume(admin, 4)
        await until(lambda: autoscaler.state.pending == 6)
        await js.purge_stream(names.MEDIA, seq=9)  # as if 5..8 had expired
        await until(lambda: autoscaler.state.expired == 4)
        await consume(admin, 2)
        await until(lambda: autoscaler.state.pending == 0)
        assert autoscaler.state.expired == 4


async def test_expired_segments_are_counted_while_media_has_main_streams(admin: Client, tmp_path: Path) -> None:
    js = admin.jetstream()

    async def publish_both(count: int) -> None:
        for _ in range(count):
            await js.publish(names.main("lobby"), b"video")
            await js.publish(names.media("lobby"), b"video")

    async with running(admin, tmp_path) as autoscaler:
        await publish_both(10)
        await consume(admin, 4)
        await until(lambda: autoscaler.state.pending == 6)
        assert autoscaler.state.expired == 0
        expired = 0
        # A reading between two others may miss some, never all of a backlog that expires for seconds.
        while autoscaler.state.expired < 8:
            assert expired < 200
            await publish_both(2)
            expired += 2
            await js.purge_stream(names.MEDIA, seq=8 + 2 * expired + 1)  # as if that many segments had expired
            await asyncio.sleep(0.3)  # clock: several readings, each of a part of what expires
            assert autoscaler.state.expired <= expired


async def test_a_missing_consumer_is_named(admin: Client, tmp_path: Path) -> None:
    trigger = msgspec.structs.replace(SCALED.triggers[0], consumer="nobody")
    async with running(admin, tmp_path, msgspec.structs.replace(SCALED, triggers=(trigger,))) as autoscaler:
        await until(lambda: "consumer nobody of stream MEDIA" in autoscaler.state.reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        (None, "a trigger became active"),
        (ExternalTrigger(scaler_address="scaler:9090", push=True, metadata={"service": "cv"}), "pushed"),
    ],
    ids=["shipped", "push"],
)
async def test_a_trigger_of_our_scaler_is_answered_locally(
    admin: Client, tmp_path: Path, trigger: ExternalTrigger | None, reason: str
) -> None:
    """The first message on an idle stream starts a worker before the next poll, which is an hour away."""
    scaled = load(ROOT / "deploy/keda/demand/cv.yaml")
    spec = msgspec.structs.replace(scaled.spec, polling_interval=3600)
    scaled = msgspec.structs.replace(scaled, spec=spec, triggers=(trigger,) if trigger else scaled.triggers)
    async with running(admin, tmp_path, scaled, speed=1.0) as autoscaler:
        await until(lambda: autoscaler.state.pending == 0)
        # The first poll of a new object is over.
        for _ in range(2):
            step = autoscaler.state
            await until(lambda step=step: autoscaler.state is not step)
        assert autoscaler.state.desired == 0
        await publish(admin, 1)
        await until(lambda: autoscaler.state.desired == 1)
        assert reason in autoscaler.state.reason
        [answer] = await explain.ask(admin, "cv")
        assert answer.by == "autoscaler" and len(answer.found) == 1
        await consume(admin, 1)
        await until(lambda: autoscaler.state.pending == 0)


@pytest.mark.parametrize(
    "other",
    [
        ExternalTrigger(scaler_address="weather:80", metadata={"city": "Berlin"}),
        MetricsApiTrigger(url="http://weather:80/now?city=Berlin", value_location="degrees", target_value=1),
        PrometheusTrigger(server_address="http://weather:80", query="degrees", threshold=1),
    ],
)
def test_a_trigger_of_another_scaler_is_refused(other: Trigger, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="weather:80"):
        Autoscaler(
            LiveMetrics(Client()), msgspec.structs.replace(SCALED, triggers=(other,)), Replicas("cv", [], {}, tmp_path)
        )


async def test_two_triggers_on_one_consumer_count_its_messages_once(admin: Client, tmp_path: Path) -> None:
    both = (*SCALED.triggers, ExternalTrigger(scaler_address="scaler:9090", metadata={"service": "cv"}))
    async with running(admin, tmp_path, msgspec.structs.replace(SCALED, triggers=both)) as autoscaler:
        await publish(admin, 30)
        await until(lambda: autoscaler.state.pending == 30)
        await until(lambda: autoscaler.state.desired >= 2)


class Machines:
    """Two machines, which may run 3 replicas together and run 2."""

    count, capacity = 2, 3

    async def scale_to(self, n: int) -> None:
        """Ignore it."""


def test_a_shortage_is_explained_by_all_machines(tmp_path: Path) -> None:
    live_metrics = LiveMetrics(Client())
    Autoscaler(live_metrics, SCALED, Replicas("cv", [], {}, tmp_path), fleet=Machines())
    fleet = live_metrics.fleets["cv"]()
    assert (fleet.requested, fleet.maximum) == (2, 3)
    assert "--max" in fleet.maximum_by and "tidegate workers" in fleet.maximum_remedy
