"""Repeated vectors and captions: savings and misses by scene; some minutes for the synthetic ones.

Usage:
    python -m bench.static_scene.repeats --minutes 5 rain snow      # a small run
    python -m bench.static_scene.repeats --minutes 3 day tree       # of real footage

The tokens of a caption are computed, and not measured: of Qwen3-VL, which takes one for each 32x32 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import footage_vtest as footage
from bench.static_scene import cases, films, synthetic
from shared.static_scene.cache import AnswerCache, Key
from shared.static_scene.picture import SIZE, Grey
from shared.video.decode import FrameProbe, decode

# As EMBED_STATIC_SCENE_REFRESH_S and VLM_STATIC_SCENE_REFRESH_S.
EMBED_REFRESH_S, VLM_REFRESH_S = 10.0, 300.0
# The share of the time with a visitor in scenes of real footage.
ACTIVITY = 0.05
# As VLM_CAPTION_EVERY_S and VLM_FRAMES.
CAPTION_S, CAPTION_FRAMES = 30, 8
# Of 8 frames of 640x352 with their times, of the prompt, and of an answer of three sentences.
CAPTION_TOKENS = CAPTION_FRAMES * (20 * 11 + 15) + 80 + 80
# A replica knows its answer this long after the pictures' time.
_RESULT_S = 2.0
# NVIDIA VSS, tokens a second and camera.
_VSS_TOKENS = 784


class Request(NamedTuple):
    """The pictures of one vector or caption. visits: of the film, that they show."""

    start: float
    duration: float
    pictures: list[Grey]
    visits: frozenset[int]


class Tally(NamedTuple):
    """computed: by the model, of `requests`. shown, missed: visits in the pictures, and those that no answer has.

    ghosts: repeated answers about somebody where nobody is. seconds: of CPU.
    """

    requests: int
    computed: int
    shown: int
    missed: int
    ghosts: int
    seconds: float


class Scene(NamedTuple):
    """The keyframes of a camera's segments of a second, and the visits that each shows."""

    keyframes: list[Grey]
    visits: list[frozenset[int]]


def drawn(case: synthetic.Case, minutes: float) -> Scene:
    """Return a synthetic scene."""
    film, truth = synthetic.render(case, minutes)
    there = [box is not None for boxes in truth for box in boxes]
    visits = numbered(there)
    return Scene([pictures[0] for pictures in film.small], visits[:: len(truth[0])])


def filmed(case: cases.Case) -> Scene:
    """Return a scene of real footage, encoded and decoded."""
    who, count = films.plan_visits(case)
    visits = numbered([any(visit.at(k) for visit in who) for k in range(count)])
    found = Scene([], [])
    with tempfile.TemporaryDirectory() as folder:
        for piece in films.render(case, Path(folder) / "film.mp4"):
            greys: list[Grey] = []
            decode(piece.payload, at=[0.0], probe=FrameProbe(SIZE, lambda _, grey, into=greys: bool(into.append(grey))))
            found.keyframes.append(greys[0])
            at = (piece.segment.start - footage.START).total_seconds()
            found.visits.append(visits[min(round(at * footage.FPS), count - 1)])
    return found


def vectors(scene: Scene) -> Iterator[Request]:
    """Yield the requests of one frame a second."""
    for n, picture in enumerate(scene.keyframes):
        yield Request(float(n), 1.0, [picture], scene.visits[n])


def captions(scene: Scene) -> Iterator[Request]:
    """Yield the requests of one caption each half minute: keyframes near evenly spread instants."""
    for begin in range(0, len(scene.keyframes) - CAPTION_S + 1, CAPTION_S):
        shown = [begin + int((2 * i + 1) * CAPTION_S / (2 * CAPTION_FRAMES)) for i in range(CAPTION_FRAMES)]
        there = frozenset[int]().union(*(scene.visits[n] for n in shown))
        yield Request(float(begin), float(CAPTION_S), [scene.keyframes[n] for n in shown], there)


