"""The small bed of `make bench-static-scene`: real people in a still scene, with the gate and without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import footage_vtest as footage
from bench.static_scene import cases, dealing, films, score, visits
from bench.static_scene.__main__ import LEAST, WATCH_S

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(not footage.is_available(), reason="vtest.avi is not here: apt-get install opencv-doc"),
]


def test_a_seed_fixes_the_visits_and_they_fill_the_requested_share() -> None:
    (case,) = cases.cases(("crowd",), 10, 0.2, 3)
    (who, count), (again, _) = films.plan_visits(case), films.plan_visits(case)
    assert [(v.begin, v.length, v.stop) for v in who] == [(v.begin, v.length, v.stop) for v in again]
    assert 0.15 < visits.share(who, count) < 0.35
    for visit in who:
        cutout = visit.at(visit.begin + visit.length // 2)
        assert cutout is not None
        assert visit.at(visit.begin - 1) is None
        assert visit.at(visit.begin + visit.length) is None


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["stays", "tree"])
def test_most_of_a_static_scene_is_skipped_and_no_incident_is_missed(name: str, tmp_path: Path) -> None:
    (case,) = cases.cases((name,), 2.5, 0.1, 0)
    film = films.analyse(case, tmp_path)
    ungated = score.incidents(film.segments, [dealing.full(segment, LEAST) for segment in film.segments])
    real = score.incidents(film.segments, score.truth(film))
    assert ungated
    for replicas in (1, 4):
        results, store = dealing.run_gate(film, replicas, watch_s=WATCH_S, min_score=LEAST)
        found = score.compare(film, results, ungated, real)
        assert found.revised == found.incidents
        # Two minutes hardly suffice to learn the scene, and people are present in a good part of them.
        assert found.work < visits.share(film.visits, film.frames) + 0.4
        assert len(store.writes) <= 3
