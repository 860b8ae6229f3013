"""The scaler's small parts: metadata, arrivals, wake-ups, pages of metrics."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from prometheus_client import CollectorRegistry, Counter, generate_latest

from services.scaler.consumers import readers
from services.scaler.consumers.counts import ArrivedCounter, waiting
from services.scaler.consumers.registry import Consumers
from services.scaler.demand.observation import Workers
from services.scaler.demand.parameters import DemandSettings
from services.scaler.live import metrics_page
from services.scaler.live.consumer_demand import LiveDemand
from services.scaler.live.heartbeats import Beat, Heartbeats
from services.scaler.live.live_metrics import LiveMetrics
from services.scaler.live.metadata import CamerasQuery, DemandQuery, parse, parse_query, parse_url
from services.scaler.live.metrics_page import MetricsPage, beats
from shared.bus import infos
from shared.bus.wakeups import Wakeups, republished_subjects
from shared.contract import names
from shared.runtime.errors import SettingError
from tests.support.metrics_page import PAGE, serving
from tests.support.paths import ROOT
from tests.support.waiting import patience_s, until
from tidegate.keda.scaledobject import JetStreamTrigger, MetricsApiTrigger, load


def test_metadata_states_the_query() -> None:
    keda = {"scalerAddress": "scaler:9090", "enableTLS": "true"}
    assert parse({"service": "cv"} | keda) == DemandQuery(service="cv", stream="MEDIA", consumer="cv")
    together = "vlm-verify,vlm-ask,vlm-caption"
    assert parse({"service": "vlm"}) == DemandQuery(service="vlm", stream="VLM,ASKS,CAPTIONS", consumer=together)
    spaced = parse({"service": "vlm", "consumer": "vlm-verify, vlm-ask"})
    assert spaced == DemandQuery(service="vlm", stream="VLM,ASKS", consumer="vlm-verify,vlm-ask")
    of_one = parse({"service": "press", "stream": "PLANT", "consumer": "p1,p2"})
    assert of_one == DemandQuery(service="press", stream="PLANT", consumer="p1,p2")
    given = {"service": "press", "stream": "PLANT", "consumer": "p1", "latencyTarget": "1500ms", "coldStart": "1.5m"}
    assert parse(given | {"headroom": ".2", "lagThreshold": "7"}) == DemandQuery(
        service="press",
        stream="PLANT",
        consumer="p1",
        settings=DemandSettings(latency_target_s=1.5, cold_start_s=90, headroom=0.2, lag_threshold=7),
    )
    assert parse({"service": "ingest", "camerasPerReplica": "50"}) == CamerasQuery(cameras_per_replica=50)


def test_the_shipped_files_ask_known_queries() -> None:
    shipped = [p for p in (ROOT / "deploy/keda/demand").glob("*.yaml") if "kind: ScaledObject" in p.read_text()]
    triggers = [t for p in shipped for t in load(p).triggers if not isinstance(t, JetStreamTrigger)]
    assert all(isinstance(t, MetricsApiTrigger) for t in triggers)
    requests = [parse_url(t.url).service for t in triggers if isinstance(t, MetricsApiTrigger)]
    assert sorted(requests) == ["cv", "embed", "ingest", "vlm"]


@pytest.mark.parametrize("url", ["http://[/demand?service=cv", "http://scaler:9091/metrics?service=cv", "demand"])
def test_a_url_of_another_page_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match=r"URL|page"):
        parse_url(url)


@given(st.text(max_size=60))
def test_any_query_is_understood_or_refused(query: str) -> None:
    with contextlib.suppress(SettingError):
        parse_query(query)


@given(st.dictionaries(st.text(max_size=15), st.text(max_size=15), max_size=4))
def test_any_metadata_is_understood_or_refused(given_metadata: dict[str, str]) -> None:
    try:
        parse({"service": "cv"} | given_metadata)
    except SettingError as e:
        assert "metadata" in str(e)


@given(
    st.lists(st.tuples(st.sampled_from(["arrive", "deliver", "expire", "skip"]), st.integers(0, 20)), max_size=60),
)
def test_expiries_do_not_change_arrivals(history: list[tuple[str, int]]) -> None:
    """A consumer's sequences as JetStream moves them; expiry that it has not noticed makes the sum fall for a while."""
    arrivals = ArrivedCounter()
    came = reached = 0
    stored: list[int] = []
    last = 0
    for what, count in history:
        if what == "arrive":
            stored += range(came + 1, came + count + 1)
            came += count
        elif what == "expire":
            del stored[:count]
        elif what == "deliver":
            due = [s for s in stored if s > reached][:count]
            reached = due[-1] if due else reached
        pending = sum(s > reached for s in stored)
        total = arrivals.reach("once", reached, pending)
        assert last <= total <= came
        last = total
    # Once the consumer is past what expired, nothing is missing.
    assert arrivals.reach("once", came, 0) == came


