"""The external scaler over real gRPC and a real server; an independent client makes KEDA's calls."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, RePublish, StreamConfig
from prometheus_client import generate_latest
from rich.console import Console

from services.scaler.live.live_metrics import LiveMetrics
from services.scaler.live.metadata import parse
from shared import bus
from shared.client import explain, registry
from shared.contract import names, topology
from shared.contract.cameras import Camera
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import BusError, SettingError
from tests.support.kube.keda_calls import KedaClient, Refused
from tests.support.messages import consume
from tests.support.waiting import LONGEST_S, patience_s, until
from tests.support.worlds.scaler_service import CV, generated, keda, pushed, requests
from tests.support.worlds.scalers import BAD, estimating, publish
from tidegate.commands.explain import CURRENT_S
from tidegate.commands.explain import run as print_explained
from tidegate.local.server import NatsServer

__all__ = ["generated", "keda", "pushed"]


async def test_every_method_answers_as_keda_asks(admin: Client, keda: KedaClient) -> None:
    spec = await keda.call("GetMetricSpec", CV)
    assert spec == {"metricSpecs": [{"metricName": "demand", "targetSize": "1", "targetSizeFloat": 1.0}]}
    assert await keda.metric(CV) == (0.0, False)
    async with keda.stream("StreamMetricSpec", CV) as specs, keda.stream("StreamIsActive", CV) as active:
        await until(lambda: specs.answers and active.answers)
        assert specs.answers[0][1] == spec
        assert active.results == [False]
        await publish(admin, 30)
        await until(lambda: active.results == [False, True])
        async with asyncio.timeout(patience_s()):
            while (metric := await keda.metric(CV))[0] == 0.0:
                await asyncio.sleep(0.1)
        assert metric[1]
        [value] = (await keda.call("GetMetrics", CV))["metricValues"]
        assert value["metricName"] == "demand"
        assert int(value["metricValue"]) >= value["metricValueFloat"] > int(value["metricValue"]) - 1
        await consume(admin, 30)
    assert specs.ended is None and len(specs.answers) == 1


async def test_the_first_message_is_pushed_before_the_next_poll(admin: Client, pushed: KedaClient) -> None:
    """By the stream's republished messages alone."""
    for n in range(4):
        consumer = f"one-{n}"
        mine = ConsumerConfig(durable_name=consumer, filter_subject=f"media.{consumer}", ack_policy="explicit")
        await admin.jetstream().add_consumer("MEDIA", mine)
        async with pushed.stream("StreamIsActive", CV | {"consumer": consumer}) as active:
            await until(lambda active=active: active.results == [False])
            await publish(admin, 1, f"media.{consumer}")
            await until(lambda active=active: active.results == [False, True])
            assert requests(consumer) == 1, "the push waited for a poll"


async def test_a_stream_without_republish_is_pushed_from_the_poll(admin: Client, keda: KedaClient) -> None:
    js = admin.jetstream()
    config = (await js.stream_info("ASKS")).config
    config.republish = None
    await js.update_stream(config)
    async with keda.stream("StreamIsActive", {"service": "vlm"}) as active:
        await until(lambda: active.results == [False])
        await publish(admin, 1, "jobs.vlm.ask.lobby")
        await until(lambda: active.results == [False, True])


async def test_the_first_message_of_any_consumer_is_pushed(admin: Client, pushed: KedaClient) -> None:
    async with pushed.stream("StreamIsActive", {"service": "vlm"}) as active:
        await until(lambda: active.results == [False])
        await publish(admin, 1, "jobs.vlm.caption.lobby")
        await until(lambda: active.results == [False, True])
        assert requests("vlm-caption", "CAPTIONS") == 1, "the push waited for a poll"


