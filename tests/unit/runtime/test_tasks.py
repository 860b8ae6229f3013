"""Tasks that run together."""

from __future__ import annotations

import asyncio

import pytest

from shared.runtime.tasks import end, supervise, unless


class Failed(Exception):
    pass


async def fails() -> None:
    await asyncio.sleep(0)
    raise Failed


class Lasting:
    """A coroutine that never ends by itself, and how it ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_the_first_error_is_raised_and_other_tasks_are_cancelled() -> None:
    lasting = Lasting()
    with pytest.raises(Failed):
        await supervise(lasting.run(), fails(), stop=asyncio.Event())
    assert lasting.begun.is_set() and lasting.ended


async def test_a_stop_ends_its_own_tasks() -> None:
    lasting, stop = Lasting(), asyncio.Event()
    supervising = asyncio.create_task(supervise(lasting.run(), stop=stop))
    await lasting.begun.wait()
    assert not supervising.done()
    stop.set()
    await supervising
    assert lasting.ended


async def test_a_foreign_task_is_left_to_its_owner() -> None:
    lasting = Lasting()
    task = asyncio.create_task(lasting.run())
    with pytest.raises(Failed):
        await supervise(task, fails())
    assert lasting.begun.is_set() and not task.done()
    failing = asyncio.create_task(fails())
    with pytest.raises(Failed):
        await supervise(task, failing)
    await end(task)
    assert lasting.ended


async def test_a_cancellation_ends_its_own_tasks() -> None:
    lasting = Lasting()
    supervising = asyncio.create_task(supervise(lasting.run()))
    await lasting.begun.wait()
    await end(supervising)
    assert lasting.ended


async def test_unless_returns_the_result_or_none_after_a_stop() -> None:
    async def seven() -> int:
        await asyncio.sleep(0)
        return 7

    stop = asyncio.Event()
    assert await unless(stop, seven()) == 7
    with pytest.raises(Failed):
        await unless(stop, fails())
    lasting = Lasting()
    stopping = asyncio.create_task(unless(stop, lasting.run()))
    await lasting.begun.wait()
    stop.set()
    assert await stopping is None and lasting.ended
