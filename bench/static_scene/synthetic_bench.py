"""The gate on synthetic scenes: its work and its misses, by sort of disturbance; some minutes, without footage.

Usage:
    python -m bench.static_scene.synthetic_bench --minutes 2 rain snow      # a small run
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.static_scene import dealing, synthetic
from bench.static_scene.dealing import Frames, SegmentResult
from bench.static_scene.films import Film
from bench.static_scene.synthetic import Case, Truth

LEAST, WATCH_S = 0.3, 10.0
_COUNTS = "visitors", "missed live", "after revisions", "longest absence", "ghosts", "refused"


class Score(NamedTuple):
    """work: inferences including backfill, as a share of all images. visitors: that the detector found. live, revised:
    how many of them no event has, before and after revisions. absent: the most segments running without a visitor who
    was in the results before. ghosts: segments with somebody where nobody is.
    """

    work: float
    visitors: int
    live: int
    revised: int
    absent: int
    ghosts: int
    refused: int


def score(case: Case, minutes: float, replicas: int) -> tuple[Score, float]:
    """Return a case's score, and the seconds of CPU that the gate took."""
    film, truth = synthetic.render(case, minutes)
    began = time.process_time()
    results, store = dealing.run_gate(film, replicas, watch_s=WATCH_S, min_score=LEAST, seed=case.seed)
    return of(film, truth, results, store.refused), time.process_time() - began


def of(film: Film, truth: Truth, results: Sequence[SegmentResult], refused: int) -> Score:
    images = sum(len(segment.frames) for segment in film.segments)
    work = sum(result.images + result.backfilled for result in results) / images
    visits = _visits(truth)
    found = [_has(s.frames) for s in film.segments]
    live, revised = [_has(r.live) for r in results], [_has(r.revised) for r in results]
    seen = [visit for visit in visits if any(found[n] for n in visit)]
    missed = sum(not any(live[n] for n in visit) for visit in seen)
    after = sum(not any(revised[n] for n in visit) for visit in seen)
    # A visitor may leave or come within a segment.
    ghosts = sum(has and not any(truth[n]) for n, has in enumerate(revised))
    return Score(work, len(seen), missed, after, max((_absent(revised, v) for v in visits), default=0), ghosts, refused)


def _visits(truth: Truth) -> list[list[int]]:
    """Return the segments of each visit."""
    runs: list[list[int]] = [[]]
    for n, boxes in enumerate(truth):
        if any(boxes):
            runs[-1].append(n)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _has(frames: Frames) -> bool:
    return any(objects for _, objects in frames)


def _absent(has: Sequence[bool], visit: Sequence[int]) -> int:
    """Return the most segments running without the visitor, after the first with him."""
    most = run = 0
    begun = False
    for n in visit:
        begun = begun or has[n]
        run = run + 1 if begun and not has[n] else 0
        most = max(most, run)
    return most


def main(arguments: argparse.Namespace) -> None:
    out = Console(width=150)
    table, sums = Table("sort", "amount", "work", *_COUNTS), Table("sort", "work", *_COUNTS, "CPU, ms a segment")
    for sort in arguments.sorts:
        scores = []
        for case in (case for case in synthetic.CASES if case.sort == sort):
            found = score(case, arguments.minutes, arguments.replicas)
            scores.append(found)
            table.add_row(sort, f"{case.amount or case.misses:g}", f"{found[0].work:.2f}", *map(str, found[0][1:]))
        total = _total([found for found, _ in scores])
        cpu = sum(seconds for _, seconds in scores) / (len(scores) * arguments.minutes * 60)
        sums.add_row(sort, f"{total.work:.2f}", *map(str, total[1:]), f"{cpu * 1000:.2f}")
    out.print(table)
    out.print(f"By sort; {arguments.minutes:g} minutes each, {arguments.replicas} replicas")
    out.print(sums)


def _total(scores: Sequence[Score]) -> Score:
    """Return the mean of the work, the longest absence, and the sums of all else."""
    work, visitors, live, revised, absent, ghosts, refused = zip(*scores, strict=True)
    counts = sum(visitors), sum(live), sum(revised)
    return Score(sum(work) / len(work), *counts, max(absent), sum(ghosts), sum(refused))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.static_scene.synthetic_bench", description=__doc__.splitlines()[0]
    )
    parser.add_argument("sorts", nargs="*", default=synthetic.SORTS, help=f"of {', '.join(synthetic.SORTS)}")
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes of each scene")
    parser.add_argument("--replicas", type=int, default=1, help="number of replicas")
    arguments = parser.parse_args()
    if unknown := set(arguments.sorts) - set(synthetic.SORTS):
        parser.error(f"no sort is called {', '.join(sorted(unknown))}: there are {', '.join(synthetic.SORTS)}")
    return arguments


if __name__ == "__main__":
    main(parse_arguments())
