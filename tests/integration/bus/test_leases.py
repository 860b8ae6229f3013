"""Leases: two processes, a real server, and outages of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue
from prometheus_client import CollectorRegistry, Gauge

from services.ingest.sharing.handover import Handover
from shared import bus
from shared.bus.leasing.leases import Kind, Leases
from shared.bus.leasing.state import Loss
from shared.bus.mirror import Mirror, bind, mirror
from shared.contract import names
from shared.runtime.tasks import end
from tests.support.waiting import until
from tidegate.local.server import NatsServer

LEASE_S = 2.0
# Longer than any delay of a busy machine.
LONG_S = 20.0


class Process:
    """The leases of a process. `live` makes it renew them; without, it is frozen. following: its copy of the bucket."""

    def __init__(self, leases: Leases, mirror: Mirror, following: asyncio.Task[None]) -> None:
        self.leases = leases
        self.handover = Handover(leases)
        self.mirror = mirror
        self.following = following
        self._task: asyncio.Task[None] | None = None
        self._lost: dict[str, Loss] = {}

    @property
    def lost(self) -> dict[str, Loss]:
        self._lost |= self.leases.take_lost()
        return self._lost

    def live(self) -> None:
        self._task = asyncio.create_task(self.leases.run())

    async def freeze(self) -> None:
        await end(self._task)


Start = Callable[..., Awaitable[Process]]


@pytest_asyncio.fixture
async def process(server: NatsServer, admin: Client) -> AsyncIterator[Start]:
    """Creates a live process."""
    created: list[tuple[Client, asyncio.Task[None]]] = []
    lived: list[Process] = []

    async def make(name: str, lease_s: float = LEASE_S, kv: object = None) -> Process:
        client = await bus.connect(server.settings("ingest"), "ingest")
        copy = await mirror(client, names.LEASES, asyncio.Event())
        created.append((client, asyncio.create_task(copy.run())))
        await copy.ready.wait()
        owned = Gauge("owned", "Cameras.", registry=CollectorRegistry())
        bucket: Any = kv or await bind(client.jetstream(timeout=LEASE_S / 3), names.LEASES)
        leases = Leases(client, bucket, copy, name, Kind("camera", "process", owned), lease_s)
        process = Process(leases, copy, created[-1][1])
        process.live()
        lived.append(process)
        return process

    yield make
    for one in lived:
        await one.freeze()
        await one.handover.stop()
        await one.leases.leave()
    for client, task in created:
        await end(task)
        await client.close()


async def has_taken(process: Process) -> None:
    """Claim the camera whenever it is free, until the process has it."""
    while "lobby" not in process.leases.owned:
        if process.leases.is_free("lobby"):
            await process.leases.claim("lobby")
        await asyncio.sleep(0.02)


async def two(process: Start, holds_s: float = LEASE_S, **other: float) -> tuple[Process, Process]:
    """A holder of the camera, and another process that has seen its entry."""
    holder, other_one = await process("holder", lease_s=holds_s), await process("other", **other)
    await has_taken(holder)
    await until(lambda: not other_one.leases.is_free("lobby") and "camera.lobby" in other_one.mirror.values)
    return holder, other_one


async def hand_on(holder: Process, other: Process) -> None:
    """Make the holder offer the camera; the other one takes it, and has not begun."""
    await holder.handover.offer(["lobby"])
    await has_taken(other)
    await until(lambda: holder.handover.update() or holder.handover.leaving)


async def moving(process: Start, **leases: float) -> tuple[Process, Process]:
    """`two`, of which the other one has taken the camera, and has not begun."""
    holder, other = await two(process, **leases)
    await hand_on(holder, other)
    return holder, other


async def test_a_silent_holder_is_replaced(process: Start) -> None:
    holder, other = await two(process)
    await holder.freeze()
    await has_taken(other)
    assert not holder.leases.holds("lobby"), "it knows by its own clock"
    holder.live()
    await until(lambda: "lobby" in holder.lost)


async def test_a_lease_longer_than_the_own_one_is_respected(process: Start) -> None:
    """LEASE_S changes for one replica after the other."""
    holder, other = await process("holder", lease_s=3 * LEASE_S), await process("other")
    await has_taken(holder)
    await holder.freeze()
    await has_taken(other)
    assert not holder.leases.holds("lobby")


async def heard(holder: Process) -> float | None:
    """Wait for the time until which the offered camera was its own."""
    while not holder.lost:
        holder.handover.update()
        await asyncio.sleep(0.02)
    assert set(holder.lost) == {"lobby"} and not holder.handover.leaving
    assert holder.lost["lobby"].was_ours
    return holder.lost["lobby"].until


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


def begin(process: Process, ago_s: float = 0.0) -> float:
    """Begin work on the offered camera, `ago_s` seconds ago; return that time in Unix seconds."""
    at = int((time.time() - ago_s) * 1000) / 1000
    assert process.handover.start("lobby", at)
    return at


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


class Unanswered:
    """A bucket that stores the begin of a camera, and whose answer is lost."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    def __getattr__(self, name: str) -> object:
        return getattr(self._kv, name)

    async def update(self, key: str, value: bytes, last: int) -> int:
        revision = await self._kv.update(key, value, last=last)
        if b"since" in value:
            raise TimeoutError
        return revision


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
    third.mirror.seen["camera.lobby"] -= 2 * LONG_S
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


