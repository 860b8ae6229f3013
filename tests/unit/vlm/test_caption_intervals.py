"""Intervals of captions: which stretches of video are captioned."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.vlm.kinds.summarize import without
from services.vlm.planning.stretches import SHORTLY_MS, CaptionPlan, begun_by
from shared.contract.cameras import LONGEST_CAPTION_S
from shared.contract.events import Part
from shared.contract.segment import from_headers, to_headers
from shared.contract.work.jobs import Caption
from tests.support.worlds.vlm_segments import (
    EPOCH,
    MS,
    at,
    begun,
    cameras,
    durations,
    grid,
    milliseconds,
    plans,
    row,
    segment,
    starts,
)


@given(cameras, starts, durations, plans)
def test_every_interval_starts_on_time_or_shortly_after(
    camera: str, start: int, lengths: list[int], plan: CaptionPlan
) -> None:
    segments, start, end = row(camera, start, lengths)
    assert begun(segments, plan) == grid(camera, plan, start, end)
    for one in segments:
        for stretch in begun_by(one, plan):
            earliest = one.start - SHORTLY_MS * MS
            begins_here = earliest <= stretch.start < one.start + round(one.duration * 1000) * MS
            assert begins_here or (one.n == 0 and stretch.start < one.start < stretch.end)


@given(cameras, plans)
def test_an_interval_that_ends_as_the_camera_appears_is_not_captioned(camera: str, plan: CaptionPlan) -> None:
    row = [segment(n * 200_000, 200_000, n + 1, camera) for n in range(2)]
    existing = begun(row, plan)[-1]
    end = milliseconds(existing.end)
    assert existing not in begun_by(segment(end, 1000, 0, camera), plan)
    assert existing in begun_by(segment(end - 1, 1000, 0, camera), plan)
    # An interval that begins with a segment belongs to that segment, and not to the previous one.
    start = milliseconds(existing.start)
    assert existing in begun_by(segment(start, 1000, 2, camera), plan)
    assert existing not in begun_by(segment(start - 1000, 1000, 1, camera), plan)


@given(cameras, starts, durations, plans)
def test_intervals_are_evenly_spaced_and_equally_long(
    camera: str, start: int, lengths: list[int], plan: CaptionPlan
) -> None:
    found = begun(row(camera, start, lengths).segments, plan)
    wanted = min(LONGEST_CAPTION_S, (plan.chunk_s or plan.every_s) + plan.overlap_s)
    for stretch in found:
        assert (stretch.end - stretch.start).total_seconds() == pytest.approx(wanted, abs=0.001)
    for a, b in itertools.pairwise(found):
        assert (b.end - a.end).total_seconds() == pytest.approx(plan.every_s, abs=0.001)


@given(cameras, starts, st.integers(1, 12_000), st.integers(1, 10**6), plans)
def test_an_interval_depends_only_on_the_camera_and_the_time(
    camera: str, start: int, ms: int, n: int, plan: CaptionPlan
) -> None:
    one = segment(start, ms, n, camera)
    assert begun_by(segment(start, ms, 1, camera, "another"), plan) == begun_by(one, plan)
    assert begun_by(from_headers(to_headers(one)), plan) == begun_by(one, plan)


def test_the_grid_counts_from_1970_in_every_process() -> None:
    (stretch,) = begun_by(segment(0, 60_000, 1), CaptionPlan(every_s=60))
    assert stretch == (at(56_279), at(116_279))
    assert (stretch.end - EPOCH) // MS % 60_000 == 56_279


@given(cameras, starts, durations, durations, st.just(0) | st.integers(1, 600_000), plans)
def test_a_returning_camera_gets_the_same_intervals_and_no_more(
    camera: str, start: int, before: list[int], after: list[int], gap: int, plan: CaptionPlan
) -> None:
    first = row(camera, start, before)
    second = row(camera, first.end + gap, after, "f")
    found = begun([*first.segments, *second.segments], plan)
    parts = [grid(camera, plan, r.start, r.end) for r in (first, second)]
    assert found == sorted({*parts[0], *parts[1]})
    if not gap:
        assert found == begun(row(camera, start, before + after).segments, plan)
    # Intervals in both are planned twice, and are the same job.
    ids = {Caption(camera=camera, start=s.start, end=s.end, prompt=str(n)).message_id for n, s in enumerate(found)}
    assert len(ids) == len(found)


@given(cameras, starts, st.floats(0, 0.0004), st.floats(0, 100))
def test_nothing_is_captioned_without_an_interval(camera: str, start: int, every_s: float, chunk_s: float) -> None:
    assert begun_by(segment(start, 10_000, 0, camera), CaptionPlan(every_s=every_s, chunk_s=chunk_s)) == []


def test_a_segment_that_claims_an_hour_starts_intervals_of_minutes() -> None:
    plan = CaptionPlan(every_s=1, chunk_s=300)
    assert len(begun_by(segment(0, 3_600_000, 0, "lobby"), plan)) == 600


def test_cameras_do_not_all_ask_at_the_same_time() -> None:
    ends = {begun_by(segment(0, 60_000, 1, f"camera-{n}"), CaptionPlan(every_s=60))[0].end for n in range(50)}
    assert len(ends) > 40
    assert len({end.second for end in ends}) > 20


SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=20)


@given(SPANS, SPANS)
def test_live_captions_override_captions_of_recordings(
    past: list[tuple[int, int]], live: list[tuple[int, int]]
) -> None:
    def parts(spans: list[tuple[int, int]]) -> list[Part]:
        return [Part(start=at(n), end=at(n + length), text="x") for n, length in spans]

    free = [one for one in parts(past) if all(one.end <= two.start or one.start >= two.end for two in parts(live))]
    assert without(parts(past), parts(live)) == free
