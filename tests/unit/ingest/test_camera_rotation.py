"""Whose turn it is where more cameras are wanted than have a place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.sharing import claims
from services.ingest.sharing.claims import FreeCamera
from services.ingest.sharing.rotation import REPEAT_S, CameraRotation


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_camera_keeps_its_state_until_its_next_turn() -> None:
    clock = Clock()
    turns = CameraRotation(clock)
    turns.end("lobby", revision=7, tries=5, cause="refused")
    assert (turns.of("lobby", 7).tries, turns.of("lobby", 7).cause) == (5, "refused")
    assert turns.of("yard", 3).over_at == 0.0 < turns.of("lobby", 7).over_at


def test_a_changed_entry_has_a_fresh_state() -> None:
    turns = CameraRotation(Clock())
    turns.end("lobby", revision=7, tries=5, cause="refused")
    assert turns.of("lobby", 8) == turns.of("yard", 1)


def test_the_same_reason_is_reported_once_an_hour() -> None:
    clock = Clock()
    turns = CameraRotation(clock)
    unset = 0
    for _ in range(int(2.5 * REPEAT_S / 60)):
        unset += turns.of("lobby", 7).cause is None
        turns.end("lobby", revision=7, tries=5, cause="refused")
        clock.now += 60
    assert unset == 3


def test_a_reason_is_reported_again_after_another_process_had_the_camera() -> None:
    clock = Clock()
    turns = CameraRotation(clock)
    turns.end("lobby", revision=7, tries=5, cause="refused")
    clock.now += 10
    turns.mark_elsewhere("lobby")
    assert turns.of("lobby", 7).cause is None and turns.of("lobby", 7).over_at == clock.now


def test_removed_cameras_are_forgotten() -> None:
    turns = CameraRotation(Clock())
    for camera in ("lobby", "yard", "gate"):
        turns.end(camera, revision=1, tries=1, cause=None)
    turns.keep({"lobby", "yard"})
    turns.forget("yard")
    assert turns.cameras == ["lobby"]


CAMERAS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, 2.0]), st.integers(1, 99)), max_size=60)


@given(CAMERAS, st.integers(1, 5), st.integers(1, 60), st.integers(0, 60), st.booleans())
def test_claims(cameras: list[tuple[bool, float, int]], processes: int, most: int, owned: int, are_left: bool) -> None:
    free = [FreeCamera(str(n), *fields) for n, fields in enumerate(cameras)]
    unread = [camera for camera in free if not camera.is_offered]
    share = claims.fair_share(owned + len(free), processes, most)
    assert share == most or share * processes >= owned + len(free), "all shares together are all cameras"
    room = claims.room_for_claims(share, owned, len(unread), most, are_left=are_left)
    assert 0 <= room <= max(0, most - owned)
    assert not are_left or room >= min(len(unread), most - owned), "cameras that others leave are taken"
    waiting = claims.waiting(owned, len(unread), most)
    assert waiting == 0 or len(unread) - waiting == max(0, most - owned)
    first = claims.candidates(free, room, processes)
    assert len({*first}) == len(first) and {*first} <= {*free}
    if len(unread) <= room:
        assert sorted(first) == sorted(free)
        assert {*first[: len(unread)]} == {*unread}, "unread cameras go before those that are offered"
    else:
        ranks = [(c.is_offered, c.turn_over_at, -c.revision) for c in free]
        chosen = sorted((c.is_offered, c.turn_over_at, -c.revision) for c in first)
        assert chosen == sorted(ranks)[: len(chosen)], "the next in rank, for all processes"
        assert len(first) >= min(room, claims.CLAIMS_AT_ONCE)