async def test_a_claim_without_an_answer_is_repeated_immediately(admin: Client, process: Start) -> None:
    """The server stored the entry and died before its answer."""
    one = await process("one")
    await (await bind(admin.jetstream(), names.LEASES)).put("camera.lobby", f"one/{LEASE_S:g}".encode())
    await until(lambda: "camera.lobby" in one.mirror.values)
    assert one.leases.is_free("lobby") and await one.leases.claim("lobby")


async def test_a_stale_free_entry_takes_no_camera_from_its_holder(process: Start) -> None:
    holder, other = await two(process, holds_s=LONG_S, lease_s=LONG_S)
    third = await process("third")
    await holder.handover.offer(["lobby"])
    await until(lambda: third.leases.is_free("lobby"))
    await has_taken(other)
    await until(lambda: third.mirror.values["camera.lobby"].startswith(b"other"))
    assert not await third.leases.claim("lobby")
    assert "lobby" in other.leases.owned


@pytest.mark.slow
async def test_each_holder_keeps_its_cameras_after_an_outage(server: NatsServer, process: Start) -> None:
    """Regression: the first process to return took all cameras, because the server had let the leases expire."""
    holder, other = await two(process, lease_s=LONG_S)
    await holder.freeze()
    await server.stop()
    await asyncio.sleep(6)  # clock: the outage outlasts the server's leases
    assert not other.leases.is_free("lobby"), "nobody can tell while the server is away"
    before = other.mirror.revision("process.other")
    trying = asyncio.create_task(has_taken(other))
    await server.start()
    await until(lambda: other.mirror.revision("process.other") != before)
    holder.live()
    await until(lambda: holder.leases.holds("lobby") or holder.lost)
    assert not holder.lost
    trying.cancel()


async def test_a_camera_that_another_held_meanwhile_is_lost(process: Start) -> None:
    """Regression: it found no lease after the freeze, took one, and published its buffer: the same video twice."""
    holder, other = await two(process)
    await holder.freeze()
    await has_taken(other)
    await other.leases.release("lobby")
    holder.live()
    await until(lambda: holder.leases.holds("lobby") or holder.lost)
    assert set(holder.lost) == {"lobby"}


@pytest.mark.slow
@pytest.mark.long
async def test_a_released_camera_is_taken_immediately_even_by_a_thawed_process(admin: Client, process: Start) -> None:
    """Regression: it waited for a lease, as after an outage, and the camera had no holder meanwhile."""
    kv = await admin.jetstream().key_value(names.LEASES)
    await kv.create("camera.yard", b"silent/2")
    holder, other = await two(process, lease_s=LONG_S)
    await other.freeze()
    # Longer than the permitted silence.
    await asyncio.sleep(LONG_S * 0.7)
    other.live()
    await holder.leases.release("lobby")
    await has_taken(other)
    assert not other.leases.is_free("yard"), "of the silent it can't judge yet"


async def test_a_process_that_ended_before_an_outage_is_absent_after_it(
    server: NatsServer, admin: Client, process: Start
) -> None:
    """Regression: holders released cameras for it, and nobody took them."""
    await (await admin.jetstream().key_value(names.LEASES)).put("process.gone", b"gone/2")
    one = await process("one")
    await until(lambda: one.leases.presence.count() == 1)
    await server.restart()
    before = one.mirror.revision("process.one")
    counted = []
    while one.mirror.revision("process.one") == before or len(counted) < 20:
        counted.append(one.leases.presence.count())
        await asyncio.sleep(0.02)
    assert set(counted) == {1}


