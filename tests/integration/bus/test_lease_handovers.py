"""Handovers of a lease: no camera has two owners, and none is without one."""

from __future__ import annotations

import asyncio
import time

import pytest
from nats.aio.client import Client

from shared.bus.leasing.state import Loss
from shared.bus.mirror import bind
from shared.contract import names
from tests.support.waiting import until
from tests.support.worlds.lease_processes import (
    LEASE_S,
    LONG_S,
    Start,
    Unanswered,
    begin,
    hand_on,
    has_taken,
    heard,
    moving,
    process,
    two,
)
from tidegate.local.server import NatsServer

__all__ = ["process"]


async def test_the_holder_keeps_an_offered_camera_until_the_next_one_has_begun(process: Start) -> None:
    """Regression: the holder released it once another had the entry; nobody recorded while that one connected."""
    holder, other = await two(process, holds_s=LONG_S)
    await holder.handover.offer(["lobby"])
    assert holder.leases.holds("lobby")
    await has_taken(other)
    await until(lambda: holder.handover.update() or holder.handover.leaving)
    assert not holder.leases.holds("lobby") and not holder.lost
    begun = begin(other)
    other.handover.start("lobby", begun + 1)
    assert not other.leases.holds("lobby"), "who had it stores first what is before that"
    assert await heard(holder) == begun
    await until(lambda: other.leases.holds("lobby"))


async def test_a_holder_that_hears_late_hears_the_same_begin(process: Start) -> None:
    """A frozen holder still has seconds of the camera's unread video: the other one has them, too."""
    holder, other = await two(process, holds_s=LONG_S)
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    begun = begin(other)
    await until(lambda: b"since" in holder.mirror.values["camera.lobby"])
    holder.handover.update()
    assert holder.handover.leaving == {"lobby"}, "so that it is known to be no lease that ran out"
    assert await heard(holder) == begun


async def test_a_holder_that_hears_after_its_lease_hears_the_same_begin(process: Start) -> None:
    """Regression: it took the end of its lease for the end of its video, and the video after it was lost."""
    holder, other = await two(process, lease_s=LONG_S)
    await holder.handover.offer(["lobby"])
    await holder.freeze()
    await has_taken(other)
    await until(lambda: not holder.leases.holds("lobby"))
    await asyncio.sleep(0.5)
    begun = begin(other)
    holder.live()
    assert await heard(holder) == begun


@pytest.mark.parametrize("ago_s", [3600, -3600])
async def test_a_wrong_clock_loses_nothing(process: Start, ago_s: float) -> None:
    """Regression: the holder dropped all unstored video, because the other claimed an hour's possession."""
    holder, other = await two(process, holds_s=LONG_S)
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    begin(other, ago_s)
    assert await heard(holder) is None


async def test_a_begin_after_the_take_back_owns_nothing(process: Start) -> None:
    """Regression: frozen while it connected, it later stored video until its lease ended: the other had it, too."""
    holder, other = await moving(process)
    await other.freeze()
    await has_taken(holder)
    begin(other)
    other.live()
    await until(lambda: other.lost)
    assert other.lost == {"lobby": Loss(was_ours=False)}
    assert holder.leases.holds("lobby") and not holder.lost


async def test_a_holder_that_needs_exclusive_access_makes_the_previous_one_stop(process: Start) -> None:
    """Some cameras accept one connection at a time."""
    holder, other = await moving(process, holds_s=LONG_S)
    other.handover.start("lobby", None)
    assert await heard(holder) is None
    assert other.leases.holds("lobby")


@pytest.mark.slow
async def test_a_slow_begin_is_waited_for(process: Start) -> None:
    """Regression: a camera may send no keyframe for a minute; its release after two leases lost its video."""
    holder, other = await moving(process)
    late = time.monotonic() + 3 * LEASE_S
    while time.monotonic() < late:
        holder.handover.update()
        assert holder.handover.leaving == {"lobby"} and not holder.lost
        await asyncio.sleep(0.1)
    begun = begin(other)
    assert await heard(holder) == begun


@pytest.mark.slow
async def test_a_holder_that_dies_before_its_begin_is_not_waited_for(process: Start) -> None:
    holder, other = await two(process)
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    await other.freeze()
    assert await heard(holder) is None


@pytest.mark.slow
async def test_no_holder_releases_while_the_server_is_away(server: NatsServer, process: Start) -> None:
    """Regression: after an outage of 10 s, a moving camera's video was dropped, uncounted, or stored twice."""
    holder, other = await moving(process)
    await server.stop()
    begun = begin(other)
    away = time.monotonic() + 3 * LEASE_S
    while time.monotonic() < away:
        holder.handover.update()
        assert holder.handover.leaving == {"lobby"} and not holder.lost
        await asyncio.sleep(0.1)
    await server.start()
    assert await heard(holder) == begun


async def test_a_camera_that_has_not_begun_is_not_offered(admin: Client, process: Start) -> None:
    """Regression: of three processes that start in turn, two stored a camera's video until the third had it."""
    holder, other = await two(process, holds_s=LONG_S, lease_s=LONG_S)
    third = await process("third", lease_s=LONG_S)
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    await other.handover.offer(["lobby"])
    await until(lambda: third.mirror.values["camera.lobby"].startswith(b"other"))
    # Once it has a later entry, it has heard of an offer too.
    await (await bind(admin.jetstream(), names.LEASES)).put("camera.marker", b"")
    await until(lambda: "camera.marker" in third.mirror.values)
    assert not third.leases.is_free("lobby")
    begin(other)
    while not await other.handover.offer(["lobby"]):
        assert not other.leases.holds("lobby")
        await asyncio.sleep(0.02)
    assert other.leases.holds("lobby"), "who had it has heard of it by now"
    await has_taken(third)


