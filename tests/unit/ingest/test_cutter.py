"""The cuts between segments: invariants for any stream, and the lengths that real cameras get."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.cutting.cutter import EARLY_SHARE, LATE_SHARE, Cut, Cutter
from services.ingest.cutting.parameters import sequence_parameters
from shared.video.timestamps import decode_times

FPS = 25
LIMIT = 1_000_000


class P(NamedTuple):
    time: float
    size: int
    key: bool


def cut_all(packets: list[P], target: float = 1.0, limit: int = LIMIT) -> list[tuple[Cut, list[P]]]:
    """Segments as (what started it, its packets)."""
    cutter = Cutter(target, limit)
    segments: list[tuple[Cut, list[P]]] = []
    for p in packets:
        cut = cutter.push(p.time, p.size, p.key)
        if cut is Cut.BREAK:
            cut = cutter.push(p.time, p.size, p.key)
        if cut in (Cut.KEY, Cut.DEPENDENT):
            segments.append((cut, [p]))
        elif cut is Cut.APPEND:
            segments[-1][1].append(p)
    return segments


def stream(gop: int, frames: int, size: int = 1000) -> list[P]:
    return [P(i / FPS, size, i % gop == 0) for i in range(frames)]


def lengths(gop: int, frames: int = 40 * FPS) -> list[int]:
    return [len(s) for _, s in cut_all(stream(gop, frames))]


def test_gop_of_the_target_is_one_segment() -> None:
    assert set(lengths(25)) == {25}


def test_timestamps_that_jitter_do_not_double_segments() -> None:
    packets = [P(i / FPS + (0.004 if i % 3 else -0.004), 1000, i % 25 == 0) for i in range(500)]
    assert {len(s) for _, s in cut_all(packets)} == {25}


def test_short_gops_share_a_segment() -> None:
    assert set(lengths(10)[:-1]) == {30}
    assert set(lengths(1)[:-1]) == {23}  # all intra: the first keyframe past nine tenths


def test_slightly_long_gop_stays_whole() -> None:
    assert set(lengths(30)) <= {30, 10}
    assert set(lengths(35)[:-1]) == {35}


def test_long_gop_is_cut_into_dependents_without_slivers() -> None:
    segments = cut_all(stream(60, 40 * FPS))[4:-1]
    assert {len(s) for _, s in segments} <= {25, 26, 34, 35}
    segments = cut_all(stream(250, 40 * FPS))
    # The first GOP's length is known when it is over; then no piece is under half a target.
    first = [c for c, _ in segments].index(Cut.KEY, 1)
    assert all(13 <= len(s) <= 38 for _, s in segments[first:])
    assert [c for c, _ in segments].count(Cut.KEY) == 4


def test_no_cut_between_reordered_frames() -> None:
    order = [0, *(n for g in range(0, 500, 4) for n in (g + 4, g + 2, g + 1, g + 3))]
    segments = cut_all([P(n / FPS, 1000, n == 0) for n in order])
    for (_, a), (_, b) in itertools.pairwise(segments):
        assert max(p.time for p in a) < min(p.time for p in b)


def test_frame_over_the_limit_drops_the_rest_of_its_gop() -> None:
    packets = stream(50, 150)
    packets[60] = P(60 / FPS, LIMIT + 1, False)
    remaining = [p for _, s in cut_all(packets) for p in s]
    assert [p for p in packets if p not in remaining] == packets[60:100]


def test_clock_set_back_restarts_at_a_keyframe() -> None:
    before = stream(25, 60)
    after = [P(p.time - 100, p.size, p.key) for p in stream(25, 60)[10:]]
    segments = cut_all(before + after)
    assert all(s[-1].time - s[0].time < 2 for _, s in segments)
    anew = next(i for i, (_, s) in enumerate(segments) if s[0].time < 0)
    assert segments[anew][0] is Cut.KEY


streams = st.lists(
    st.tuples(st.floats(0.001, 3.0), st.integers(1, LIMIT + LIMIT // 10), st.booleans()), min_size=1, max_size=300
).map(lambda steps: [P(sum(s[0] for s in steps[: i + 1]), s[1], s[2]) for i, s in enumerate(steps)])


@given(streams, st.floats(0.1, 5.0))
def test_invariants_hold_for_any_packets(packets: list[P], target: float) -> None:
    segments = cut_all(packets, target)
    remaining = [p for _, s in segments for p in s]
    assert remaining == [p for p in packets if p in set(remaining)]
    step = max((b.time - a.time for a, b in itertools.pairwise(packets)), default=0)
    for i, (cut, s) in enumerate(segments):
        assert sum(p.size for p in s) <= LIMIT
        assert s[0].key == (cut is Cut.KEY)
        assert cut is Cut.KEY or not any(p.key for p in s)
        assert cut is Cut.KEY or i > 0
        assert s[-1].time - s[0].time <= target * (1 + LATE_SHARE) + step
        # A dependent is exactly what follows the segment before it: nothing of its GOP is missing.
        if cut is Cut.DEPENDENT:
            assert packets[packets.index(s[0]) - 1] == segments[i - 1][1][-1]
    for (_, a), (cut, b) in itertools.pairwise(segments):
        if cut is Cut.KEY and a[0].key and sum(p.size for p in a) + b[0].size <= LIMIT:
            lost = packets.index(b[0]) - packets.index(a[-1]) > 1
            assert lost or b[0].time - a[0].time >= target * (1 - EARLY_SHARE) - 1e-9


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.none() | st.integers(-1000, 1000)), min_size=1, max_size=50))
def test_decode_times_suit_the_muxer(times: list[tuple[int, int | None]]) -> None:
    pts = [p for p, _ in times]
    dts = decode_times(pts, [d for _, d in times])
    assert all(a < b for a, b in itertools.pairwise(dts))
    assert all(d <= p for d, p in zip(dts, pts, strict=True))


def test_valid_decode_times_stay() -> None:
    assert decode_times([0, 4, 2, 1, 3], [-2, -1, 0, 1, 2]) == [-2, -1, 0, 1, 2]
    assert decode_times([0, 4, 2, 1, 3], [None, -1, 0, 1, 2]) == [-2, -1, 0, 1, 2]


def test_sequence_parameters_are_found_in_band() -> None:
    sps, pps, idr = b"\x67\x64\x00\x28\xac", b"\x68\xee", b"\x65" + b"\x88" * 5000
    unit = b"\x00\x00\x00\x01\x09\xf0" + b"".join(b"\x00\x00\x00\x01" + n for n in (sps, pps, idr))
    assert sequence_parameters("h264", memoryview(unit)) == sps
    assert sequence_parameters("h264", b"\x00\x00\x01" + idr) is None
    assert sequence_parameters("hevc", b"\x00\x00\x01\x40\x01\x0c\x00\x00\x01\x42\x01\x01") == b"\x42\x01\x01"
    assert sequence_parameters("h264", b"") is None


def test_an_endless_gop_is_dropped_until_the_next_keyframe() -> None:
    cutter = Cutter(1.0, 10_000_000)
    cuts = [cutter.push(n / 5, 1000, key=n == 0) for n in range(5 * 70)]
    assert cuts.count(Cut.ENDLESS) == 1
    assert set(cuts[cuts.index(Cut.ENDLESS) + 1 :]) == {Cut.SKIP}
    assert cuts.index(Cut.ENDLESS) / 5 > 60
    assert cutter.push(70.0, 1000, key=True) is Cut.KEY
