"""The quality of tracking: real surveillance footage, the embedded detector, and ground truth.

MOTA, IDF1, switches and fragmentations are TrackEval's, at an overlap of 0.5, over the analysed frames; a track's path
counts as published, with points between two detections. Then line crossings and stays in a zone, against a manual list.
Last, the ids that survive a gap in the video. See bench/vtest/README.md.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Container, Sequence
from itertools import product
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from bench import footage_vtest as footage
from bench import record
from bench.footage_vtest import Crossing, Stay
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Out
from services.analytics.limits import Limits
from services.cv.tiles import Grid
from shared.contract import rules
from shared.contract.events import DetectedObject, Incident, Tracks

RATES = (2, 5, 10)
SCORES = (0.4, 0.3, 0.2)
TILES = ("1x1", "2x1")
# Frames by which a crossing may differ: the accuracy of the list, and a frame at 2 a second.
NEAR = 7
# Seconds between gaps, seconds around a gap in which a person must be visible, and the minimum score.
EVERY_S, AROUND_S, GAP_SCORE = 8, 0.5, 0.3


def follow(
    found: list[list[DetectedObject]], fps: int, least: float, missing: Container[int] = ()
) -> tuple[list[Out], float]:
    """Return (the outputs of analytics, its CPU seconds). missing: the seconds without events."""
    book = msgspec.convert(footage.RULES, rules.Rules)
    camera = CameraAnalytics("campus", Limits(), book)
    outs: list[Out] = []
    predictions = [e for n, e in enumerate(footage.events(found, fps, least)) if n not in missing]
    began = time.process_time()
    for seq, event in enumerate(predictions, 1):
        outs += camera.read(seq, event, event.start.timestamp())
    while (deadline := camera.deadline()) is not None:
        outs += camera.due(deadline)
    return outs, time.process_time() - began


def boxes(outs: Sequence[Out]) -> dict[int, dict[str, Any]]:
    """Return boxes by frame and track."""
    found: dict[int, dict[str, Any]] = {}
    for out in outs:
        if isinstance(out.what, Tracks):
            for track in out.what.tracks:
                if track.label == "person":
                    for point in track.path:
                        found.setdefault(footage.frame_of(point.time), {})[track.id] = point.box
    return found


def scores_of(outs: Sequence[Out], fps: int) -> dict[str, float]:
    try:
        from trackeval.metrics import CLEAR, Identity
    except ImportError:
        sys.exit("TrackEval is not installed: pip install 'tidegate[bench]'")
    truth, predictions = footage.people(), boxes(outs)
    frames = range(0, 795, footage.FPS // fps)
    real: dict[int, int] = {}
    ours: dict[str, int] = {}
    data: dict[str, Any] = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for k in frames:
        a, b = truth.get(k, {}), predictions.get(k, {})
        data["gt_ids"].append(np.array([real.setdefault(i, len(real)) for i in a], int))
        data["tracker_ids"].append(np.array([ours.setdefault(i, len(ours)) for i in b], int))
        data["similarity_scores"].append(_overlaps(list(a.values()), list(b.values())))
    data |= {
        "num_timesteps": len(frames),
        "num_gt_ids": len(real),
        "num_tracker_ids": len(ours),
        "num_gt_dets": sum(map(len, data["gt_ids"])),
        "num_tracker_dets": sum(map(len, data["tracker_ids"])),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        options = {"PRINT_CONFIG": False}
        return {**CLEAR(options).eval_sequence(data), **Identity(options).eval_sequence(data), "ids": len(ours)}


def id_retention(found: list[list[DetectedObject]], fps: int, least: float, gap: int) -> tuple[float, float]:
    """Return (share of people with the same id on both sides of gaps of `gap` seconds, the same without gaps)."""
    whole = owners(follow(found, fps, least)[0])
    over, without = [], []
    for phase in range(EVERY_S):
        starts = range(phase + EVERY_S // 2, len(found) // footage.FPS - gap, EVERY_S)
        broken = owners(follow(found, fps, least, {s + n for s in starts for n in range(gap)})[0])
        for start in starts:
            over += same(broken, start, start + gap)
            without += same(whole, start, start + gap)
    return float(np.mean(over)), float(np.mean(without))


def same(ids: dict[int, dict[int, str]], begin_s: int, end_s: int) -> list[bool]:
    """Return, for each person visible just before and just after a gap, whether the id is the same."""
    begin, end, around = begin_s * footage.FPS, end_s * footage.FPS, int(AROUND_S * footage.FPS)
    before = {p: i for k in range(begin - around, begin) for p, i in ids.get(k, {}).items()}
    after = {p: i for k in reversed(range(end, end + around)) for p, i in ids.get(k, {}).items()}
    return [before[p] == after[p] for p in before.keys() & after.keys()]


def owners(outs: Sequence[Out]) -> dict[int, dict[int, str]]:
    """Return by frame: each person's track id, at an overlap of 0.5."""
    truth, predictions = footage.people(), boxes(outs)
    found: dict[int, dict[int, str]] = {}
    for k in truth.keys() & predictions.keys():
        people, ids = list(truth[k]), list(predictions[k])
        overlaps = _overlaps([truth[k][p] for p in people], [predictions[k][i] for i in ids])
        pairs = zip(*linear_sum_assignment(np.where(overlaps >= 0.5, overlaps, 0), maximize=True), strict=True)
        found[k] = {people[a]: ids[b] for a, b in pairs if overlaps[a, b] >= 0.5}
    return found