async def test_the_work_of_several_consumers_is_one_demand(admin: Client, keda: KedaClient) -> None:
    """A service with three priorities has three consumers: its replicas serve the messages of all."""
    request = {"service": "vlm", "lagThreshold": "2", "latencyTarget": "1"}
    async with keda.stream("StreamIsActive", request) as active:
        await until(lambda: active.results == [False])
        await publish(admin, 1, "jobs.vlm.caption.lobby")
        await until(lambda: active.results == [False, True])
        for kind in ("verify", "ask", "summarize", "caption", "verify"):
            await publish(admin, 1, f"jobs.vlm.{kind}.lobby")
        # Without a heartbeat, the lag rule: 6 messages at 2 a replica. The scaler reads each consumer once a second.
        async with asyncio.timeout(patience_s()):
            while await keda.metric(request) != (pytest.approx(3), True):
                await asyncio.sleep(0.1)


async def test_jetstream_gets_one_request_a_second_for_any_number_of_callers(admin: Client, keda: KedaClient) -> None:
    """Fifty ScaledObjects with their own settings, and push streams: JetStream gets the requests of one."""
    many = [CV | {"latencyTarget": str(1 + n / 10)} for n in range(50)]
    await keda.metric(CV)
    before, started = requests(), time.monotonic()
    async with keda.stream("StreamIsActive", many[0]) as one, keda.stream("StreamIsActive", many[1]) as other:
        for _ in range(3):
            await asyncio.gather(*(keda.metric(metadata, name=f"cv-{n}") for n, metadata in enumerate(many)))
            await asyncio.sleep(0.8)
        await publish(admin, 1)
        await until(lambda: one.results[-1:] == other.results[-1:] == [True])
    passed = time.monotonic() - started
    assert requests() - before <= passed + 1


@pytest.mark.slow
async def test_a_missing_consumer_is_named_with_the_remedy(admin: Client, keda: KedaClient) -> None:
    await admin.jetstream().delete_stream("VLM")
    await admin.jetstream().delete_consumer("MEDIA", "embed")
    for metadata, what in (({"service": "embed"}, "consumer embed of stream MEDIA"), ({"service": "vlm"}, "VLM")):
        for method in ("GetMetrics", "IsActive"):
            with pytest.raises(Refused, match=f"{what}.*tidegate setup") as refused:
                await keda.call(method, metadata)
            assert refused.value.code == "NOT_FOUND"
    # A stream beyond the scaler's rights: the server does not even answer.
    with pytest.raises(Refused, match="may this user ask") as refused:
        await keda.call("IsActive", {"service": "cv", "stream": "DLQ"})
    assert refused.value.code == "UNAVAILABLE"
    # The HPA can still be created, and a stream waits for the consumer.
    assert await keda.call("GetMetricSpec", {"service": "embed"})
    async with keda.stream("StreamIsActive", {"service": "embed"}) as active:
        polls = requests("embed")
        await until(lambda: requests("embed") >= polls + 2)
        assert active.answers == [] and active.ended is None
        await admin.jetstream().add_consumer("MEDIA", ConsumerConfig(durable_name="embed", ack_policy="explicit"))
        await until(lambda: active.results == [False])


async def test_embed_is_scaled_by_the_detections_it_reads(admin: Client, keda: KedaClient) -> None:
    js = admin.jetstream()
    await topology.apply(js, topology.TopologySettings(embed_crops="detections"))
    metadata = {"service": "embed", "stream": "EVENTS"}
    async with keda.stream("StreamIsActive", metadata) as active:
        await until(lambda: active.results == [False])
        await js.publish("events.detections.lobby", b"{}")
        await until(lambda: active.results == [False, True])


async def test_bad_metadata_names_its_key(keda: KedaClient) -> None:
    for metadata, key in BAD:
        for method in ("GetMetricSpec", "GetMetrics", "IsActive"):
            with pytest.raises(Refused, match=key) as refused:
                await keda.call(method, metadata)
            assert refused.value.code == "INVALID_ARGUMENT"
            assert "s3cret" not in refused.value.details
        async with keda.stream("StreamIsActive", metadata) as stream:
            await until(lambda stream=stream: stream.ended)
            assert stream.ended is not None and stream.ended[0] == "INVALID_ARGUMENT"
    with pytest.raises(Refused, match="demand"):
        await keda.call("GetMetrics", CV, metric="lag")


