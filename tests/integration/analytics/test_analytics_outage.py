"""analytics publishes nothing twice after an outage that is longer than the deduplication window of EVENTS."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError, NotFoundError

from services.analytics.limits import Limits
from services.analytics.partitions.partition import Partition
from shared.contract import events, names
from shared.contract.events import Alert
from shared.contract.rules import Rules
from tests.support.video.walking_people import detections, publish
from tests.support.waiting import patience_s
from tests.support.worlds.analytics_world import (
    ACROSS,
    BACK,
    CAMERAS,
    RULES,
    WINDOW_S,
    alone,
    forget_soon,
    process,
    stored_events,
    use,
)
from tidegate.local.server import NatsServer

# The one rule alerts, the other asks a model.
ALERTING: dict[str, Any] = {
    **RULES,
    "rules": [
        {"id": "in", "kind": "enter", "zone": "door", "alert": "start"},
        {"id": "cross", "kind": "crossing", "line": "gate", "verify": "Does a person walk in?"},
    ],
}


async def checkpointed(client: Client) -> None:
    """Wait until each of the four partitions has a checkpoint."""
    bucket = await client.jetstream().key_value(names.ANALYTICS)
    async with asyncio.timeout(patience_s()):
        for n in range(4):
            while True:
                try:
                    await bucket.get(f"position.{n}")
                    break
                except (KeyNotFoundError, NotFoundError):
                    await asyncio.sleep(0.1)


async def questions(client: Client) -> int:
    return (await client.jetstream().stream_info(names.VLM)).state.messages


@pytest.mark.slow
@pytest.mark.long
async def test_events_after_the_last_checkpoint_are_not_repeated(server: NatsServer, admin: Client) -> None:
    await forget_soon(admin)
    expected: dict[str, bytes] = {}
    by_camera = {camera: detections([ACROSS, BACK], 20, camera=camera) for camera in CAMERAS}
    for camera, those in by_camera.items():
        await use(admin, camera, ALERTING)
        expected |= alone(camera, those, ALERTING)
    with process(server, ANALYTICS_CHECKPOINT_S="300") as first:
        await checkpointed(admin)
        begun: set[str] = set()
        for camera, those in by_camera.items():
            await publish(admin, those[:9])
            begun |= alone(camera, those[:9], ALERTING).keys()
        # A request goes out before the event that records it: a process killed in between repeats the request.
        async with asyncio.timeout(patience_s()):
            while not begun <= dict(before := await stored_events(admin)).keys():
                await asyncio.sleep(0.1)
        assert {e.camera for _, e in before if isinstance(e, Alert)} == set(CAMERAS)
        first.kill()
        first.wait()
    assert len({id for id, _ in before}) == len(before)
    await asyncio.sleep(3 * WINDOW_S)
    for those in by_camera.values():
        await publish(admin, those[9:])
    with process(server):
        async with asyncio.timeout(patience_s()):
            while dict(found := await stored_events(admin)).keys() < expected.keys():
                await asyncio.sleep(0.1)
    assert {id: events.encode(event) for id, event in found} == expected
    assert len(found) == len(expected)
    assert await questions(admin) == len(CAMERAS) * 2


class Turn(NamedTuple):
    """The cameras of new detections, and how many are read. Then a checkpoint, or a kill after some events of each."""

    cameras: list[str]
    read: int
    checkpoint: bool
    killed_after: dict[str, int] | None


TURNS = st.builds(
    Turn,
    st.lists(st.sampled_from("ab"), max_size=5),
    st.integers(1, 9),
    st.booleans(),
    st.none() | st.fixed_dictionaries({"a": st.integers(0, 9), "b": st.integers(0, 9)}),
)


KILLED_BEHIND_A = Turn(["b", "a"], 2, False, {"a": 1, "b": 0})
KILLED_AT_ONCE = Turn([], 1, False, {"a": 0, "b": 0})


@given(st.lists(TURNS, max_size=30))
@example([KILLED_BEHIND_A, Turn([], 1, True, None), KILLED_AT_ONCE])
def test_a_kill_at_any_time_leaves_each_event_once(turns: list[Turn]) -> None:
    log: list[tuple[str, str]] = []  # (camera, id of the event; or "" for detections): its sequences begin at 1
    checkpoint = (1, 1)

    def taken() -> Partition:
        partition = Partition(0, Limits(), lambda _: Rules())
        partition.position, partition.last_published = checkpoint[0], checkpoint[1] - 1
        for seq, (camera, id) in enumerate(log, 1):
            if id and seq > partition.last_published:
                partition.published.note(camera, id, seq)
        return partition

    partition = taken()
    for turn in [*turns, Turn(["a"], 10_000, False, None)]:
        log += [(camera, "") for camera in turn.cameras]
        read = [seq for seq, (_, id) in enumerate(log, 1) if seq >= partition.position and not id][: turn.read]
        for camera in "ab":
            following = [f"of {seq}" for seq in read if log[seq - 1][0] == camera]
            for id in following[: turn.killed_after and turn.killed_after[camera]]:
                if not partition.published.has(camera, id):
                    log.append((camera, id))
                    partition.last_published = len(log)
        if turn.killed_after is not None:
            partition = taken()
            continue
        if read:
            partition.advance(read[-1] + 1)
        if turn.checkpoint:
            checkpoint = (partition.position, partition.resume_at().first_event)
    assert sorted(id for _, id in log if id) == sorted(f"of {seq}" for seq, (_, id) in enumerate(log, 1) if not id)
