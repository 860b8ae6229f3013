"""Messages in flight: bounded by bytes, in order of arrival, and none waits for ever."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.delivery.publisher import InFlightLimit
from shared.runtime.tasks import end
from tests.support.waiting import until


class Sky:
    """Messages that ask for room, and land on command."""

    def __init__(self, max_bytes: int, sizes: list[int]) -> None:
        self.held_up = False
        self.flight = InFlightLimit(max_bytes, lambda: self.held_up)
        self.sizes = sizes
        self.begun: list[int] = []
        self.in_flight: dict[int, asyncio.Event] = {}
        self.tasks = [asyncio.create_task(self._fly(n)) for n in range(len(sizes))]

    async def _fly(self, n: int) -> None:
        async with self.flight.room(self.sizes[n]):
            self.begun.append(n)
            self.in_flight[n] = asyncio.Event()
            try:
                await self.in_flight[n].wait()
            finally:
                del self.in_flight[n]

    @property
    def bytes(self) -> int:
        return sum(self.sizes[n] for n in self.in_flight)

    async def settle(self) -> None:
        """Let all begin that may."""
        for _ in range(4 * len(self.sizes) + 4):
            await asyncio.sleep(0)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.data())
def test_invariants_hold_for_any_messages(sizes: list[int], data: st.DataObject) -> None:
    async def fly() -> None:
        sky = Sky(50, sizes)
        given_up = set(data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=3)))
        await sky.settle()
        while not all(task.done() for task in sky.tasks):
            assert sky.in_flight, "while anything waits, something is in flight"
            assert sky.bytes <= 50 or len(sky.in_flight) == 1
            waiting = [n for n in range(len(sizes)) if n not in sky.begun and not sky.tasks[n].done()]
            assert not waiting or sky.bytes + sizes[waiting[0]] > 50, "what has room goes"
            if given_up:
                await end(sky.tasks[given_up.pop()])
            else:
                sky.in_flight[data.draw(st.sampled_from(sorted(sky.in_flight)))].set()
            await sky.settle()
        assert sky.begun == sorted(sky.begun), "first come, first served"

    asyncio.run(fly())


async def test_no_message_is_added_while_the_network_is_blocked() -> None:
    sky = Sky(50, [10, 10])
    sky.held_up = True
    await sky.settle()
    assert not sky.in_flight
    sky.held_up = False
    await until(lambda: len(sky.in_flight) == 2)
    await end(*sky.tasks)