async def test_a_jetstream_outage_is_reported_and_push_streams_outlive_it(
    server: NatsServer, admin: Client, keda: KedaClient
) -> None:
    assert await keda.metric(CV) == (0.0, False)
    async with keda.stream("StreamIsActive", CV) as active:
        await until(lambda: active.results == [False])
        await server.stop()
        async with asyncio.timeout(patience_s()):
            while True:
                try:
                    await keda.metric(CV)
                except Refused as e:
                    assert e.code == "UNAVAILABLE" and "NATS is not connected" in e.details
                    break
                await asyncio.sleep(0.05)
        # A ScaledObject that is new to us gets the same answer, immediately.
        with pytest.raises(Refused) as refused:
            await keda.metric(CV | {"headroom": "0.5"})
        assert refused.value.code == "UNAVAILABLE"
        assert await keda.call("GetMetricSpec", CV)
        await server.start()
        async with asyncio.timeout(patience_s()):
            while True:
                try:
                    assert await keda.metric(CV) == (0.0, False)
                    break
                except Refused:
                    await asyncio.sleep(0.1)
        assert active.ended is None
        # The waiting subscription has come back with the connection.
        await publish(admin, 1)
        await until(lambda: active.results[-1:] == [True])


async def test_heartbeats_reach_the_estimate_and_explain_shows_them(
    server: NatsServer, admin: Client, keda: KedaClient
) -> None:
    await keda.metric(CV)
    worker = await bus.connect(server.settings("cv"), "cv")
    for replica, state in (("cv-0", "ready"), ("cv-1", "loading")):
        beat = WorkerStats(
            service="cv", replica=replica, pid=1, state=state, model="m", uptime_s=1, in_flight=0, processed=7,  # type: ignore[arg-type]
            failed=0, items=0, busy_s=1.0, working_s=2.0,
        )  # fmt: skip
        await worker.publish(names.stats("cv", replica), stats.encode(beat))
    async with asyncio.timeout(patience_s()):
        while (answer := (await explain.ask(admin, "cv"))[0]).found[0].terms.get("ready") != 1:
            await asyncio.sleep(0.1)
    await worker.close()
    [found] = answer.found
    assert (answer.by, answer.services, found.service) == ("scaler", ["cv"], "cv")
    assert [(r.replica, r.state) for r in found.replicas] == [("cv-0", "ready"), ("cv-1", "loading")]
    assert found.settings["cold_start_s"] == 10.0 and found.lines
    assert found.age_s is not None and found.age_s < LONGEST_S and not found.error
    exported = generate_latest().decode()
    assert 'tidegate_demand{consumer="cv",service="cv",term="ready"} 1.0' in exported
    assert exported.count('term="replicas"') == 1
    console = Console(width=100, record=True)
    await print_explained(admin, "cv", console, as_json=False)
    text = console.export_text()
    assert re.search(r"cv needs \S+ replicas", text) and "cv-1 loading" in text and "cold_start_s 10" in text
    with pytest.raises(SettingError, match="asked for: cv"):
        await print_explained(admin, "vlm", console, as_json=False)


async def test_explain_marks_the_current_request(server: NatsServer, admin: Client) -> None:
    """After a change of a setting the scaler has both for some minutes."""
    async with estimating(server) as live_metrics:
        former, current = (live_metrics.get(parse(CV | {"coldStart": cold})) for cold in ("10", "25"))
        await former.answer()
        await current.answer()
        former.requested_at -= 2 * CURRENT_S
        console = Console(width=150, record=True)
        await print_explained(admin, "cv", console, as_json=False)
    text = console.export_text()
    first, second = (line for line in text.splitlines() if line.startswith("cv needs"))
    assert "current" in first and "no longer asked for" in second
    assert text.index("cold_start_s 25") < text.index("cold_start_s 10")