def crossed(outs: Sequence[Out]) -> list[Crossing]:
    return [
        Crossing(footage.frame_of(o.what.start), str(o.what.direction))
        for o in outs
        if type(o.what) is Incident and o.what.rule == "cross" and o.what.state == "start"
    ]


def stayed(outs: Sequence[Out]) -> list[Stay]:
    return [
        Stay(footage.frame_of(o.what.start), footage.frame_of(o.what.end))
        for o in outs
        if type(o.what) is Incident and o.what.rule == "stay" and o.what.end is not None
    ]


def matched(ours: Sequence[Any], real: Sequence[Any]) -> int:
    """Return how many of the list are among ours: same direction, each frame within `NEAR`; each once."""
    unmatched = list(ours)
    count = 0
    for r in real:
        near = [o for o in unmatched if all(_near(a, b) for a, b in zip(o, r, strict=True))]
        if near:
            unmatched.remove(min(near, key=lambda o: abs(o[0] - r[0])))
            count += 1
    return count


def _near(a: Any, b: Any) -> bool:
    return abs(a - b) <= NEAR if isinstance(a, int) else bool(a == b)


def _overlaps(a: list[Any], b: list[Any]) -> Any:
    x, y = np.asarray(a, float).reshape(-1, 4)[:, None], np.asarray(b, float).reshape(-1, 4)[None]
    width = np.minimum(x[..., 2], y[..., 2]) - np.maximum(x[..., 0], y[..., 0])
    height = np.minimum(x[..., 3], y[..., 3]) - np.maximum(x[..., 1], y[..., 1])
    common = np.clip(width, 0, None) * np.clip(height, 0, None)
    size = (x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]), (y[..., 2] - y[..., 0]) * (y[..., 3] - y[..., 1])
    return common / (size[0] + size[1] - common)


def of_tracks(score: dict[str, float]) -> list[str]:
    """Return the columns of a row on tracking quality."""
    return [
        f"{score['MOTA']:.1%}",
        f"{score['IDF1']:.1%}",
        str(score["ids"]),
        str(int(score["IDSW"])),
        str(int(score["Frag"])),
    ]


def of_places(found: list[list[DetectedObject]], fps: int, least: float) -> list[str]:
    """Return the columns of a row on crossings and stays, in the minute with ground truth."""
    minute, _ = follow(found[: footage.MINUTE], fps, least)
    ours, stays = crossed(minute), stayed(minute)
    directions = [sum(c.direction == direction for c in ours) for direction in ("in", "out")]
    return [
        str(len(ours)),
        str(matched(ours, footage.crossings())),
        f"{directions[0]}, {directions[1]}",
        str(len(stays)),
        str(matched(stays, footage.stays())),
        f"{sum(s.last - s.first + 1 for s in stays) / footage.FPS:.1f}",
    ]


def main() -> None:
    row = "tiles", "fps", "score from"
    tracks = Table(*row, "MOTA", "IDF1", "people (21)", "switches", "fragments", "ms a camera-second")
    crossings, stays = f"crossed ({len(footage.crossings())})", f"stays ({len(footage.stays())})"
    places = Table(*row, crossings, "of the list", "in, out (7, 10)", stays, "of the list", "seconds (40.2)")
    gaps = Table("tiles", "fps", "a gap of", "the same id after it", "without the gap")
    out = Console(width=130)
    ratios: dict[str, float] = {}
    costs: dict[str, float] = {}
    for tiles in TILES:
        began = time.process_time()
        found = footage.detect(tiles=tiles)
        cpu_ms = (time.process_time() - began) / len(found) * 1e3
        out.print(f"{tiles}: {cpu_ms:.0f} ms of CPU a frame to decode it and to detect, {Grid.of(tiles).views} images")
        for fps, least in product(RATES, SCORES):
            outs, cpu_s = follow(found, fps, least)
            score, cost = scores_of(outs, fps), cpu_s / len(found) * footage.FPS * 1e3
            if least == GAP_SCORE:
                ratios |= {f"{name}, {tiles}, {fps} fps": float(score[name]) for name in ("MOTA", "IDF1")}
                costs[f"ms a camera-second, {tiles}, {fps} fps"] = cost
            tracks.add_row(tiles, str(fps), f"{least}", *of_tracks(score), f"{cost:.2f}")
            places.add_row(tiles, str(fps), f"{least}", *of_places(found, fps, least))
        for fps, gap in product(RATES, (1, 2)):
            share, without = id_retention(found, fps, GAP_SCORE, gap)
            ratios[f"the same id after {gap} s, {tiles}, {fps} fps"] = share
            gaps.add_row(tiles, str(fps), f"{gap} s", f"{share:.0%}", f"{without:.0%}")
    for table in (tracks, places, gaps):
        out.print(table)
    record.write("tracks", higher=ratios, figures=costs)


if __name__ == "__main__":
    main()