def test_a_recreated_consumer_adds_to_arrivals() -> None:
    arrivals = ArrivedCounter()
    assert arrivals.reach("a", 90, 10) == 100
    assert arrivals.reach("b", 0, 0) == 100
    assert arrivals.reach("b", 3, 2) == 105
    # The stream was lost, and its new sequence begins late.
    assert arrivals.reach("c", 10**12, 4) == 109
    assert arrivals.reach("c", 10**12 + 4, 1) == 110


def test_a_place_in_another_sequence_adds_no_arrivals() -> None:
    arrivals = ArrivedCounter()
    assert arrivals.reach("a", 3, 2, of_stream=False) == 5
    assert arrivals.reach("a", 90, 10, of_stream=True) == 5
    assert arrivals.reach("a", 95, 6, of_stream=True) == 6
    assert arrivals.reach("a", 8, 0, of_stream=False) == 6
    assert arrivals.reach("a", 9, 3, of_stream=False) == 10


async def test_a_filtered_consumer_counts_arrivals_when_its_stream_answers_late(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    js = admin.jetstream()
    await js.add_stream(name="LATE", subjects=["late.>"])
    subscription = await js.pull_subscribe("late.wanted", durable="late", stream="LATE")
    for subject in ["late.other"] * 50 + ["late.wanted"] * 3:
        await js.publish(subject, b"")
    for message in await subscription.fetch(3):
        await message.ack_sync()
    read_stream = infos.stream
    answers = False

    async def stream(client: Client, name: str) -> infos.StreamInfo:
        if not answers:
            raise infos.Unavailable("not yet")
        return await read_stream(client, name)

    monkeypatch.setattr(infos, "stream", stream)
    monkeypatch.setattr(readers, "REFUSED_S", 0.05)
    consumers = Consumers(admin, every_s=0.1)
    reader = consumers.get("LATE", "late", service="late")
    try:
        await until(lambda: reader.first_answer.is_set())
        before = reader.state().arrived
        answers = True
        await asyncio.sleep(0.5)
        for _ in range(2):
            await js.publish("late.wanted", b"")
        await until(lambda: reader.state().pending == 2)
        assert reader.state().arrived == before + 2
    finally:
        await consumers.close()
        await js.delete_stream("LATE")


@pytest.mark.parametrize(
    ("source", "destination", "filters", "expected"),
    [
        ("media.>", "stored.media.>", [], ["stored.media.>"]),
        ("media.>", "stored.media.>", ["media.>"], ["stored.media.>"]),
        ("media.>", "stored.media.>", ["media.lobby", "media.yard.*"], ["stored.media.lobby", "stored.media.yard.*"]),
        ("media.>", "stored.media.>", ["other.>"], []),
        (">", "stored.>", ["media.>"], ["stored.media.>"]),
        ("", "stored.>", ["media.lobby"], ["stored.media.lobby"]),
        ("media.*", "stored.{{wildcard(1)}}", [], []),
        ("media.*", "stored.*", ["media.lobby"], []),
    ],
)
def test_republished_subjects_follow_the_filters(
    source: str, destination: str, filters: list[str], expected: list[str]
) -> None:
    assert republished_subjects(source, destination, filters) == expected


async def test_a_wake_up_comes_once_and_a_busy_stream_has_none(admin: Client) -> None:
    wakeups = Wakeups(admin)
    woken: list[str] = []

    def one() -> None:
        woken.append("one")

    def other() -> None:
        woken.append("other")

    for wake in (one, one, other):
        await wakeups.arm(["told.>"], wake)
    assert admin.stats["in_msgs"] == (before := admin.stats["in_msgs"])
    for n in range(50):
        await admin.publish(f"told.{n}", b"")
    await admin.flush()
    await until(lambda: sorted(woken) == ["one", "other"])
    assert admin.stats["in_msgs"] - before == 1
    await wakeups.arm(["told.>"], one)
    await wakeups.disarm(one)
    await admin.publish("told.late", b"")
    await admin.flush()
    assert len(woken) == 2 and admin.stats["in_msgs"] - before == 1


def test_a_federated_page_has_one_series_for_each_replica() -> None:
    found = beats(PAGE)
    assert [(b.processed, b.working_s) for b in found["cv"]] == [(120, 30), (80, 20.5)]
    assert len({b.replica for b in found["cv"]}) == 2
    assert "embed" not in found, "without its working seconds there is no rate"
    with pytest.raises(ValueError):
        beats("<html>")


def test_a_workers_own_page_is_read_as_well() -> None:
    registry = CollectorRegistry()
    for name, value in (("tidegate_segments_out_total", 7), ("tidegate_working_seconds_total", 3.5)):
        Counter(name, "", ["service"], registry=registry).labels("cv").inc(value)
    [beat] = beats(generate_latest(registry).decode())["cv"]
    assert beat == Beat(replica="", pid=0, state="ready", processed=7, working_s=3.5)


async def test_pages_replace_heartbeats(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_page, "EVERY_S", 0.1)
    pages, requests = [PAGE.encode()], list[None]()

    async def read() -> None:
        """Wait until it has been read as it is: an answer may have been on its way, and the last is not used yet."""
        before = len(requests)
        await until(lambda: len(requests) >= before + 3)

    def warnings() -> list[str]:
        return [line["event"] for line in logs if "metrics" in line["event"]]

    with serving(pages, requests) as url, structlog.testing.capture_logs() as logs:
        async with LiveMetrics(admin, pages=[url]) as live_metrics:
            live = live_metrics.get(parse({"service": "cv", "metricsUrl": url}))
            assert isinstance(live, LiveDemand)
            await live.answer()
            await read()
            pages[0] = PAGE.replace(" 120 ", " 150 ").replace(" 30 ", " 40 ").encode()
            await read()
            explained = live.explanation()
            assert len(explained.replicas) == 2 and explained.replicas_from == url
            page = live_metrics._pages[url]
            assert page.heartbeats("cv").fleet(asyncio.get_running_loop().time()) == Workers(
                ready=2, loading=0, processed=30, working_s=10
            )
            for pages[0] in (b"", b"x 1\n", PAGE.encode()):
                await read()
            await until(lambda: len(warnings()) == 2)
    assert warnings() == ["workers' metrics can't be read: the lag rule applies", "workers' metrics can be read again"]


async def test_a_missing_page_leaves_no_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    with structlog.testing.capture_logs() as logs:
        page = MetricsPage("http://127.0.0.1:1/metrics")
        await until(lambda: logs)
    assert page.heartbeats("cv").fleet(0.0) is None
    await page.close()


def test_heartbeats_of_a_page_outlive_its_pauses() -> None:
    heartbeats = Heartbeats(metrics_page.SILENCE_S)
    heartbeats.beat(Beat(replica="a", pid=0, state="ready", processed=1, working_s=1), 0.0)
    assert heartbeats.fleet(2 * metrics_page.EVERY_S) is not None


# ---- what waits in a work queue


@given(st.sets(st.integers(1, 60)), st.integers(0, 60), st.integers(0, 60))
def test_the_backlog_of_a_work_queue_comes_from_its_stream(left: set[int], place: int, got: int) -> None:
    """Of 60 messages those that are left, worked off up to a place, and some more got since the stream was read."""
    last = 60
    in_work = sum(seq <= place for seq in left)
    assert waiting(len(left), last, place, in_work) == sum(seq > place for seq in left)
    assert waiting(len(left), last, min(place + got, last), in_work) <= last - min(place + got, last)
    assert waiting(len(left), last, last, in_work) == 0


async def test_a_waiting_job_counts_although_others_expired_during_the_request(admin: Client) -> None:
    """Red now and then without the stream's count: nats-server then says 0 for good."""
    js = admin.jetstream()
    consumers = Consumers(admin, every_s=0.1)
    reader = consumers.get(names.ASKS, "vlm-ask", service="vlm")
    try:
        for n in range(300):
            await admin.publish(names.job("ask", f"c-{n}"), b"{}", headers={"Nats-TTL": "1"})
        await js.publish(names.job("ask", "lobby"), b"{}", headers={"Nats-TTL": "600"})
        async with asyncio.timeout(patience_s()):
            while (await js.stream_info(names.ASKS)).state.messages > 1:
                for _ in range(100):
                    await admin.publish(names.api("CONSUMER.INFO", names.ASKS, "vlm-ask"), reply="nobody")
                await admin.flush()
        await until(lambda: reader.state().backlog == 1)
    finally:
        await consumers.close()


async def test_a_failing_listener_keeps_no_answer_from_the_others(admin: Client) -> None:
    consumers = Consumers(admin)
    reader = consumers.get("VLM,CAPTIONS", "vlm-verify,vlm-caption", service="vlm")
    calls: list[str] = []

    def fail() -> None:
        calls.append("failed")
        raise RuntimeError("this listener has a fault")

    reader.listeners |= {fail, *(partial(calls.append, f"listener {n}") for n in range(20))}
    try:
        await until(lambda: "failed" in calls and len(set(calls)) == 21)
    finally:
        await consumers.close()
