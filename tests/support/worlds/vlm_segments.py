"""Segments, intervals of captions, and frames that a model sees."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import NamedTuple

from hypothesis import strategies as st

from services.vlm.frames.jpeg import JpegFrame
from services.vlm.planning.stretches import CaptionPlan, CaptionStretch, begun_by
from shared.contract.segment import Segment

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
T0 = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)
MICROSECOND = dt.timedelta(microseconds=1)


def at(ms: int) -> dt.datetime:
    return T0 + ms * MS


def segment(
    start: int = 0,
    ms: int = 1000,
    n: int = 0,
    camera: str = "lobby",
    epoch: str = "e",
    size: tuple[int, int] = (64, 64),
) -> Segment:
    """A segment that starts at at(start) and lasts `ms`."""
    return Segment(
        camera=camera,
        epoch=epoch,
        n=n,
        start=at(start),
        duration=ms / 1000,
        codec="h264",
        width=size[0],
        height=size[1],
        frames=1 + ms // 40,
    )


class Row(NamedTuple):
    """Segments without a gap, of one connection to a camera."""

    segments: list[Segment]
    start: int
    end: int


def row(camera: str, start: int, durations: list[int], epoch: str = "e") -> Row:
    begins = list(itertools.accumulate(durations, initial=start))
    found = [segment(b, ms, n, camera, epoch) for n, (b, ms) in enumerate(zip(begins, durations, strict=False))]
    return Row(found, start, begins[-1])


def milliseconds(of: dt.datetime) -> int:
    return (of - T0) // MS


def begun(segments: list[Segment], plan: CaptionPlan) -> list[CaptionStretch]:
    """Each once: those that several segments begin are the same job."""
    return sorted({stretch for one in segments for stretch in begun_by(one, plan)})


def grid(camera: str, plan: CaptionPlan, after: int, before: int) -> list[CaptionStretch]:
    """All stretches of a camera that end after at(after) and begin before at(before), by one that is known."""
    every, length = round(plan.every_s * 1000), round(plan.length_s * 1000)
    existing = begun([segment(n * 200_000, 200_000, 1 + n, camera) for n in range(3)], plan)[-1]
    first = after + 1 + (milliseconds(existing.end) - after - 1) % every
    return [CaptionStretch(at(end - length), at(end)) for end in range(first, before + length, every)]


cameras = st.sampled_from(["lobby", "street", "yard-2"])
starts = st.integers(-10_000_000, 10_000_000)
durations = st.lists(st.integers(1, 200) | st.integers(800, 12_000), min_size=1, max_size=25)
plans = st.builds(
    lambda every, chunk, overlap: CaptionPlan(every_s=every / 1000, chunk_s=chunk / 1000, overlap_s=overlap / 1000),
    st.integers(500, 400_000) | st.integers(500, 5000),
    st.just(0) | st.integers(500, 400_000),
    st.just(0) | st.integers(1, 30_000),
)
jpegs = st.binary(min_size=9, max_size=60).map(lambda data: b"\xff\xd8" + data)
frames = st.lists(
    st.builds(JpegFrame, time=starts.map(at), seq=st.integers(1, 10**9), jpeg=jpegs),
    max_size=12,
    unique_by=lambda f: f.time,
).map(sorted)
medias = st.sampled_from(["images", "video"])
