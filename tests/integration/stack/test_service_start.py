"""A service that starts before its dependencies waits for them, and reports it. A permanent fault ends it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from shared.runtime import child
from shared.runtime.ports import free_port
from tests.support.processes.service_process import ServiceProcess
from tests.support.waiting import patience_s
from tidegate.local.cluster import NatsCluster
from tidegate.local.server import NatsServer, find_executable

# Services that need JetStream to start.
SERVICES = ("ingest", "cv", "analytics", "search", "vlm-front", "webhook", "pictures", "recorder")

Start = Callable[..., ServiceProcess]


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[ServiceProcess] = []

    def go(service: str, at: dict[str, str], **env: str) -> ServiceProcess:
        started.append(ServiceProcess(service, at, tmp_path, WEBHOOK_URL="http://127.0.0.1:9/", **env))
        return started[-1]

    yield go
    for one in started:
        one.process.kill()
        await asyncio.to_thread(one.process.wait, patience_s())


@pytest.mark.slow
async def test_all_services_wait_for_a_leader(cluster: NatsCluster, start: Start, tmp_path: Path) -> None:
    await asyncio.gather(*(server.stop() for server in cluster.servers))
    # One of three is no majority: no stream has a leader.
    await cluster.servers[0].start()
    remaining = {"SEARCH_INDEX": str(tmp_path / "index"), "RECORDER_STORE": str(tmp_path / "recordings")}
    services = [start(service, cluster.environment(service), **remaining) for service in SERVICES]
    scaler = start("scaler", cluster.environment("scaler"), SCALER_PORT="0", SCALER_HTTP_PORT="0")
    for service in services:
        await service.until_it_says("/readyz", "^waiting for JetStream: ")
        assert '"waiting for JetStream"' in service.log
        assert await service.says("/healthz") == "ok"
    # A stop signal ends the wait.
    reply = start("webhook", cluster.environment("webhook"))
    await reply.until_it_says("/readyz", "^waiting for JetStream: ")
    assert await reply.end() == 0
    for server in cluster.servers[1:]:
        await server.start()
    services.append(scaler)
    for service in services:
        await service.until_it_says("/readyz", "^ok$")
    assert [await service.end() for service in services] == [0] * len(services)


async def test_a_stop_signal_ends_the_wait(server: NatsServer, start: Start) -> None:
    await server.stop()
    webhook = start("webhook", server.environment("webhook"))
    await webhook.until_it_says("/readyz", "^waiting for NATS at ")
    # It leaves no core file, which would contain its password.
    limits = Path(f"/proc/{webhook.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    assert await webhook.end() == 0


async def test_a_service_that_starts_before_its_server_waits_for_it(server: NatsServer, start: Start) -> None:
    await server.stop()
    webhook = start("webhook", server.environment("webhook"))
    await webhook.until_it_says("/readyz", f"^waiting for NATS at {server.url}: .*Connect call failed")
    assert await webhook.says("/healthz") == "ok"
    await server.start()
    await webhook.until_it_says("/readyz", "^ok$")


async def test_a_missing_right_is_not_waited_for(server: NatsServer, start: Start) -> None:
    webhook = start("webhook", server.environment("viewer"))
    assert await webhook.ended() == 1
    assert "may this user read it?" in webhook.log


async def test_a_server_without_jetstream_is_not_waited_for(start: Start, tmp_path: Path) -> None:
    port = free_port(0)
    plain = child.spawn([find_executable(), "-a", "127.0.0.1", "-p", str(port)], log=tmp_path / "nats.log")
    webhook = start("webhook", {"NATS_URL": f"nats://127.0.0.1:{port}"})
    assert await webhook.ended() == 1
    assert "is it enabled" in webhook.log
    plain.terminate()
    await asyncio.to_thread(plain.wait, patience_s())
