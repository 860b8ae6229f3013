"""The outboxes: bounded, in order, never a segment whose GOP has lost its beginning, and none pays for a larger one."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import event, given
from hypothesis import strategies as st

from services.ingest.delivery.outbox import Outbox, Outboxes

UNBOUNDED = 1 << 60


class Item(NamedTuple):
    gop: str
    part: int
    size: int


class Box:
    """One camera's outbox, and what became of all that was put into it."""

    def __init__(self, outboxes: Outboxes, limit: int = UNBOUNDED) -> None:
        self.dropped: list[Item] = []
        self.causes: list[str] = []
        self.outbox = Outbox(outboxes, limit, self._drop)
        self.items: list[Item] = []
        self.taken: list[Item] = []

    def put(self, item: Item) -> None:
        self.items.append(item)
        self.outbox.put(item)

    def add(self, size: int, *, begins: bool) -> None:
        """Put the next segment, of the newest GOP or of a new one."""
        last = self.items[-1] if self.items else Item("0000", -1, 0)
        gop = f"{int(last.gop) + 1:04}" if begins or not self.items else last.gop
        self.put(Item(gop, last.part + 1 if gop == last.gop else 0, size))

    def take(self) -> None:
        if item := self.outbox.take():
            self.taken.append(item)

    def fail(self) -> None:
        """Fail to store the message that was taken last."""
        if self.taken:
            self.outbox.drop_gop(self.taken[-1].gop, "oversize")

    def _drop(self, items: list[Item], cause: str) -> None:
        self.dropped += items
        self.causes += [cause] * len(items)

    def check(self) -> None:
        """Assert the invariants of each outbox after any steps, and empty it."""
        left = []
        while item := self.outbox.take():
            left.append(item)
        assert sorted(self.taken + self.dropped + left) == sorted(self.items), "each is somewhere, once"
        assert self.taken + left == sorted(self.taken + left), "in order"
        for remaining in self.taken + left:
            before = [i for i in self.items if i.gop == remaining.gop and i.part < remaining.part]
            assert not set(before) & set(self.dropped), "no part of a GOP after one that was dropped"


def test_oldest_gop_goes_whole() -> None:
    box = Box(Outboxes(UNBOUNDED), 100)
    a0, a1, b0 = Item("a", 0, 40), Item("a", 1, 40), Item("b", 0, 40)
    box.put(a0)
    box.put(a1)
    assert box.dropped == []
    box.put(b0)
    assert box.dropped == [a0, a1] and set(box.causes) == {"buffer_full"}
    assert box.outbox.take() == b0
    assert box.outbox.take() is None


def test_the_rest_of_a_dropped_gop_is_refused() -> None:
    box = Box(Outboxes(UNBOUNDED), 100)
    a0, a1, a2, b0 = Item("a", 0, 60), Item("a", 1, 60), Item("a", 2, 1), Item("b", 0, 60)
    for item in (a0, a1, a2, b0):
        box.put(item)
    assert box.dropped == [a0, a1, a2]
    assert box.outbox.take() == b0


def test_the_camera_with_the_largest_buffer_drops() -> None:
    outboxes = Outboxes(100)
    large, small = Box(outboxes), Box(outboxes)
    large.put(Item("a", 0, 40))
    large.put(Item("b", 0, 40))
    small.put(Item("c", 0, 15))
    small.put(Item("d", 0, 15))
    assert large.dropped == [Item("a", 0, 40)] and large.causes == ["buffers_full"]
    assert small.dropped == []


def test_a_message_being_sent_counts_and_is_never_dropped() -> None:
    outboxes = Outboxes(100)
    sending, other = Box(outboxes), Box(outboxes)
    sending.put(Item("a", 0, 90))
    sending.take()
    other.put(Item("b", 0, 20))
    assert (sending.dropped, other.dropped) == ([], [Item("b", 0, 20)])
    sending.take()
    other.put(Item("c", 0, 20))
    assert outboxes.total_bytes == 20 and len(other.dropped) == 1, "once it is stored there is room again"


def test_a_removed_camera_holds_no_bytes() -> None:
    outboxes = Outboxes(100)
    box = Box(outboxes)
    items = [Item("a", 0, 30), Item("a", 1, 30), Item("b", 0, 30)]
    for item in items:
        box.put(item)
    box.take()
    box.outbox.clear("stopped")
    assert box.dropped == items and outboxes.total_bytes == 0


commands = st.lists(
    st.tuples(st.sampled_from(["new", "more", "take", "fail"]), st.integers(0, 3), st.integers(1, 60)), max_size=200
)


@given(commands, st.integers(1, 150), st.integers(1, 300))
def test_invariants_hold_for_any_steps(steps: list[tuple[str, int, int]], limit: int, total: int) -> None:
    outboxes = Outboxes(total)
    boxes = [Box(outboxes, limit) for _ in range(4)]
    for step, n, size in steps:
        box = boxes[n]
        if step == "take":
            box.take()
        elif step == "fail":
            box.fail()
        else:
            box.add(size, begins=step == "new")
        assert all(0 <= b.outbox.bytes <= limit for b in boxes)
        assert outboxes.total_bytes == sum(b.outbox.total_bytes for b in boxes)
        sent = sum(b.outbox.total_bytes - b.outbox.bytes for b in boxes)
        assert outboxes.total_bytes <= max(total, sent), "over the bound is only what is being sent"
    for box in boxes:
        box.check()
    assert outboxes.total_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 60)), max_size=100), st.integers(60, 300))
def test_no_camera_drops_for_one_with_a_larger_buffer(steps: list[tuple[int, bool, int]], total: int) -> None:
    outboxes = Outboxes(total)
    boxes = [Box(outboxes) for _ in range(4)]
    for n, begins, size in steps:
        before = [(box.outbox.total_bytes, len(box.dropped)) for box in boxes]
        boxes[n].add(size, begins=begins)
        for box, (total_bytes, dropped) in zip(boxes, before, strict=True):
            if box is not boxes[n] and len(box.dropped) > dropped:
                event("another camera paid")
                assert total_bytes > total / 4, "one with less than its share loses nothing"
                assert total_bytes >= max(other.outbox.total_bytes for other in boxes)


@given(commands, st.integers(0, 100))
def test_the_oldest_waiting_messages_are_handed_over(steps: list[tuple[str, int, int]], count: int) -> None:
    outboxes = Outboxes(UNBOUNDED)
    box = Box(outboxes)
    for step, _, size in steps:
        box.take() if step == "take" else box.add(size, begins=step == "new")
    wanted = box.items[:count]
    is_wanted = box.outbox.keep(wanted.__contains__, "lease_lost")
    sent = box.taken[-1:] if box.outbox.total_bytes > box.outbox.bytes else []
    assert is_wanted == all(item in wanted for item in sent)
    assert all(item not in wanted for item in box.dropped)
    assert box.dropped == [] or is_wanted or len(box.outbox) == 0
    assert outboxes.total_bytes == box.outbox.total_bytes
    box.check()
