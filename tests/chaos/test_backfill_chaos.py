"""Workers are killed at every point between their PubAcks: every segment has one event, and one revision if it was low.

tests/support/processes/crashing_backfill.py is the worker; the server is a real one.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.runtime.backoff import Backoff
from tests.support.processes import service
from tests.support.processes.crashing_backfill import POINTS
from tests.support.processes.echo_service import letters, publish
from tests.support.waiting import patience_s
from tests.support.worlds.backfill import be_patient, firsts, revisions
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

KILLS_A_POINT = 4


@pytest.mark.slow
@pytest.mark.long
async def test_each_segment_has_one_event_and_one_revision_after_kills_between_pubacks(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    for stream, consumer in (("MEDIA", "cv"), ("BACKFILL", "cv-backfill")):
        await be_patient(admin, stream, consumer)
    plan = tmp_path / "plan"
    plan.write_text("\n".join(POINTS * KILLS_A_POINT))
    pool = Replicas(
        "cv",
        [sys.executable, "-m", "tests.support.processes.crashing_backfill"],
        server.environment("cv") | {"PLAN": str(tmp_path)},
        tmp_path / "logs",
        backoff=Backoff(first_s=0.1, longest_s=0.1),
    )
    await pool.scale_to(2)
    seqs: list[int] = []
    try:
        async with asyncio.timeout(3 * patience_s()):
            while pool.restarts < len(POINTS) * KILLS_A_POINT:
                # Pauses leave time for deferred segments.
                seqs += await publish(admin, ["x"] * 4, first=len(seqs))
                await asyncio.sleep(0.7)
            await service.settled(admin, "MEDIA", "cv")
            await service.settled(admin, "BACKFILL", "cv-backfill")
    except TimeoutError:
        pytest.fail(f"not all were killed, or not all was answered for: {(tmp_path / 'killed').read_text().split()}")
    finally:
        await pool.close()
    killed = Counter((tmp_path / "killed").read_text().split())
    assert killed == dict.fromkeys(POINTS, KILLS_A_POINT)
    first = await firsts(admin)
    assert Counter(event.segment.seq for event in first.values()) == dict.fromkeys(seqs, 1)
    low = {id for id, event in first.items() if event.quality}
    found = Counter(revision.revises for revision in await revisions(admin))
    assert set(found.values()) == {1} and low <= found.keys() <= first.keys()
    assert len(low) > len(seqs) / 4, "chance had some of both"
    assert await letters(admin) == []
