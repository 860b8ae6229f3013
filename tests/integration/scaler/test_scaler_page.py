"""The page /demand over a real server, with the requests of KEDA's trigger of type `metrics-api`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from services.scaler.consumers.readers import STALE_S
from services.scaler.live import live_metrics
from services.scaler.page import serving_page
from services.scaler.settings import ScalerSettings, certificates
from shared.client import registry
from shared.contract.cameras import Camera
from shared.runtime.errors import SettingError
from tests.support.messages import consume
from tests.support.metrics_page import PAGE, serving
from tests.support.servers.certificates import Authority
from tests.support.waiting import patience_s, until
from tests.support.worlds.scaler_page import Answer, get
from tests.support.worlds.scalers import BAD, estimating, publish
from tidegate.local.server import NatsServer

CV = {"service": "cv", "lagThreshold": "20", "coldStart": "10"}


async def ask(url: str, metadata: dict[str, str]) -> Answer:
    return await asyncio.to_thread(get, f"{url}?{urlencode(metadata)}")


@asynccontextmanager
async def running(server: NatsServer, **settings: Any) -> AsyncIterator[str]:
    """The page as the identity `scaler`, with its few rights; yields its URL."""
    given = ScalerSettings(scaler_http_port=0, **settings)
    async with estimating(server, pages=given.pages) as one, serving_page(one, given) as url:
        yield url


async def test_the_page_reports_the_needed_replicas(server: NatsServer, admin: Client) -> None:
    async with running(server) as url:
        assert await ask(url, CV) == (200, {"demand": 0.0, "active": False})
        await publish(admin, 30)
        await until_async(lambda: ask(url, CV), lambda a: a == (200, {"demand": 1.5, "active": True}))
        await consume(admin, 30)


async def test_the_first_message_is_in_the_next_answer(server: NatsServer, admin: Client) -> None:
    """The stream's republished message counts before the scaler's next read of JetStream; the demand is small."""
    async with running(server) as url:
        assert (await ask(url, CV))[1]["active"] is False
        await publish(admin, 1)
        code, reply = await until_async(lambda: ask(url, CV), lambda a: a[1]["active"])
        assert code == 200 and reply["demand"] > 0


async def test_bad_parameters_are_named(server: NatsServer) -> None:
    async with running(server) as url:
        for metadata, key in BAD:
            code, reply = await ask(url, metadata)
            assert code == 400 and key in reply["error"] and "s3cret" not in reply["error"], (metadata, reply)
        for query, says in (("service", "?service=cv"), ("service=cv&service=vlm", "service twice"), ("a=1&" * 99, "")):
            code, reply = await asyncio.to_thread(get, f"{url}?{query}")
            assert code == 400 and says in reply["error"]


async def test_no_credentials_are_logged(server: NatsServer, capfd: pytest.CaptureFixture[str]) -> None:
    request = {"service": "cv", "metricsUrl": "http://me:s3cret@prometheus/federate"}
    async with running(server) as url:
        assert (await ask(url, request))[0] == 400
        long = "http%3A%2F%2Fme%3A" + "s3cret" * 200 + "%40prometheus%2F"
        for query in (
            f"service=cv&metricsUrl={long}",
            "token=s3cret&service=cv",
            "service=cv&metricsUrl=http%3A%2F%2Fp%2F%3Ftoken%3Ds3cret%26x%3D%2A",
        ):
            await asyncio.to_thread(get, f"{url}?{query}")
    logged = "".join(capfd.readouterr())
    assert "demand can't be answered" in logged and "s3cret" not in logged


async def test_only_configured_pages_are_read(server: NatsServer) -> None:
    """A query must not make the scaler fetch arbitrary URLs: it reaches addresses that the client does not."""
    reads = list[None]()
    with serving([PAGE.encode()], reads) as page:
        async with running(server) as url:
            for metrics_url in (page, f"{page}?match[]=x"):
                code, answer = await ask(url, CV | {"metricsUrl": metrics_url})
                assert code == 400 and "SCALER_METRICS_PAGES" in answer["error"]
        allowed = page.rpartition("/")[0] + "/other"
        async with running(server, scaler_metrics_pages=f"http://prometheus:9090/federate,{allowed}") as url:
            code, _ = await ask(url, CV | {"metricsUrl": page})
            assert code == 400 and not reads
            assert (await ask(url, CV | {"metricsUrl": f"{allowed}?match[]=x"}))[0] == 200
            await until(lambda: reads)


async def test_different_queries_have_a_limit(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory for ten minutes. Earlier queries still get answers."""
    monkeypatch.setattr(live_metrics, "MOST_QUERIES", 5)
    async with running(server) as url:
        assert (await ask(url, CV))[0] == 200
        answers = await asyncio.gather(*(ask(url, CV | {"latencyTarget": str(3 + n)}) for n in range(8)))
        codes = [code for code, _ in answers]
        assert sorted(codes) == [200] * 4 + [503] * 4
        assert all("5 queries" in answer["error"] for code, answer in answers if code == 503)
        assert (await ask(url, CV))[0] == 200


@pytest.mark.slow
async def test_a_missing_consumer_takes_no_place(server: NatsServer) -> None:
    async with estimating(server) as one, serving_page(one, ScalerSettings(scaler_http_port=0)) as url:
        assert (await ask(url, CV))[0] == 200
        for n in range(3):
            assert (await ask(url, {"service": "cv", "stream": "MEDIA", "consumer": f"invented-{n}"}))[0] == 404
        assert len(one.lives()) == 4
        await one.sweep(missing_s=-1.0)
        assert [live.query.service for live in one.lives()] == ["cv"]


