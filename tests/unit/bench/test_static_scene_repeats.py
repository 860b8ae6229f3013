"""The bench of repeated vectors and captions finds savings, and a missed visitor."""

from __future__ import annotations

import pytest

from bench.static_scene import repeats, synthetic
from bench.static_scene.repeats import Request
from shared.static_scene import answers


def _requests(sort: str) -> list[Request]:
    case = next(case for case in synthetic.CASES if case.sort == sort)
    return list(repeats.vectors(repeats.drawn(case, 2.0)))


@pytest.mark.parametrize(("sort", "most"), [("ordinary", 0.4), ("rain", 1.0)])
@pytest.mark.parametrize("replicas", [1, 2])
def test_nobody_is_missed_and_a_still_scene_is_embedded_seldom(sort: str, most: float, replicas: int) -> None:
    found = repeats.run(_requests(sort), repeats.EMBED_REFRESH_S, replicas, 0)
    assert found.requests == 120 and found.shown >= 3
    assert found.computed / found.requests <= most
    assert (found.missed, found.ghosts) == (0, 0)


def test_a_visitor_below_the_threshold_counts_as_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "DIFFERENCE_DEVIATIONS", 1e6)
    found = repeats.run(_requests("ordinary"), 1000.0, 1, 0)
    assert found.missed == found.shown
