"""Fragments written field by field, in an order that no encoder produces."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from shared.video.mp4 import moof, moov
from shared.video.mp4.boxes import full
from shared.video.mp4.moof import Fragment, Sample
from shared.video.mp4.moov import Track
from shared.video.timeline import Video

T0 = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)


def s(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


TRACK = Track(
    id=1, timescale=1000, codec="avc1.64001f", entry=b"avc1", configuration=b"", width=64, height=48, decisive=b"x"
)
AVCC = full(b"avcC", 1, 0x64001F, b"\xff\xe1\0")


def fields_of(track: Track) -> dict[str, Any]:
    return {name: getattr(track, name) for name in track.__struct_fields__}


def mp4(fragments: Sequence[tuple[int, Sequence[Sample]]], track: Track = TRACK, *, head: bytes | None = None) -> bytes:
    """A payload of such samples, whose bytes are 0."""
    track = Track(**fields_of(track) | {"configuration": AVCC})
    out = moov.written(track) if head is None else head
    for n, (time, samples) in enumerate(fragments):
        size = sum(sample.size for sample in samples)
        out += moof.written(Fragment(time, tuple(samples), ((0, size),)), n) + bytes(size)
    return out


def rows(first: bool = True) -> st.SearchStrategy[list[Sample]]:
    sample = st.builds(Sample, st.integers(1, 80), st.integers(1, 50), st.booleans(), st.integers(-100, 100))
    return st.lists(sample, min_size=1, max_size=8)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    fragments, at = [], draw(st.integers(0, 500))
    for _ in range(draw(st.integers(1, 3))):
        samples = draw(rows())
        fragments.append((at, samples))
        at += sum(sample.duration for sample in samples) + draw(st.integers(0, 30))
    return mp4(fragments)


def presented(video: Video) -> list[int]:
    return [
        decoded + sample.offset
        for fragment in video.fragments
        for sample, decoded in zip(fragment.samples, fragment.decoded, strict=True)
    ]
