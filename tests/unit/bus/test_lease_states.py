"""The states of a lease: the table, and random runs of processes that share a thing."""

from __future__ import annotations

import asyncio
import re
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.bus.leasing import state as lease_state
from shared.bus.leasing.state import TRANSITIONS, Lease, LeaseEvent, LeaseState
from tests.support.examples import examples
from tests.support.worlds.lease_model import ACTS, LEASE_S, Act, Process, World, clock_of


@pytest.mark.parametrize(("state", "event"), list(product(LeaseState, LeaseEvent)))
def test_a_lease_changes_only_as_the_table_says(state: LeaseState, event: LeaseEvent) -> None:
    lease = Lease("a", LEASE_S, state)
    if (state, event) in TRANSITIONS:
        lease.apply(event)
        assert lease.state is TRANSITIONS[state, event]
    else:
        with pytest.raises(KeyError):
            lease.apply(event)


def test_the_docstring_has_the_table() -> None:
    rows = re.findall(r"^\| ([A-Z, ]+) \| ([A-Z_]+)\b.*\| ([A-Z]+) \|$", lease_state.__doc__ or "", re.MULTILINE)
    found = {
        (LeaseState[state], LeaseEvent[event]): LeaseState[after]
        for states, event, after in rows
        for state in states.split(", ")
    }
    assert found == TRANSITIONS


HABITS = st.sampled_from(
    [
        {Process.claim, Process.start},
        {Process.claim, Process.start},
        {Process.claim, Process.start, Process.offer},
        {Process.claim, Process.step_in},
        {Process.claim},
        {Process.offer, Process.start},
        {Process.keep},
    ]
)
MEMBERS = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just(World.pass_steps), st.integers(1, 12)),
    st.tuples(st.sampled_from([World.freeze, World.cut, World.deafen]), MEMBERS),
    st.tuples(st.just(World.change), MEMBERS, HABITS),
    st.tuples(st.just(World.lose), MEMBERS, st.sampled_from(["request", "answer"])),
    st.tuples(st.just(World.act), MEMBERS, st.sampled_from([*ACTS, Process.renew, Process.release, Process.hear])),
)


@settings(max_examples=examples(400))
@given(st.lists(HABITS, min_size=2, max_size=3), st.lists(STEPS, min_size=20, max_size=60), st.integers(0, 2))
# It claims and releases the lease before the former holder learns of either.
@example(
    [{Process.claim, Process.start, Process.offer}, {Process.claim, Process.start}],
    [(World.act, 1, Process.release), (World.pass_steps, 1)],
    0,
)
# It thaws while the next holder, which has begun, offers it.
@example(
    [{Process.claim, Process.start}, {Process.claim, Process.start}],
    [
        (World.freeze, 1),
        (World.change, 0, {Process.claim, Process.start, Process.offer}),
        (World.change, 1, {Process.claim, Process.start, Process.offer}),
        (World.pass_steps, 1),
        (World.freeze, 0),
        (World.freeze, 1),
        (World.pass_steps, 3),
        (World.freeze, 0),
    ],
    0,
)
# It thaws without having heard that its session has ended.
@example(
    [{Process.claim, Process.start}, {Process.claim, Process.start}],
    [(World.freeze, 0), (World.deafen, 0), (World.pass_steps, 16), (World.freeze, 0), (World.pass_steps, 4)],
    0,
)
# An older one thaws, and finds an entry that nobody has renewed meanwhile.
@example(
    [{Process.claim, Process.start}, {Process.claim, Process.start}],
    [(World.freeze, 0), (World.pass_steps, 40), (World.freeze, 0), (World.pass_steps, 20)],
    1,
)
def test_no_two_processes_hold_one_lease(habits: list[set[Act]], steps: list[tuple[Any, ...]], older: int) -> None:
    world = World(habits, older)

    async def run() -> None:
        await world.pass_steps(1)
        for step, *arguments in steps:
            await step(world, *arguments)

    with clock_of(world.bucket):
        asyncio.run(run())