def run(requests: Iterable[Request], refresh_s: float, replicas: int, seed: int) -> Tally:
    """Deal requests to replicas, as JetStream does."""
    rng = np.random.default_rng(seed)
    caches: list[AnswerCache[frozenset[int]]] = [AnswerCache(refresh_s) for _ in range(replicas)]
    key, waiting = Key("bench", "model"), list[tuple[float, Callable[[], None]]]()
    count = computed = ghosts = 0
    shown, seen = set[int](), set[int]()
    began = time.process_time()
    for one in requests:
        count += 1
        shown |= one.visits
        while waiting and waiting[0][0] <= one.start + one.duration:
            waiting.pop(0)[1]()
        cache = caches[rng.integers(replicas)]
        match = cache.find(cache.known(key, one.start, one.duration), one.pictures, one.start)
        done = one.start + one.duration + _RESULT_S
        if match:
            seen |= one.visits & match.answer.value
            ghosts += bool(match.answer.value - one.visits)
            waiting.append((done, lambda cache=cache, match=match: cache.record_match(key, match)))
            continue
        computed += 1
        seen |= one.visits
        waiting.append((done, lambda cache=cache, one=one: cache.add(key, one.pictures, one.start, one.visits)))
    return Tally(count, computed, len(shown), len(shown - seen), ghosts, time.process_time() - began)


def numbered(there: Sequence[bool]) -> list[frozenset[int]]:
    """Return the visit in each frame, as a set. there: whether somebody is in it."""
    number, found = -1, list[frozenset[int]]()
    for n, is_there in enumerate(there):
        number += is_there and not (n and there[n - 1])
        found.append(frozenset([number]) if is_there else frozenset())
    return found


def total(tallies: Sequence[Tally]) -> Tally:
    return Tally(*(sum(column) for column in zip(*tallies, strict=True)))


def main(arguments: argparse.Namespace) -> None:
    out = Console(width=150)
    table = Table(
        "scene", "what", "replicas", "computed", "shown", "missed", "ghosts", "CPU, ms", "tokens a second", "of VSS"
    )
    minutes = arguments.minutes
    for name in arguments.scenes:
        if name in synthetic.SORTS:
            scenes = [drawn(case, minutes) for case in synthetic.CASES if case.sort == name]
        else:
            scenes = [filmed(case) for case in cases.cases((name,), minutes, ACTIVITY, 0)]
        for what, requests, refresh_s in (("vectors", vectors, EMBED_REFRESH_S), ("captions", captions, VLM_REFRESH_S)):
            for replicas in arguments.replicas:
                found = total([run(requests(scene), refresh_s, replicas, n) for n, scene in enumerate(scenes)])
                table.add_row(name, what, str(replicas), *_columns(found, is_caption=what == "captions"))
    out.print(
        f"{minutes:g} minutes each. Each caption computed: {CAPTION_TOKENS / CAPTION_S:.1f}"
        f" tokens a second and camera, at {CAPTION_TOKENS} tokens each; VSS: {_VSS_TOKENS}"
    )
    out.print(table)


def _columns(found: Tally, *, is_caption: bool) -> Iterator[str]:
    share = found.computed / found.requests
    yield f"{share:.2f}"
    yield from map(str, (found.shown, found.missed, found.ghosts))
    yield f"{found.seconds / found.requests * 1000:.2f}"
    if is_caption:
        tokens = share * CAPTION_TOKENS / CAPTION_S
        yield f"{tokens:.1f}"
        yield f"{tokens / _VSS_TOKENS:.3f}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.static_scene.repeats", description=__doc__.splitlines()[0])
    known = *synthetic.SORTS, *cases.NAMES
    parser.add_argument(
        "scenes", nargs="*", default=synthetic.SORTS, help=f"of {', '.join(known)}; the last need footage"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of each scene")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4], help="numbers of replicas")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenes) - set(known):
        parser.error(f"no scene is called {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return arguments


if __name__ == "__main__":
    main(parse_arguments())
