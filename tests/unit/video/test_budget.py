"""The decoding budget of a segment: small data that causes much work is refused before decoding."""

from __future__ import annotations

from functools import cache

import pytest

from shared.runtime.errors import OverBudget
from shared.runtime.settings import load
from shared.video import budget as bounds
from shared.video.budget import Budget, DecodeSettings
from shared.video.decode import decode
from tests.support.video import hostile_segments as hostile

SMALL = (320, 240)
# The small picture for 100 frames, and a little more.
HUNDRED = Budget(320 * 240 * 100.5 / 1e9)


@cache
def still(codec: str = "libx264") -> hostile.Still:
    return hostile.still(SMALL, codec)


@cache
def large() -> hostile.Still:
    return hostile.still((640, 480))


def packets_decoded(payload: bytes, budget: Budget, **wanted: object) -> int:
    """Return how many packets were decoded before the segment was refused."""
    count = 0

    def alive() -> None:
        nonlocal count
        count += 1

    with pytest.raises(OverBudget, match="DECODE_MAX_GIGAPIXELS"):
        decode(payload, budget=budget, alive=alive, **({} if "at" in wanted else {"fps": 25}) | wanted)  # type: ignore[arg-type]
    return count


@pytest.mark.parametrize(
    ("width", "height", "frames"), [(3840, 2160, 60 * 15), (3840, 2160, 1200), (1920, 1088, 30 * 60), (7680, 4320, 300)]
)
def test_real_cameras_are_within_the_budget(width: int, height: int, frames: int) -> None:
    """4K at 60 fps and 15 s between keyframes, the longest that cameras offer, a minute of 1080p, 10 s of 8K."""
    load(DecodeSettings, {}).budget().check(width * height * frames, "it takes")


@pytest.mark.slow
def test_a_minute_of_8k_that_repeats_one_picture_is_refused_for_a_frame() -> None:
    eight_k = hostile.still(hostile.EIGHT_K)
    payload = hostile.repeated(eight_k, 1500)
    assert len(payload) < 150_000
    assert packets_decoded(payload, Budget()) == 0
    assert packets_decoded(hostile.lying(payload, (64, 64)), Budget()) == 0
    after = hostile.muxed(eight_k, [eight_k.skips[1498 % 16]], keyframe=False)
    assert packets_decoded(after, Budget(), before=[hostile.repeated(eight_k, 1499)]) == 0


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("says", [SMALL, (64, 64), (7680, 4320)])
def test_the_size_comes_from_the_parameter_sets(codec: str, says: tuple[int, int]) -> None:
    """Whatever the container says: neither is a lie believed, nor is a camera refused for one."""
    payload = hostile.lying(still(codec).mp4, says)
    assert len(decode(payload, fps=25, budget=Budget(320 * 240 * 17.5 / 1e9)).pictures) == 17
    assert packets_decoded(payload, Budget(320 * 240 * 16.5 / 1e9), fps=25) == 0


def test_the_budget_counts_decoded_frames_only() -> None:
    payload = hostile.repeated(still(), 5000)
    assert len(decode(payload, at=[0.0], budget=HUNDRED).pictures) == 1
    assert len(decode(payload, at=[3.96], budget=HUNDRED).pictures) == 1
    assert packets_decoded(payload, HUNDRED, at=[4.04]) == 0


def test_segments_before_a_dependent_segment_count() -> None:
    after = hostile.muxed(still(), [still().skips[98 % 16]], keyframe=False)
    assert len(decode(after, before=[hostile.repeated(still(), 99)], fps=5, budget=HUNDRED).pictures) == 1
    assert packets_decoded(after, HUNDRED, before=[hostile.repeated(still(), 115)]) == 0


def test_the_packets_read_for_a_segment_are_bounded() -> None:
    """Each of the segments before it may hold few, and there may be many of those."""
    part = hostile.repeated(still(), 4000)
    with pytest.raises(OverBudget, match="10000 frames"):
        decode(part, before=[part, part, part], at=[0.0])


def test_a_picture_that_grows_within_a_segment_is_refused_at_that_frame() -> None:
    grown = [hostile.with_parameters(large()), *(large().skips[n % 16] for n in range(80))]
    payload = hostile.muxed(still(), [still().key, *still().skips[:4], *grown])
    assert len(decode(payload, fps=25).pictures) == 86
    assert packets_decoded(payload, HUNDRED, fps=25) == 5


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_frame_of_many_slices_is_refused_before_it_is_decoded(codec: str) -> None:
    """Each slice may cover the whole picture, and nothing stops libav inside a frame."""
    key, skip = still(codec).key, still(codec).skips[0]
    some = Budget(hostile.EIGHT_K[0] * hostile.EIGHT_K[1] * 100.5 / 1e9)
    for times, budget in ((90, some), (4000, Budget(1000.0))):
        payload = hostile.muxed(still(codec), [key, hostile.in_slices(skip, times)])
        assert len(decode(payload, fps=25, budget=budget).pictures) == 2
    many = hostile.in_slices(skip, 110)
    assert packets_decoded(hostile.muxed(still(codec), [key, many]), some, fps=25) == 1
    assert packets_decoded(hostile.muxed(still(codec), [hostile.in_slices(key, 110)]), some, fps=25) == 0


def test_slices_are_found_between_start_codes_too() -> None:
    """libav looks for them even inside a unit whose length is given."""
    key, skip = still().key, still().skips[0]
    slices = b"\0\0\1".join([skip[4:]] * 400)
    inside = len(slices).to_bytes(4, "big") + slices
    assert packets_decoded(hostile.muxed(still(), [key, inside]), Budget(), fps=25) == 1


def test_small_video_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_SECONDS_PER_GIGAPIXEL", 0.0)
    monkeypatch.setattr(bounds, "_LEAST_CPU_S", 0.0)
    assert packets_decoded(still().mp4, Budget(), fps=25) == 0


def test_frames_that_would_fill_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder keeps many of them."""
    monkeypatch.setattr(bounds, "MAX_FRAME_BYTES", 2 * 320 * 240)
    assert decode(still().mp4, fps=5).pictures
    rich = hostile.still(SMALL, pixels="yuv444p10le", frames=3)
    with pytest.raises(OverBudget, match="4:2:0"):
        decode(rich.mp4, fps=5)
