"""From a detection to a confirmed alert: analytics publishes a job, vlm analyses the video, analytics alerts."""

from __future__ import annotations

import asyncio

import msgspec
from nats.aio.client import Client

from shared.contract import names, topology
from shared.contract.events import Alert, Detections, Verdict
from shared.contract.topology import TopologySettings
from shared.runtime.tasks import end
from tests.support.servers.openai_server import OpenAiServer, text
from tests.support.video.walking_people import Walk, detections, publish
from tests.support.waiting import LONGEST_S, patience_s
from tests.support.worlds.analytics_world import ASKING, incidents, running, until, use
from tests.support.worlds.jobs_world import film, fronting, stored_results, waiting, worker
from tests.support.worlds.questions import flood
from tidegate.local.server import NatsServer

ACROSS = Walk(1, 9, (0.1, 0.7), (0.9, 0.7))
NO = text('{"verdict":"rejected","confidence":80,"reason":"It is a shadow."}')


async def filmed(admin: Client) -> list[Detections]:
    """The detections of two people who cross, one after the other, in stored video."""
    given = detections([ACROSS, Walk(12, 20, (0.1, 0.7), (0.9, 0.7))], 24)
    seqs = await film(admin, 24)
    return [
        msgspec.structs.replace(e, segment=msgspec.structs.replace(e.segment, seq=seq))
        for e, seq in zip(given, seqs, strict=True)
    ]


async def test_vlm_looks_at_the_evidence_and_its_verdict_makes_the_alert(server: NatsServer, admin: Client) -> None:
    """The first incident is confirmed, the second rejected."""
    await use(admin, "lobby", ASKING)
    found = await filmed(admin)
    async with OpenAiServer() as model, worker(server, model.url, vlm_batch_size=1), running(server):
        await publish(admin, found[:12])
        await until(admin, lambda f: any(isinstance(e, Alert) for e in f))
        model.then = NO
        await publish(admin, found[12:])
        events = [e for _, e in await until(admin, lambda f: len(incidents(f, "update")) == 2)]
        (yes, no) = [v for _, v in await stored_results(admin) if isinstance(v, Verdict)]
    begun = incidents(events, "start")
    assert [v.incident for v in (yes, no)] == [e.incident for e in begun]
    assert {f.seq for f in yes.frames} <= {s.seq for s in begun[0].segments}
    assert [e.verification for e in incidents(events, "update")] == ["confirmed", "rejected"]
    (alert,) = [e for e in events if isinstance(e, Alert)]
    assert (alert.incident, alert.verification, alert.confidence) == (begun[0].incident, "confirmed", 0.9)
    assert alert.reason == "A person is there."


async def test_a_flood_of_questions_silences_no_alert(server: NatsServer, admin: Client) -> None:
    """The service verifies an incident while the queue of questions is full; without a worker it still alerts."""
    most = 30
    await topology.apply(admin.jetstream(), TopologySettings(vlm_max_msgs=most, vlm_max_asks=most))
    await use(admin, "lobby", ASKING)
    found = await filmed(admin)
    async with fronting(server):
        async with running(server, analytics_verify_s=3.0):
            flooding = asyncio.create_task(flood(server, 2 * most, wait_s=60))
            async with asyncio.timeout(patience_s()):
                while await waiting(admin, names.ASKS) < most:
                    await asyncio.sleep(0.05)
            await publish(admin, found[:12])
            events = [e for _, e in await until(admin, lambda f: any(isinstance(e, Alert) for e in f))]
            assert [e.verification for e in events if isinstance(e, Alert)] == ["unverified"]
        # The worker may take as long as it needs.
        async with (
            running(server, analytics_verify_s=LONGEST_S),
            OpenAiServer() as model,
            worker(server, model.url, vlm_batch_size=1),
        ):
            await publish(admin, found[12:])
            both = await until(admin, lambda f: sum(isinstance(e, Alert) for e in f) == 2)
        await end(flooding)
    assert [e.verification for _, e in both if isinstance(e, Alert)] == ["unverified", "confirmed"]
