"""The outbox: bounded, in order, and never a segment whose GOP has lost its beginning."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.outbox import Outbox


class Item(NamedTuple):
    gop: str
    part: int
    size: int


def test_oldest_gop_goes_whole() -> None:
    outbox: Outbox[Item] = Outbox(100)
    a0, a1, b0 = Item("a", 0, 40), Item("a", 1, 40), Item("b", 0, 40)
    assert outbox.put(a0) == outbox.put(a1) == []
    assert outbox.put(b0) == [a0, a1]
    assert outbox.take() == b0
    assert outbox.take() is None


def test_rest_of_a_dropped_gop_is_refused() -> None:
    outbox: Outbox[Item] = Outbox(100)
    a0, a1, a2, b0 = Item("a", 0, 60), Item("a", 1, 60), Item("a", 2, 1), Item("b", 0, 60)
    assert outbox.put(a0) == []
    assert outbox.put(a1) == [a0, a1]
    assert outbox.put(a2) == [a2]
    assert outbox.put(b0) == []


commands = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.integers(1, 60)),
        st.tuples(st.just("more"), st.integers(1, 60)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("fail"), st.just(0)),
    ),
    max_size=200,
)


@given(commands, st.integers(1, 150))
def test_laws(steps: list[tuple[str, int]], limit: int) -> None:
    outbox: Outbox[Item] = Outbox(limit)
    gop, part = 0, 0
    put: list[Item] = []
    taken: list[Item] = []
    dropped: list[Item] = []
    for step, size in steps:
        if step == "take":
            item = outbox.take()
            if item:
                taken.append(item)
        elif step == "fail" and taken:
            dropped += outbox.drop_gop(taken[-1].gop)
        elif step in ("new", "more"):
            gop, part = (gop + 1, 0) if step == "new" or not put else (gop, part + 1)
            item = Item(f"{gop:04}", part, size)
            put.append(item)
            dropped += outbox.put(item)
        assert 0 <= outbox.bytes <= limit
    left = []
    while item := outbox.take():
        left.append(item)
    assert sorted(taken + dropped + left) == sorted(put), "each is somewhere, once"
    assert taken + left == sorted(taken + left), "in order"
    for kept in taken + left:
        before = [i for i in put if i.gop == kept.gop and i.part < kept.part]
        assert not set(before) & set(dropped), "no part of a GOP after one that was dropped"
