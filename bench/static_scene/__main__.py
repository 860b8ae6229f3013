"""`make bench-static-scene`: the cost of a static scene with the gate, and its misses, at 1, 4 and 16 replicas.

Usage:
    python -m bench.static_scene --minutes 2 day tree      # a small run: two scenes, two minutes each
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


def main(arguments: argparse.Namespace) -> None:
    if not footage.is_available():
        sys.exit(f"{footage.FOOTAGE} is not there: apt-get install opencv-doc, or say where it is with VTEST")
    out = Console(width=150)
    table = Table(
        "scene", "rate", "somebody there", "replicas", "device work", "of it later", "incidents", "live", "settled",
        "beside these", "real", "found before", "found now",
    )  # fmt: skip
    scores: dict[int, list[Score]] = {replicas: [] for replicas in REPLICAS}
    for seed in range(arguments.seed, arguments.seed + arguments.films):
        for case in cases.cases(tuple(arguments.scenes), arguments.minutes, arguments.activity, seed * 100):
            film = films.analyse(case, arguments.folder)
            ungated = score.incidents(film.segments, [dealing.full(segment, LEAST) for segment in film.segments])
            real = score.incidents(film.segments, score.truth(film))
            present = f"{visits.share(film.visits, film.frames):.1%}"
            for replicas in REPLICAS:
                results, _ = dealing.run_gate(film, replicas, watch_s=arguments.watch_s, min_score=LEAST, seed=seed)
                found = score.compare(film, results, ungated, real)
                scores[replicas].append(found)
                table.add_row(case.name, case.rate, present, str(replicas), *_columns(found))
            out.print(f"{case.name}, seed {case.seed}: looked at", style="dim")
    for replicas, of_all in scores.items():
        table.add_row("all", "", "", str(replicas), *_columns(_total(of_all)), end_section=True)
    out.print(
        f"{arguments.minutes:g} minutes each, somebody present for {arguments.activity:.0%} of it, full inference "
        f"every {arguments.watch_s:g} s"
    )
    out.print(table)
    if arguments.decoding:
        parts = ", ".join(f"{rate} {share:.2f}" for rate, share in decoding.shares().items())
        out.print(f"CPU of a frame probe, as a share of decoding all wanted frames: {parts}")


def _columns(found: Score) -> Iterable[str]:
    return (
        f"{found.work:.3f}",
        f"{found.backfilled:.3f}",
        str(found.incidents),
        str(found.live),
        str(found.revised),
        str(found.extra),
        str(found.real),
        str(found.real_before),
        str(found.real_now),
    )


def _total(scores: list[Score]) -> Score:
    """Return the mean of the work, and the sums of all else."""
    work, backfilled, *counts = zip(*scores, strict=True)
    return Score(sum(work) / len(work), sum(backfilled) / len(backfilled), *(sum(column) for column in counts))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.static_scene", description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=cases.NAMES, help=f"of {', '.join(cases.NAMES)}")
    parser.add_argument("--minutes", type=float, default=12.0, help="minutes of each scene")
    parser.add_argument("--activity", type=float, default=0.05, help="share of the time with a visitor")
    parser.add_argument("--watch-s", type=float, default=WATCH_S, help="as CV_STATIC_SCENE_REFRESH_S")
    parser.add_argument("--films", type=int, default=1, help="number of films of each scene")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first film")
    parser.add_argument("--folder", type=Path, default=cache() / "quiet", help="cache of analysed films")
    parser.add_argument("--decoding", action="store_true", help="also measure the CPU of a frame probe")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenes) - set(cases.NAMES):
        parser.error(f"no scene is called {', '.join(sorted(unknown))}: there are {', '.join(cases.NAMES)}")
    return arguments


if __name__ == "__main__":
    main(parse_arguments())