async def test_explain_without_a_scaler_names_the_remedy(admin: Client) -> None:
    with pytest.raises(BusError, match="tidegate up"):
        await explain.ask(admin, "cv")


async def test_ingest_is_scaled_by_its_enabled_cameras(server: NatsServer, admin: Client, keda: KedaClient) -> None:
    js = admin.jetstream()
    metadata = {"service": "ingest", "camerasPerReplica": "2"}
    spec = await keda.call("GetMetricSpec", metadata)
    assert spec["metricSpecs"][0]["metricName"] == "cameras"

    async def value() -> float:
        metrics = (await keda.call("GetMetrics", metadata, metric="cameras"))["metricValues"]
        return float(metrics[0]["metricValueFloat"])

    assert await value() == 0.0
    async with keda.stream("StreamIsActive", metadata) as active:
        await until(lambda: active.results == [False])
        for n in range(3):
            await registry.put(js, f"camera-{n}", Camera(url="rtsp://x"), "user:password")
        await registry.put(js, "off", Camera(url="rtsp://x", enabled=False), None)
        await until(lambda: active.results == [False, True])
        async with asyncio.timeout(patience_s()):
            while await value() != 1.5:
                await asyncio.sleep(0.05)
    with pytest.raises(Refused, match="none") as refused:
        await keda.call("IsActive", metadata | {"bucket": "none"})
    assert refused.value.code in ("NOT_FOUND", "UNAVAILABLE")


async def test_unrequested_consumers_are_not_read(server: NatsServer, admin: Client) -> None:
    from services.scaler.live.metadata import parse

    client = await bus.connect(server.settings("scaler"), "scaler")
    async with LiveMetrics(client) as live_metrics:
        live = live_metrics.get(parse(CV))
        await live.answer()
        await live_metrics.sweep()
        assert live_metrics.lives() == [live]
        live.listeners.add(print)
        await live_metrics.sweep(forget_s=-1)
        assert live_metrics.lives() == [live], "a stream is open on it"
        live.listeners.clear()
        await live_metrics.sweep(forget_s=-1)
        assert live_metrics.lives() == []
        before = requests()
        live_metrics.consumers.get("MEDIA", "embed", "embed")
        await until(lambda: requests("embed") >= 3)
        assert requests() == before
    await client.close()


async def test_a_foreign_stream_is_read_too(server: NatsServer, admin: Client, generated: Path) -> None:
    """Filtered consumers: arrivals, and the wake-up by their own subject alone."""
    js = admin.jetstream()
    heads = RePublish(src="plant.>", dest="told.>", headers_only=True)
    await js.add_stream(StreamConfig(name="PLANT", subjects=["plant.>"], republish=heads))
    await js.add_consumer(
        "PLANT", ConsumerConfig(durable_name="press", filter_subject="plant.press.>", ack_policy="explicit")
    )
    async with LiveMetrics(admin) as live_metrics:
        reader = live_metrics.consumers.get("PLANT", "press", "press")
        reports: list[tuple[bool, float]] = []
        reader.listeners.add(lambda: reports.append((reader.woken, requests("press", "PLANT"))))
        await reader.first_answer.wait()
        marker = await admin.subscribe("told.other.1")
        await js.publish("plant.other.1", b"")
        await marker.next_msg(timeout=patience_s())
        assert not reader.woken
        await js.publish("plant.press.1", b"")
        await until(lambda: any(woken for woken, _ in reports))
        first = next(n for n, (woken, _) in enumerate(reports) if woken)
        assert reports[first][1] == reports[first - 1][1], "woken by a poll"
        for n in range(5):
            await js.publish(f"plant.{'other' if n % 2 else 'press'}.1", b"")
        await until(lambda: reader.state().arrived == 4)
        assert reader.state().backlog == 4
