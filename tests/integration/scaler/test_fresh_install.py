"""The shipped ScaledObject with a real scaler and a real server, in the difficult order: the scaler comes last.

KEDA is a model of it, with KEDA's own requests: the page by HTTP, and NATS for the pending count.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import yaml
from nats.aio.client import Client

from shared.runtime.ports import free_port
from tests.support.messages import consume
from tests.support.paths import ROOT
from tests.support.processes.scaler_process import ScalerProcess
from tests.support.waiting import patience_s
from tests.support.worlds.scaler_page import get
from tests.support.worlds.scalers import publish
from tidegate.keda.decision import Keda
from tidegate.keda.scaledobject import MetricsApiTrigger, ScaledObject, parse
from tidegate.keda.source import Metric
from tidegate.local.server import NatsServer

SHIPPED = ROOT / "deploy/keda/demand/cv.yaml"
NET = 100
# The maximum time until KEDA follows demand once the scaler answers.
AT_MOST_S = 60.0


def scaled_object(port: int, net: int = NET) -> ScaledObject:
    """The shipped file, with the scaler at a local port, and a fallback trigger with a lower threshold."""
    content = yaml.safe_load(SHIPPED.read_text())
    demand, lag = (trigger["metadata"] for trigger in content["spec"]["triggers"])
    demand["url"] = f"http://127.0.0.1:{port}/demand?{demand['url'].partition('?')[2]}"
    lag["lagThreshold"] = str(net)
    return parse(yaml.safe_dump(content))


class Cluster:
    """KEDA and the HPA of one ScaledObject, in simulated seconds: the answers to their requests are real."""

    def __init__(self, scaled: ScaledObject, admin: Client) -> None:
        trigger = scaled.triggers[0]
        assert isinstance(trigger, MetricsApiTrigger)
        self._url = trigger.url
        self._admin = admin
        self.now = 0.0
        self.replicas = 0
        self.keda = Keda(scaled, self.now)

    async def run(self, seconds: float) -> int:
        """Simulate that much of KEDA's time; return the replicas at its end."""
        until = self.now + seconds
        while self.keda.next_at <= until:
            self.now = self.keda.next_at
            self.replicas = self.keda.step(self.now, [await self._demand(), await self._lag()], self.replicas).desired
        self.now = until
        return self.replicas

    async def _demand(self) -> Metric:
        try:
            code, reply = await asyncio.to_thread(get, self._url)
        except OSError as e:
            return e
        return float(reply["demand"]) if code == 200 else RuntimeError(f"/demand: api returned {code}")

    async def _lag(self) -> Metric:
        info = await self._admin.jetstream().consumer_info("MEDIA", "cv")
        return float((info.num_pending or 0) + (info.num_ack_pending or 0))


async def answers(url: str) -> None:
    async with asyncio.timeout(patience_s()):
        while True:
            try:
                if (await asyncio.to_thread(get, url))[0] == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_the_scaler_may_start_last_and_restart(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    port = free_port(0)
    scaler = ScalerProcess(server, tmp_path, http_port=port)
    cluster = Cluster(scaled_object(port), admin)
    # Applied long before the scaler's pods have their image: nothing runs, and KEDA reports an unknown state.
    assert await cluster.run(300) == 0
    assert cluster.keda.ready is False
    # Video comes nevertheless: the fallback trigger starts one replica, and no more while one may suffice.
    await publish(admin, 60)
    assert await cluster.run(60) == 1
    try:
        await scaler.start()
        await answers(f"http://127.0.0.1:{port}/demand?service=cv")
        # The rule until a replica's rate is measured: 60 messages at 20 a replica.
        assert await cluster.run(AT_MOST_S) == 3
        assert cluster.keda.ready is True
        await scaler.kill()
        await publish(admin, 940)
        assert await cluster.run(AT_MOST_S) == 8, "the net scales while nobody answers"
        assert cluster.keda.ready is None
        await consume(admin, 1000)
        assert await cluster.run(3600) == 8, "what can't be known lets nothing go"
        await scaler.start()
        await answers(f"http://127.0.0.1:{port}/demand?service=cv")
        assert await cluster.run(AT_MOST_S) < 8
        assert cluster.keda.ready is True
    finally:
        await scaler.kill()


async def test_a_mistyped_trigger_is_reported_and_disables_no_fallback(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    port = free_port(0)
    scaler = ScalerProcess(server, tmp_path, http_port=port)
    scaled = scaled_object(port)
    demand, lag = scaled.triggers
    assert isinstance(demand, MetricsApiTrigger)
    wrong = msgspec.structs.replace(demand, url=demand.url.replace("coldStart=60", "coldStart=soon"))
    cluster = Cluster(msgspec.structs.replace(scaled, triggers=(wrong, lag)), admin)
    await scaler.start()
    try:
        await publish(admin, 500)
        assert await cluster.run(AT_MOST_S) == 5
        assert cluster.keda.ready is None
        assert "metadata key coldStart is" in scaler.log
    finally:
        await scaler.kill()