async def test_unbounded_numbers_harm_no_other_query(server: NatsServer) -> None:
    """Regression: one query that failed on each answer broke the others of its consumer."""
    async with running(server) as url:
        assert (await ask(url, CV))[0] == 200
        for key in ("headroom", "latencyTarget", "coldStart", "lagThreshold"):
            for number in ("9" * 400, "0." + "0" * 330 + "1"):
                code, _ = await ask(url, CV | {key: number})
                assert code in (200, 400)
        await asyncio.sleep(STALE_S)  # clock: every answer until now is too old
        assert (await ask(url, CV))[0] == 200


async def test_a_problem_is_logged_at_its_start_and_end(
    server: NatsServer, admin: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    """KEDA shows only the status code."""
    await admin.jetstream().delete_consumer("MEDIA", "embed")
    async with running(server) as url:
        for _ in range(3):
            code, reply = await ask(url, {"service": "embed"})
            assert code == 404 and "consumer embed of stream MEDIA" in reply["error"]
        await admin.jetstream().add_consumer("MEDIA", ConsumerConfig(durable_name="embed", ack_policy="explicit"))
        await until_async(lambda: ask(url, {"service": "embed"}), lambda a: a[0] == 200)
    logged = "".join(capfd.readouterr())
    assert logged.count("demand can't be answered") == 1 and "tidegate setup" in logged
    assert logged.count("demand is answered again") == 1


async def test_a_jetstream_outage_is_reported_and_recovered(server: NatsServer, admin: Client) -> None:
    async with running(server) as url:
        assert (await ask(url, CV))[0] == 200
        await server.stop()
        code, reply = await until_async(lambda: ask(url, CV), lambda a: a[0] != 200)
        assert code == 503 and "NATS is not connected" in reply["error"]
        # A service that is new to it gets the same answer, before KEDA gives up.
        assert (await ask(url, CV | {"headroom": "0.5"}))[0] == 503
        await server.start()
        assert (await until_async(lambda: ask(url, CV), lambda a: a[0] == 200))[1]["demand"] == 0.0


async def test_ingest_is_scaled_by_its_cameras(server: NatsServer, admin: Client) -> None:
    for n in range(3):
        await registry.put(admin.jetstream(), f"c{n}", Camera(url="rtsp://host/stream"), None)
    async with running(server) as url:
        request = {"service": "ingest", "camerasPerReplica": "2"}
        assert await until_async(lambda: ask(url, request), lambda a: a[0] == 200) == (
            200,
            {"demand": 1.5, "active": True},
        )


async def test_other_paths_are_not_found(server: NatsServer) -> None:
    async with running(server) as url:
        assert (await asyncio.to_thread(get, url.replace("/demand", "/")))[0] == 404
        assert (await asyncio.to_thread(get, url.replace("/demand", "/metrics")))[0] == 404
        assert (await asyncio.to_thread(get, f"{url}?service=cv", method="POST"))[0] == 405


async def test_tls_and_mutual_tls(server: NatsServer, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    pair = ours.issue()
    tls = {"scaler_tls_cert": pair.cert, "scaler_tls_key": pair.key}
    trusting = ssl.create_default_context(cafile=ours.ca)

    def fetch(url: str, context: ssl.SSLContext) -> Answer:
        return get(f"{url.replace('127.0.0.1', 'localhost')}?service=cv", context)

    async with running(server, **tls) as url:
        assert url.startswith("https://")
        assert (await asyncio.to_thread(fetch, url, trusting))[0] == 200
        with pytest.raises(URLError):
            await asyncio.to_thread(fetch, url, ssl.create_default_context(cafile=theirs.ca))
    async with running(server, **tls, scaler_client_ca=ours.ca) as url:
        assert (await asyncio.to_thread(fetch, url, trusting))[0] == 403
        for authority, expected in ((ours, 200), (theirs, None)):
            context = ssl.create_default_context(cafile=ours.ca)
            keda = authority.issue("keda")
            context.load_cert_chain(keda.cert, keda.key)
            if expected:
                assert (await asyncio.to_thread(fetch, url, context))[0] == expected
            else:
                with pytest.raises((URLError, OSError)):
                    await asyncio.to_thread(fetch, url, context)


def test_half_a_tls_configuration_is_refused(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue()
    with pytest.raises(SettingError, match="SCALER_TLS_KEY"):
        certificates(ScalerSettings(scaler_tls_cert=pair.cert))
    with pytest.raises(SettingError, match="SCALER_CLIENT_CA"):
        certificates(ScalerSettings(scaler_client_ca=pair.cert))
    assert certificates(ScalerSettings()) is None


async def test_a_port_in_use_is_named(server: NatsServer) -> None:
    async with running(server) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        async with estimating(server) as live_metrics:
            with pytest.raises(SettingError, match=f"SCALER_HTTP_PORT={port}"):
                async with serving_page(live_metrics, ScalerSettings(scaler_http_port=port)):
                    pass


async def until_async(ask: Any, holds: Any) -> Answer:
    """The first answer for which the condition holds."""
    async with asyncio.timeout(patience_s()):
        while not holds(answer := await ask()):
            await asyncio.sleep(0.05)
    return answer  # type: ignore[no-any-return]
