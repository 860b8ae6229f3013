"""`make bench-static-scene`: what a quiet scene costs with the gate, and what that misses, at 1, 4 and 16 replicas.

python -m bench.static_scene --minutes 2 day tree      # a small bed: two scenes, two minutes each
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import footage_vtest as footage
from bench.static_scene import cases, dealing, decoding, films, score, visits
from bench.static_scene.score import Score
from tidegate.demo.footage import cache

REPLICAS = (1, 4, 16)
# As CV_STATIC_SCENE_REFRESH_S, and as CV_MIN_SCORE in docs/explanation/tracking.md.
WATCH_S, LEAST = 10.0, 0.3


def main(asked: argparse.Namespace) -> None:
    if not footage.there():
        sys.exit(f"{footage.FOOTAGE} is not there: apt-get install opencv-doc, or say where it is with VTEST")
    out = Console(width=150)
    table = Table(
        "scene", "rate", "somebody there", "replicas", "device work", "of it later", "incidents", "live", "settled",
        "beside these", "real", "found before", "found now",
    )  # fmt: skip
    scores: dict[int, list[Score]] = {replicas: [] for replicas in REPLICAS}
    for seed in range(asked.seed, asked.seed + asked.films):
        for case in cases.cases(tuple(asked.scenes), asked.minutes, asked.activity, seed * 100):
            film = films.looked(case, asked.folder)
            ungated = score.raised(film.segments, [dealing.full(segment, LEAST) for segment in film.segments])
            real = score.raised(film.segments, score.truth(film))
            there = f"{visits.share(film.visits, film.frames):.1%}"
            for replicas in REPLICAS:
                said, _ = dealing.dealt(film, replicas, watch_s=asked.watch_s, least=LEAST, seed=seed)
                found = score.scored(film, said, ungated, real)
                scores[replicas].append(found)
                table.add_row(case.name, case.rate, there, str(replicas), *_columns(found))
            out.print(f"{case.name}, seed {case.seed}: looked at", style="dim")
    for replicas, of_all in scores.items():
        table.add_row("all", "", "", str(replicas), *_columns(_together(of_all)), end_section=True)
    out.print(f"{asked.minutes:g} minutes each, somebody there for {asked.activity:.0%} of it, a full look every "
              f"{asked.watch_s:g} s")  # fmt: skip
    out.print(table)
    if asked.decoding:
        parts = ", ".join(f"{rate} {share:.2f}" for rate, share in decoding.shares().items())
        out.print(f"CPU of a glance at a segment, as a share of decoding all frames that are wanted: {parts}")


def _columns(found: Score) -> Iterable[str]:
    return (
        f"{found.work:.3f}",
        f"{found.later:.3f}",
        str(found.incidents),
        str(found.live),
        str(found.settled),
        str(found.extra),
        str(found.real),
        str(found.real_before),
        str(found.real_now),
    )


def _together(scores: list[Score]) -> Score:
    """The mean work, and the sums of all else."""
    work, later, *counts = zip(*scores, strict=True)
    return Score(sum(work) / len(work), sum(later) / len(later), *(sum(column) for column in counts))


def arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(prog="python -m bench.static_scene", description=__doc__.splitlines()[0])
    made.add_argument("scenes", nargs="*", default=cases.NAMES, help=f"of {', '.join(cases.NAMES)}")
    made.add_argument("--minutes", type=float, default=12.0, help="of each scene")
    made.add_argument("--activity", type=float, default=0.05, help="share of the time in which somebody is there")
    made.add_argument("--watch-s", type=float, default=WATCH_S, help="as CV_STATIC_SCENE_REFRESH_S")
    made.add_argument("--films", type=int, default=1, help="so many films of each scene")
    made.add_argument("--seed", type=int, default=0, help="of the first of them")
    made.add_argument("--folder", type=Path, default=cache() / "quiet", help="where what was looked at is kept")
    made.add_argument("--decoding", action="store_true", help="measure what a glance takes of decoding, too")
    asked = made.parse_args()
    if unknown := set(asked.scenes) - set(cases.NAMES):
        made.error(f"no scene is called {', '.join(sorted(unknown))}: there are {', '.join(cases.NAMES)}")
    return asked


if __name__ == "__main__":
    main(arguments())
