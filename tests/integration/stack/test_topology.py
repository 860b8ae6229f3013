"""Streams of `setup`, on a new server and on one of an older version; identities and health."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from urllib.error import HTTPError

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.js.api import RePublish

from shared import bus
from shared.bus import connection
from shared.contract import names, topology
from shared.runtime import telemetry
from shared.runtime.errors import BusError, SettingError
from shared.runtime.pages import monitoring
from shared.runtime.settings import BusSettings, load
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer


async def test_setup_twice_changes_nothing(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    assert await topology.apply(js, topology.TopologySettings()) == []
    assert await topology.apply(js, topology.TopologySettings(media_max_age_s=60)) == ["stream MEDIA updated"]


@given(st.floats(1, topology.MOST_AGE_S))
def test_a_repeated_message_is_deduplicated_by_its_id(media_max_age_s: float) -> None:
    """MEDIA redelivers a segment while it has it, a job for an hour; the server needs no id for longer."""
    limits = topology.TopologySettings(media_max_age_s=media_max_age_s)
    found = {stream.name: stream for stream in topology.streams(limits)}
    an_hour = 3600.0
    for ends, begins in ((names.EVENTS, [names.MEDIA]), (names.DLQ, [names.MEDIA, *(s for s, _ in names.VLM_WORK)])):
        window = found[ends].duplicate_window or 120.0
        assert window <= min(an_hour, found[ends].max_age or 0)
        for stream in begins:
            assert window >= min(an_hour, found[stream].max_age or 0), (stream, ends)


async def test_setup_removes_a_limit_of_an_older_version(admin: Client) -> None:
    """A consumer that once gave up after five deliveries, and a stream that once refused large messages."""
    js = admin.jetstream()
    consumer = (await js.consumer_info("EVENTS", "webhook")).config
    consumer.max_deliver = 5
    await js.add_consumer("EVENTS", consumer)
    stream = (await js.stream_info("EVENTS")).config
    stream.max_msg_size = 1000
    await js.update_stream(stream)
    limits = topology.TopologySettings()
    assert await topology.apply(js, limits) == ["stream EVENTS updated", "consumer webhook updated"]
    assert (await js.consumer_info("EVENTS", "webhook")).config.max_deliver == -1
    assert (await js.stream_info("EVENTS")).config.max_msg_size == -1
    assert await topology.apply(js, limits) == []


LIMITS = (
    "media_max_bytes",
    "media_max_age_s",
    "events_max_bytes",
    "dlq_max_bytes",
    "pictures_max_bytes",
    "pictures_max_age_s",
    "vlm_max_msgs",
    "vlm_max_asks",
    "vlm_max_captions",
    "max_ack_pending",
)


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_beyond_the_servers_integers_is_refused_by_name(name: str) -> None:
    """They end at 2**63, in nanoseconds for an age."""
    too_much = str(2**63 // (10**9 if name.endswith("_s") else 1) + 1)
    with pytest.raises(SettingError, match=rf"{name.upper()}='{too_much}' can't be used: give .* up to 1e\+"):
        load(topology.TopologySettings, {name.upper(): too_much})


async def test_a_limit_beyond_the_servers_disk_names_its_setting(admin: Client) -> None:
    js = admin.jetstream()
    for limits, setting in (
        ({"MEDIA_MAX_BYTES": "1000000000000000000"}, "MEDIA_MAX_BYTES"),
        ({"EVENTS_MAX_BYTES": "1000000000000000000"}, "EVENTS_MAX_BYTES"),
        ({"DLQ_MAX_BYTES": "1000000000000000000"}, "DLQ_MAX_BYTES"),
        ({"STREAM_REPLICAS": "3"}, "STREAM_REPLICAS"),
    ):
        with pytest.raises(BusError, match=f"lower {setting}"):
            await topology.apply(js, load(topology.TopologySettings, limits))
    most = {"MEDIA_MAX_AGE_S": "1e9", "VLM_MAX_MSGS": "1000000000000000000", "MAX_ACK_PENDING": "1000000000"}
    assert await topology.apply(js, load(topology.TopologySettings, most))


async def test_setup_gives_streams_of_an_older_version_their_republish(admin: Client) -> None:
    js = admin.jetstream()
    for stream in ("MEDIA", "VLM"):
        config = (await js.stream_info(stream)).config
        assert config.republish is not None and config.republish.headers_only
        config.republish = None
        await js.update_stream(config)
    limits = topology.TopologySettings()
    assert await topology.apply(js, limits) == ["stream MEDIA updated", "stream VLM updated"]
    assert await topology.apply(js, limits) == []
    heads = await admin.subscribe("stored.>")
    await js.publish("media.lobby", b"video", headers={"Camera": "lobby"})
    head = await heads.next_msg(timeout=patience_s())
    assert (head.subject, head.data) == ("stored.media.lobby", b"")
    assert (head.headers or {})["Camera"] == "lobby"


async def test_setup_adds_main_streams_to_media_of_an_older_version(server: NatsServer, admin: Client) -> None:
    """Its video and its consumers stay, and its workers get no video of main streams."""
    js = admin.jetstream()
    config = (await js.stream_info("MEDIA")).config
    config.subjects = ["media.>"]
    config.republish = RePublish(src="media.>", dest="stored.media.>", headers_only=True)
    await js.update_stream(config)
    before = await js.publish("media.lobby", b"video")
    assert await topology.apply(js, topology.TopologySettings()) == ["stream MEDIA updated"]
    heads = await admin.subscribe("stored.>")
    ingest = await bus.connect(server.settings("ingest"), "ingest")
    try:
        for subject in ("main.lobby", "media.lobby"):
            ack = await ingest.jetstream().publish(subject, b"video", stream="MEDIA")
            assert (await heads.next_msg(timeout=patience_s())).subject == f"stored.{subject}"
    finally:
        await ingest.close()
    assert ack.seq == before.seq + 2
    for consumer in ("cv", "embed", "vlm-plan"):
        assert (await js.consumer_info("MEDIA", consumer)).num_pending == 2, consumer


async def test_identities_have_minimal_rights(server: NatsServer) -> None:
    cv = await bus.connect(server.settings("cv"), "cv")
    viewer = await bus.connect(server.settings("viewer"), "viewer")
    ingest = await bus.connect(server.settings("ingest"), "ingest")
    scaler = await bus.connect(server.settings("scaler"), "scaler")
    problems = [""]

    async def note(error: Exception) -> None:
        problems.append(str(error))

    for client in (cv, viewer, ingest, scaler):
        client._error_cb = note  # type: ignore[attr-defined]
    for client, subject in (
        (cv, "$JS.API.STREAM.INFO.KV_credentials"),
        (cv, "$JS.API.DIRECT.GET.KV_credentials.$KV.credentials.lobby"),
        (cv, "$JS.API.STREAM.DELETE.MEDIA"),
        (cv, "media.lobby"),
        (viewer, "events.detections.lobby"),
        (viewer, "$JS.API.STREAM.INFO.EVENTS"),
        (ingest, "$JS.API.CONSUMER.MSG.NEXT.MEDIA.cv"),
        (ingest, "$KV.cameras.lobby"),
        (scaler, "$JS.API.CONSUMER.MSG.NEXT.MEDIA.cv"),
        (scaler, "$JS.API.CONSUMER.DELETE.MEDIA.cv"),
        (scaler, "$JS.API.DIRECT.GET.MEDIA.media.lobby"),
        (scaler, "$JS.API.STREAM.INFO.KV_credentials"),
        (scaler, "media.lobby"),
        (scaler, "stored.media.lobby"),
        (scaler, "$KV.cameras.lobby"),
    ):
        await client.publish(subject, b"")
        # The server reports requests to JetStream without their prefix.
        refused = f'{subject.removeprefix("$JS.API.")}"'.lower()
        await until(lambda refused=refused: problems[-1].lower().endswith(refused))
    video = await scaler.subscribe("media.>")
    await until(lambda: problems[-1].endswith('subscription to "media.>"'))
    admin = await bus.connect(server.settings("admin"), "admin")
    await admin.jetstream().publish("media.lobby", b"video")
    await scaler.flush()
    assert not video.pending_msgs
    for client in (cv, viewer, ingest, scaler, admin):
        await client.close()


async def test_a_failed_connection_names_its_cause(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = msgspec.structs.replace(server.settings("cv"), nats_password="guess")
    with pytest.raises(BusError, match="NATS_PASSWORD") as refused:
        await bus.connect(wrong, "cv", timeout_s=5)
    assert "guess" not in str(refused.value)
    await server.stop()
    monkeypatch.setattr(connection, "SILENT_S", 0.0)
    with pytest.raises(BusError, match="no NATS server answers"):
        await bus.connect(server.settings("cv"), "cv", timeout_s=0.5)  # clock: its expiry is under test
    printed = capsys.readouterr()
    line = f"no NATS server answers at {server.url} yet"
    assert line in printed.out + printed.err and "set NATS_URL" in printed.out + printed.err


async def test_health_names_what_is_missing() -> None:
    now = 100.0
    health = telemetry.Health(limit_s=5, clock=lambda: now)
    port = monitoring.serve(BusSettings(), health)

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as e:
            return e.code, e.read().decode()

    assert get("/healthz") == (200, "ok\n")
    assert get("/readyz") == (503, "starting\n")
    assert "\ntidegate_ready 0.0\n" in get("/metrics")[1]
    health.ready = None
    assert get("/readyz") == (200, "ok\n")
    assert "\ntidegate_ready 1.0\n" in get("/metrics")[1]
    now = 110.0
    assert get("/healthz")[0] == 503
    assert "\ntidegate_ready 0.0\n" in get("/metrics")[1]
    assert "not moved" in get("/healthz")[1]
    health.beat()
    assert get("/healthz")[0] == 200
    assert "python_info" in get("/metrics")[1]
    assert get("/nothing")[0] == 404
    with pytest.raises(SettingError, match=f"METRICS_PORT={port}"):
        monitoring.serve(BusSettings(metrics_port=port), health)


def test_names_fit_event_ids() -> None:
    assert names.safe_name("rt detr/v2:x@1") == "rt-detr-v2-x-1"
    assert names.safe_name("ssd_v2.1-x") == "ssd_v2.1-x"


UNHEARD = """
import asyncio, gc, logging, sys, threading
from shared.runtime import telemetry
from shared.runtime.settings import BusSettings

