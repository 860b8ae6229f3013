"""Dashes between keyframes: how many are found, at which price, by CV_STATIC_SCENE_CHECK_S and by packet sizes.

Usage:
    python -m bench.static_scene.dashes_bench            # some minutes, without footage
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.static_scene import dashes, dealing
from bench.static_scene.dashes import DURATIONS, SCENES, Dashed
from bench.static_scene.films import FPS
from bench.static_scene.synthetic_bench import LEAST, WATCH_S
from services.cv.detectors.openvino_ssd import SsdMobileNet
from services.cv.static_scene import scene
from services.cv.static_scene.scene import Scene
from services.cv.static_scene.scene_check import SceneCheck
from shared.video.decode import decode

CHECKS_S = (1.0, 0.6, 0.5, 0.25)
FALSE_ALARMS = (0.01, 0.05)
# Seconds of still video, alternating rounds over it, and pixels per pixel of the synthetic picture: 512x384, 1536x1152.
_SECONDS, _ROUNDS, _SCALES = 20, 5, (2, 6)


def main() -> None:
    out = Console(width=150)
    table = Table("scene", "by", *(f"{duration:g} s" for duration in DURATIONS), "work", "empty segments analysed")
    for name, one in SCENES.items():
        dashed = dashes.render(one)
        for check_s in CHECKS_S:
            results, _ = dealing.run_gate(dashed.film, 1, watch_s=WATCH_S, min_score=LEAST, check_s=check_s)
            images = sum(len(segment.frames) for segment in dashed.film.segments)
            work = sum(result.images + result.backfilled for result in results) / images
            live = [bool(result.images) for result in results]
            table.add_row(name, f"check {check_s:g} s", *_columns(dashed, live), f"{work:.2f}", _alarms(dashed, live))
        for share in FALSE_ALARMS:
            large = dashes.by_sizes(dashed, share)
            table.add_row(name, f"sizes, {share:.0%}", *_columns(dashed, large), "", _alarms(dashed, large))
        table.add_section()
    out.print(table)
    out.print(_prices())


def _columns(dashed: Dashed, analysed: Sequence[bool]) -> list[str]:
    every = dashes.found(dashed, [True] * len(analysed))
    return [f"{count} of {every[duration]}" for duration, count in dashes.found(dashed, analysed).items()]


def _alarms(dashed: Dashed, analysed: Sequence[bool]) -> str:
    return f"{np.array(analysed)[dashes.is_empty(dashed)].mean():.2f}"


def _prices() -> Table:
    """Return the CPU of a check that matches, by its setting; the least of alternating rounds."""
    table = Table("picture", "by", "ms a segment", "of the default", "of decoding all wanted frames")
    for scale in _SCALES:
        with tempfile.TemporaryDirectory() as folder:
            one = SCENES["still, constant quality"]
            pieces = dashes.encode(one, [], _SECONDS, Path(folder) / "still.mp4", scale)
        payloads = [piece.payload for piece in pieces]
        known = _known(payloads)
        times: dict[float | None, float] = dict.fromkeys((None, *CHECKS_S), float("inf"))
        for _ in range(_ROUNDS):
            for check_s, least in times.items():
                times[check_s] = min(least, _seconds(payloads, known, check_s))
        head = pieces[0].segment
        for check_s in CHECKS_S:
            ms = times[check_s] * 1000 / len(payloads)
            shares = f"{times[check_s] / times[1.0]:.2f}", f"{times[check_s] / (times[None] or 1):.2f}"
            table.add_row(f"{head.width}x{head.height}", f"check {check_s:g} s", f"{ms:.1f}", *shares)
        table.add_section()
    return table


def _known(payloads: Sequence[bytes]) -> Scene:
    state = scene.new()
    for n, payload in enumerate(payloads):
        check = SceneCheck(state, watch=True, start=float(n), duration=1.0)
        decode(payload, fps=FPS, size=SsdMobileNet.size, probe=check.probe)
        state, _ = scene.learn(state, check.pictures, float(n), [[]] * len(check.pictures))
    return state


def _seconds(payloads: Sequence[bytes], known: Scene, check_s: float | None) -> float:
    """Return the CPU of checking segments; of decoding all wanted frames if `check_s` is None."""
    began = time.process_time()
    for n, payload in enumerate(payloads):
        check = None
        if check_s is not None:
            check = SceneCheck(known, watch=False, start=float(n), duration=1.0, check_s=check_s)
        decode(payload, fps=FPS, size=SsdMobileNet.size, probe=check.probe if check else None)
        if check and not check.match:
            print(f"segment {n} does not match at {check_s} s")
    return time.process_time() - began


if __name__ == "__main__":
    main()
