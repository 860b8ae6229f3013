"""An independent KEDA and real workers: from zero to some and back, over a restart of the scaler, without loss.

A generated client makes KEDA's calls to the scaler, the model of KEDA decides, and workers process real video.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from shared.contract import names
from shared.contract.events import Detections
from shared.contract.segment import to_headers
from shared.runtime.tasks import end
from tests.support.kube.keda_calls import KedaClient, Refused, Stream, generate
from tests.support.processes.scaler_process import ScalerProcess
from tests.support.waiting import until
from tidegate.demo import clips, footage
from tidegate.keda.decision import Keda
from tidegate.keda.scaledobject import ExternalTrigger, ScaledObject, parse
from tidegate.keda.source import Metric, Reading
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

# KEDA's seconds in a real second.
SPEED = 10.0
MOST = 3
SCALED = f"""
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: tidegate-cv}}
spec:
  scaleTargetRef: {{name: tidegate-cv}}
  pollingInterval: 5
  cooldownPeriod: 30
  maxReplicaCount: {MOST}
  fallback: {{failureThreshold: 3, replicas: 1, behavior: currentReplicasIfHigher}}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp: {{stabilizationWindowSeconds: 0}}
        scaleDown: {{stabilizationWindowSeconds: 30}}
  triggers:
    - type: external-push
      metadata:
        scalerAddress: 127.0.0.1:9090
        service: cv
        latencyTarget: "1"
        coldStart: "5"
        lagThreshold: "5"
"""


class Driver:
    """KEDA's operator for one ScaledObject: the client calls, the model decides, the pool is its Deployment."""

    def __init__(self, client: KedaClient, scaled: ScaledObject, pool: Replicas) -> None:
        [trigger] = scaled.triggers
        assert isinstance(trigger, ExternalTrigger) and trigger.push
        self._client = client
        self._metadata = trigger.metadata | {"scalerAddress": trigger.scaler_address}
        self._pool = pool
        self._keda = Keda(scaled, self._now())
        self.pushes: list[float] = []
        self.opened = 0
        self.polls = 0
        self.errors: list[str] = []

    async def run(self) -> None:
        [spec] = (await self._client.call("GetMetricSpec", self._metadata))["metricSpecs"]
        assert float(spec["targetSizeFloat"]) == 1, "the model has no other target"
        held = asyncio.create_task(self._in_flight("StreamIsActive", self._push))
        specs = asyncio.create_task(self._in_flight("StreamMetricSpec", lambda _: None))
        try:
            while True:
                metric: Metric
                try:
                    metric = Reading(*await self._client.metric(self._metadata))
                except Refused as e:
                    metric = e
                    self.errors.append(e.code)
                self.polls += 1
                decision = self._keda.step(self._now(), [metric], self._pool.count)
                await self._pool.scale_to(decision.desired)
                await asyncio.sleep(max(0.02, (self._keda.next_at - self._now()) / SPEED))
        finally:
            await end(held, specs)

    async def _in_flight(self, method: str, take: Callable[[Stream], None]) -> None:
        """Open a stream, and reopen it two of KEDA's seconds after its end."""
        while True:
            async with self._client.stream(method, self._metadata) as stream:
                self.opened += 1
                seen = 0
                while stream.ended is None or seen < len(stream.answers):
                    if seen < len(stream.answers):
                        seen += 1
                        take(stream)
                    else:
                        await asyncio.sleep(0.005)
            await asyncio.sleep(2.0 / SPEED)

    def _push(self, stream: Stream) -> None:
        if stream.results[-1]:
            self.pushes.append(time.monotonic())
            decision = self._keda.push(self._now(), self._pool.count)
            self._scaling = asyncio.create_task(self._pool.scale_to(decision.desired))

    def _now(self) -> float:
        return time.monotonic() * SPEED


async def publish(client: Client, pieces: list[clips.Piece], first: int, count: int) -> None:
    js = client.jetstream()
    for n in range(first, first + count):
        piece = pieces[n % len(pieces)]
        head = msgspec.structs.replace(piece.segment, epoch="story", n=n)
        await js.publish(names.media("lobby"), piece.payload, headers=to_headers(head) | {"Nats-Msg-Id": f"story/{n}"})


async def detected(client: Client) -> list[int]:
    """Stream sequences of the segments that have an event, in the order the events came, without revisions.

    The clip repeats, and so has static scenes: an idle replica may analyse a skipped segment once more.
    """
    js = client.jetstream()
    last = (await js.stream_info("EVENTS")).state.last_seq
    raw = [await js.get_msg("EVENTS", seq, direct=True) for seq in range(1, last + 1)]
    first = [r for r in raw if not (r.headers or {})["ce-id"].endswith("/full")]
    return [msgspec.json.decode(r.data or b"", type=Detections).segment.seq for r in first]


@pytest.mark.slow
async def test_an_independent_keda_scales_real_workers_and_nothing_is_lost(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[0]
    pieces = [p for p in clips.pieces(video, "lobby") if not p.dependent]
    pool = Replicas(
        "cv", [sys.executable, "-m", "services.cv"], server.environment("cv") | {"CV_FPS": "5"}, tmp_path / "logs"
    )
    scaler = ScalerProcess(server, tmp_path)
    await scaler.start()
    counts: set[int] = set()
    generated = await asyncio.to_thread(generate, tmp_path / "generated")
    try:
        async with KedaClient(f"127.0.0.1:{scaler.port}", generated) as client:
            driver = Driver(client, parse(SCALED), pool)
            running = asyncio.create_task(driver.run())
            await until(lambda: driver.opened >= 2)
            polls = driver.polls
            await until(lambda: driver.polls >= polls + 2)
            assert pool.count == 0 and not driver.pushes

            began = time.monotonic()
            await publish(admin, pieces, 0, 1)
            await until(lambda: pool.count == 1)
            assert driver.pushes, "the first worker was polled for"
            print(f"first worker asked for {driver.pushes[0] - began:.3f} s after the first segment's publish began")

            await publish(admin, pieces, 1, 150)
            await until(lambda: counts.add(pool.count) or pool.count > 1)
            # KEDA goes on by itself over a restart: errors, and then new streams.
            opened = driver.opened
            await scaler.stop()
            await until(lambda: "UNAVAILABLE" in driver.errors)
            await scaler.start()
            await until(lambda: driver.opened >= opened + 2)
            await publish(admin, pieces, 151, 30)
            await until(lambda: counts.add(pool.count) or pool.count == 0)
            await until(lambda: pool.draining_count == 0)
            await end(running)
    finally:
        await pool.close()
        await scaler.stop(signal.SIGKILL)
    segments = (await admin.jetstream().stream_info("MEDIA")).state.last_seq
    assert segments == 181
    assert sorted(await detected(admin)) == list(range(1, segments + 1))
    # gRPC's core may end the poll at the start of a stop with CANCELLED: grpc/grpc#41785.
    first, *rest = driver.errors
    assert first in ("CANCELLED", "UNAVAILABLE") and set(rest) <= {"UNAVAILABLE"}
    assert max(counts) > 1, f"never more than one of {sorted(counts)}"
    info = await admin.jetstream().consumer_info("MEDIA", "cv")
    assert (info.num_pending, info.num_ack_pending) == (0, 0)