telemetry.configure(BusSettings(log_format=sys.argv[1]), "ingest")

def fail():
    raise ValueError("rtsp://me:S3CRET@10.0.0.7/live did not answer")

async def main():
    async def alone():
        fail()
    task = asyncio.create_task(alone())
    await asyncio.sleep(0)
    del task
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)

thread = threading.Thread(target=fail)
thread.start()
thread.join()
asyncio.run(main())
gc.collect()
logging.getLogger("library").warning("retrying %s", "http://me:S3CRET@10.0.0.8/")
logging.getLogger("library").info("not told")
evil = "\\x1b]0;owned\\x07\\x9b31m\\u202e"
telemetry.logger("cameras").warning(f"{evil}event", camera=evil, nested=[evil])
logging.getLogger("library").error(f"{evil}library")
try:
    raise ValueError(f"{evil}raised")
except ValueError:
    telemetry.logger("cameras").exception("failed")
"""


@pytest.mark.parametrize("format", ["json", "text"])
def test_messages_of_libraries_and_threads_are_logged_in_the_same_format(format: str) -> None:
    """Otherwise Python prints it, with the address of a camera and its password."""
    done = subprocess.run([sys.executable, "-c", UNHEARD, format], capture_output=True, text=True, check=True)
    output = done.stdout + done.stderr
    assert "S3CRET" not in output and "not told" not in output
    assert not set(output) & set("\x1b\x07\x9b\u202e"), "a terminal obeys what a camera wrote"
    assert output.count("owned") == 5
    assert output.count("://***@10.0.0.7/live did not answer") >= 3 and "://***@10.0.0.8/" in output
    if format == "json":
        lines = [json.loads(line) for line in output.splitlines()]
        assert {line["part"] for line in lines} == {"asyncio", "cameras", "library", "threads"}
        assert {line["level"] for line in lines} == {"warning", "error"}
