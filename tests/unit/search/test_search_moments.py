"""Hits into moments, and two rankings into one: what must hold whatever was found."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.search.moments import fuse, merge
from services.search.rows import Hit
from shared.contract.questions.search import Moment

T0 = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)


def at(s: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=s)


def hit(
    start: float, length: float = 1.0, score: float = 0.5, camera: str = "street", seq: int = 1, label: bool = False
) -> Hit:
    time = at(start + length / 2)
    of = {"label": "person"} if label else {"id": f"e/{seq}"}
    return Hit(camera=camera, start=at(start), end=at(start + length), time=time, seq=seq, score=score, **of)


def moment(
    start: float, length: float, value: float, by: Literal["vectors", "labels"], camera: str = "street"
) -> Moment:
    fields = {"similarity": value} if by == "vectors" else {"score": value}
    time = at(start + length / 2)
    return Moment(
        camera=camera, start=at(start), end=at(start + length), time=time, seq=round(start) + 1, by=[by], **fields
    )


def lists(*, label: bool) -> st.SearchStrategy[list[Hit]]:
    """Lists of few distinct values, so that ties and touching spans are common."""
    one = st.builds(
        hit,
        start=st.integers(0, 40),
        length=st.sampled_from([0.0, 1.0, 1.5, 4.0]),
        score=st.sampled_from([0.1, 0.5, 0.9]),
        camera=st.sampled_from(["street", "lobby"]),
        seq=st.integers(1, 5),
        label=st.just(label),
    )
    return st.lists(one, max_size=25)


hits = lists(label=False)
apart = st.sampled_from([0.0, 0.5, 1.0, 3.0])


@given(hits, apart)
def test_every_hit_is_in_exactly_one_moment(found: list[Hit], merge_s: float) -> None:
    moments = merge(found, merge_s)
    for h in found:
        (around,) = [m for m in moments if m.camera == h.camera and m.start <= h.start and h.end <= m.end]
        assert h.score <= (around.similarity or 0)
    assert sum(m.hits for m in moments) == len(found)


@given(hits, apart)
def test_moments_of_a_camera_are_further_apart_than_the_merge_distance(found: list[Hit], merge_s: float) -> None:
    moments = sorted(merge(found, merge_s), key=lambda m: (m.camera, m.start))
    for a, b in itertools.pairwise(moments):
        assert a.camera != b.camera or (b.start - a.end).total_seconds() > merge_s


@given(hits, apart)
def test_moments_are_ordered_by_score_and_then_newest_first(found: list[Hit], merge_s: float) -> None:
    ranks = [(m.similarity or 0, m.time) for m in merge(found, merge_s)]
    assert ranks == sorted(ranks, reverse=True)


@given(hits.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))), apart)
def test_the_order_of_hits_makes_no_difference(both: tuple[list[Hit], Sequence[Hit]], merge_s: float) -> None:
    found, shuffled = both
    assert merge(found, merge_s) == merge(shuffled, merge_s)


def test_a_moment_is_represented_by_its_best_hit() -> None:
    found = [hit(0, seq=1, score=0.2), hit(3, seq=2, score=0.8), hit(6.5, seq=3, score=0.3), hit(20, seq=4, score=0.5)]
    first, second = merge(found, 3.0)
    assert (first.start, first.end, first.hits) == (at(0), at(7.5), 3)
    assert (first.time, first.seq, first.id, first.similarity, first.score) == (at(3.5), 2, "e/2", 0.8, None)
    assert (second.seq, second.hits, second.by) == (4, 1, ["vectors"])
    (labelled,) = merge([hit(0, score=0.2, label=True)], 3.0)
    assert (labelled.similarity, labelled.score, labelled.by) == (None, 0.2, ["labels"])


def test_a_moment_in_both_rankings_ranks_higher() -> None:
    vectors = [moment(0, 2, 0.9, "vectors"), moment(50, 2, 0.8, "vectors"), moment(100, 2, 0.7, "vectors")]
    labels = [moment(200, 2, 0.99, "labels"), moment(101, 10, 0.6, "labels")]
    fused = fuse(vectors, labels, 10)
    assert [m.start for m in fused] == [at(100), at(0), at(200), at(50)]
    both = fused[0]
    assert (both.end, both.by, both.similarity, both.score) == (at(102), ["vectors", "labels"], 0.7, 0.6)
    assert (both.time, both.seq, both.hits) == (vectors[2].time, vectors[2].seq, 1)


def test_touching_moments_are_merged_and_other_cameras_stay_separate() -> None:
    vectors = [moment(0, 2, 0.9, "vectors")]
    (one,) = fuse(vectors, [moment(2, 2, 0.8, "labels")], 10)
    assert (one.start, one.end, one.score) == (at(0), at(2), 0.8)
    assert len(fuse(vectors, [moment(0, 2, 0.9, "labels", camera="lobby")], 10)) == 2


def test_a_label_present_all_day_does_not_merge_distinct_vector_moments() -> None:
    vectors = [moment(0, 2, 0.9, "vectors"), moment(50, 2, 0.8, "vectors")]
    fused = fuse(vectors, [moment(0, 36000, 0.9, "labels")], 10)
    assert [(m.start, m.end) for m in fused] == [(at(0), at(2)), (at(50), at(52))]


rankings = st.tuples(hits, lists(label=True), apart)


@given(rankings)
def test_disjoint_rankings_keep_their_own_order(found: tuple[list[Hit], list[Hit], float]) -> None:
    vectors = merge(found[0], found[2])
    elsewhere = [m for m in merge(found[1], found[2]) if not any(_overlap(m, v) for v in vectors)]
    fused = fuse(vectors, elsewhere, 1000)
    assert [m for m in fused if m.by == ["vectors"]] == vectors
    assert [m for m in fused if m.by == ["labels"]] == elsewhere
    assert fuse(vectors, [], 1000) == vectors
    assert fuse([], elsewhere, 1000) == elsewhere


@given(rankings, st.integers(0, 10))
def test_fusion_loses_and_duplicates_no_moment(found: tuple[list[Hit], list[Hit], float], k: int) -> None:
    vectors, labels = merge(found[0], found[2]), merge(found[1], found[2])
    fused = fuse(vectors, labels, 1000)
    own = [msgspec.structs.replace(m, score=None, by=["vectors"]) for m in fused if "vectors" in m.by]
    assert sorted(own, key=lambda m: (m.camera, m.start)) == sorted(vectors, key=lambda m: (m.camera, m.start))
    for m in labels:
        beside = [v for v in vectors if _overlap(m, v)]
        assert (m in fused) == (not beside)
        for f in fused:
            if any((f.camera, f.start) == (v.camera, v.start) for v in beside):
                assert "labels" in f.by and (f.score or 0) >= (m.score or 0)
    assert fuse(vectors, labels, k) == fused[:k]


def _overlap(a: Moment, b: Moment) -> bool:
    return a.camera == b.camera and a.start <= b.end and b.start <= a.end