async def test_a_process_that_ended_before_the_start_has_no_share(admin: Client, process: Start) -> None:
    """Regression: ingests that had crashed within the hour blocked cameras for the next one for a lease."""
    await (await admin.jetstream().key_value(names.LEASES)).put("process.gone", b"gone/2")
    await asyncio.sleep(LEASE_S * 1.25)
    one = await process("one")
    await until(lambda: "process.one" in one.mirror.written)
    assert one.leases.presence.count() == 1
    two = await process("two")
    await until(lambda: "process.two" in two.mirror.written)
    assert two.leases.presence.count() == 2, "the first lives"


async def test_a_pending_renewal_does_not_outlive_a_release(admin: Client, process: Start) -> None:
    """Regression: it blocked the camera for the next holder for a lease, as after a restart of ingest."""
    holder, other = await two(process, lease_s=LONG_S)
    await holder.freeze()
    await (await admin.jetstream().key_value(names.LEASES)).put("camera.lobby", b"holder/2")
    await holder.leases.release("lobby")
    await until(lambda: "camera.lobby" not in other.mirror.values)


class Behind:
    """A bucket through a server that was cut off from its cluster: the first reads return `entry`, which is old."""

    def __init__(self, kv: KeyValue, entry: KeyValue.Entry) -> None:
        self._kv = kv
        self._entry = entry
        self.reads = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._kv, name)

    async def get(self, key: str) -> KeyValue.Entry:
        self.reads += 1
        return self._entry if self.reads <= 2 else await self._kv.get(key)


async def test_a_stale_server_loses_no_lease(admin: Client, process: Start) -> None:
    """Regression: it named the previous holder, and ingest dropped what it had buffered."""
    kv = await admin.jetstream().key_value(names.LEASES)
    await kv.create("camera.lobby", b"before/2")
    behind = Behind(kv, await kv.get("camera.lobby"))
    await kv.delete("camera.lobby")
    holder = await process("holder", kv=behind)
    await has_taken(holder)
    # Simulate a stored renewal with a lost answer.
    await kv.put("camera.lobby", b"holder/2")
    await until(lambda: behind.reads > 2)
    await until(lambda: holder.leases.holds("lobby") or holder.lost)
    assert not holder.lost


async def test_in_a_recreated_bucket_a_camera_of_another_holder_is_lost(admin: Client, process: Start) -> None:
    holder, other = await two(process)
    await holder.freeze()
    await admin.jetstream().purge_stream("KV_leases")
    config = (await admin.jetstream().stream_info("KV_leases")).config
    await admin.jetstream().delete_stream("KV_leases")
    await admin.jetstream().add_stream(config)
    await has_taken(other)
    holder.live()
    await until(lambda: holder.lost)


async def test_a_lease_that_the_server_lost_is_taken_again(admin: Client, process: Start) -> None:
    holder, _ = await two(process)
    await admin.jetstream().purge_stream("KV_leases")
    await asyncio.sleep(LEASE_S)
    await until(lambda: holder.leases.holds("lobby"))
    assert not holder.lost


async def test_the_entries_of_a_handover_have_fixed_bytes(admin: Client, process: Start) -> None:
    """Recorded: in a rolling upgrade other versions read the entries of this one."""
    kv = await bind(admin.jetstream(), names.LEASES)

    async def stored(value: bytes) -> None:
        while (await kv.get("camera.lobby")).value != value:
            await asyncio.sleep(0.02)

    holder, other = await two(process)
    await stored(b"holder/2")
    assert (await kv.get("process.holder")).value == b"holder/2"
    await holder.handover.offer(["lobby"])
    await stored(b"holder/offered/2")
    await has_taken(other)
    await stored(b"other/after-holder/2")
    await until(lambda: holder.handover.update() or holder.handover.leaving)
    await other.leases.release("lobby")
    await stored(b"other/offered/after-holder/2")
    await has_taken(holder)
    await stored(b"holder/again/2")
    await holder.handover.offer(["lobby"])
    await stored(b"holder/offered/again/2")
    await has_taken(other)
    assert other.handover.start("lobby", 1764250662.104)
    await stored(b"other/after-holder/since-1764250662104/2")
    await until(lambda: other.leases.holds("lobby"))
    await other.handover.offer(["lobby"])
    await stored(b"other/offered/after-holder/since-1764250662104/2")
    await other.leases.release("lobby")
    with pytest.raises(KeyNotFoundError):
        await kv.get("camera.lobby")


async def test_the_entry_of_an_exclusive_camera_is_a_plain_lease(admin: Client, process: Start) -> None:
    kv = await bind(admin.jetstream(), names.LEASES)
    _, other = await moving(process)
    other.handover.start("lobby", None)
    while (await kv.get("camera.lobby")).value != b"other/2":
        await asyncio.sleep(0.02)