async def test_a_holder_that_missed_another_does_not_wait_for_the_next(process: Start) -> None:
    """Regression: it worked on until the third had connected, and stored video of the holder in between."""
    holder, other = await two(process, holds_s=LONG_S, lease_s=LONG_S)
    third = await process("third", lease_s=LONG_S)
    await hand_on(holder, other)
    begin(other)
    await until(lambda: other.leases.holds("lobby"))
    await other.handover.offer(["lobby"])
    await has_taken(third)
    await until(lambda: holder.mirror.values["camera.lobby"].startswith(b"third"))
    assert await heard(holder) is None


async def test_a_holder_whose_begin_was_heard_keeps_its_video(admin: Client, process: Start) -> None:
    """Regression: it lost its connection at its begin, the previous holder took the camera back, and video was lost."""
    holder = await process("holder")
    other = await process("other", kv=Unanswered(await bind(admin.jetstream(), names.LEASES)))
    await has_taken(holder)
    await until(lambda: "camera.lobby" in other.mirror.values)
    await hand_on(holder, other)
    await other.freeze()
    begun = begin(other)
    assert await heard(holder) == begun
    await has_taken(holder)
    other.live()
    await until(lambda: other.lost)
    assert begun < (other.lost["lobby"].until or 0) < time.time()


async def test_nothing_is_owned_before_the_begin(process: Start) -> None:
    holder, other = await two(process, lease_s=LONG_S)
    third = await process("third", lease_s=LONG_S)
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    await other.freeze()
    await until(lambda: b"after" in third.mirror.values.get("camera.lobby", b""))
    # Simulate silence for a lease.
    for key in ("camera.lobby", "process.other"):
        third.mirror.seen[key] -= 2 * LONG_S
    third.leases.presence._judges_from = 0.0
    await has_taken(third)
    other.live()
    await until(lambda: other.lost)
    assert other.lost == {"lobby": Loss(was_ours=False)}
    await until(lambda: holder.handover.update() or holder.handover.leaving)
    begun = begin(third)
    assert await heard(holder) == begun


async def test_a_camera_that_its_next_holder_releases_continues(process: Start) -> None:
    """A process that starts and stops immediately."""
    holder, other = await moving(process, holds_s=LONG_S, lease_s=LONG_S)
    await other.leases.release("lobby")
    await has_taken(holder)
    holder.handover.update()
    assert not holder.lost and not holder.handover.leaving
    assert holder.leases.holds("lobby")


async def test_a_camera_that_its_next_holder_releases_continues_until_another_begins(process: Start) -> None:
    """Regression: it stopped as soon as the third had taken the camera, which then had to connect."""
    holder, other = await two(process, holds_s=LONG_S, lease_s=LONG_S)
    third = await process("third", lease_s=LONG_S)
    await hand_on(holder, other)
    await other.leases.release("lobby")
    await has_taken(third)
    await until(lambda: holder.mirror.values["camera.lobby"].startswith(b"third"))
    holder.handover.update()
    assert holder.handover.leaving == {"lobby"} and not holder.lost
    begun = begin(third)
    assert await heard(holder) == begun


@pytest.mark.parametrize(
    "line",
    [
        b"older/2",
        b"x/since-/2",
        b"x/since-soon/2",
        b"x/since-%s/2" % (b"9" * 15),
        b"x/since-%s/2" % (b"9" * 40),
        b"\xff/\xff/",
    ],
)
async def test_a_holder_without_a_begin_time_owns_from_now_on(admin: Client, process: Start, line: bytes) -> None:
    """As an older version; and foreign entries end no process."""
    holder = await process("holder", lease_s=LONG_S)
    await has_taken(holder)
    await holder.handover.offer(["lobby"])
    await (await bind(admin.jetstream(), names.LEASES)).put("camera.lobby", line)
    assert await heard(holder) is None


async def test_an_own_entry_is_not_taken_for_another_holders(process: Start) -> None:
    """Regression: a holder whose renewal was refused, and that had not heard of the next one, dropped its video."""
    first, holder = await two(process, holds_s=LONG_S, lease_s=LONG_S)
    await first.handover.offer(["lobby"])
    await has_taken(holder)
    begin(holder)
    await until(lambda: holder.leases.holds("lobby"))
    await holder.handover.offer(["lobby"])
    await until(lambda: b"offered" in holder.mirror.values["camera.lobby"])
    third = await process("third")
    holder.following.cancel()
    await has_taken(third)
    await holder.handover.offer([])
    holder.handover.update()
    assert holder.handover.leaving == {"lobby"} and not holder.lost


async def test_an_offer_can_be_withdrawn(process: Start) -> None:
    holder, other = await two(process)
    await holder.handover.offer(["lobby"])
    await until(lambda: other.leases.is_free("lobby"))
    await holder.handover.offer([])
    await until(lambda: not other.leases.is_free("lobby"))
    await asyncio.sleep(2 * LEASE_S)  # clock: two leases run out
    assert not other.leases.is_free("lobby") and holder.leases.holds("lobby")


async def test_an_offer_that_is_withdrawn_too_late_ends_in_order(process: Start) -> None:
    """The camera was ours until another had it: this differs from an expired lease."""
    holder, other = await two(process, holds_s=LONG_S)
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    await holder.handover.offer([])
    begun = begin(other)
    assert await heard(holder) == begun
