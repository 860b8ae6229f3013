"""The quality of tracks at lower frame rates, and what the second pass recovers: people in real footage.

All of the footage at 5, 2 and 1 frames a second, scored as in bench_tracks, at the frames that all rates analyse: one
a second. Then a surge: forty seconds at a lower rate, live and after the second pass, next to a run that defers
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product

import msgspec
from rich.console import Console
from rich.table import Table

from bench import footage_vtest as footage
from bench.bench_tracks import crossed, follow, matched, of_tracks, scores_of, stayed
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Out
from services.analytics.limits import Limits
from services.analytics.partitions.checkpoint import packed
from services.analytics.second_pass.episode import Episode, start_episode
from services.analytics.second_pass.late import LateIncidents
from services.analytics.second_pass.state import LateState, SecondPassState
from services.analytics.second_pass.versions import First
from shared.contract import rules
from shared.contract.events import Counts, DetectedObject, Detections, Incident, Quality, Tracks

RATES = (5, 2, 1)
SCORES = (0.4, 0.3)
TILES = ("1x1", "2x1")
# The surge, in seconds of the footage. It lies within the minute that has ground truth.
SURGE = range(10, 50)
BOOK = msgspec.convert(footage.RULES, rules.Rules)


class Surge:
    """The results of a surge: live, of the second pass, and of a run that defers nothing."""

    def __init__(self, found: list[list[DetectedObject]], fps: int, least: float) -> None:
        whole = list(footage.events(found, RATES[0], least))
        fewer = list(footage.events(found, fps, least))
        quality = Quality(fps=fps, wanted=RATES[0], cause="backlog")
        first = [
            msgspec.structs.replace(f, quality=quality) if n in SURGE else w
            for n, (w, f) in enumerate(zip(whole, fewer, strict=True))
        ]
        began = time.process_time()
        self.live = _follow(first)
        between = time.process_time()
        self.whole = _follow(whole)
        after = time.process_time()
        self.late_outs, self.bytes = _second_pass(first, whole)
        seconds = len(whole) - SURGE.start
        self.live_ms = (between - began) / len(first) * 1e3
        self.pass_ms = (time.process_time() - after) / seconds * 1e3
        before = CameraAnalytics("campus", Limits(), BOOK)
        copied = _read(before, first[: SURGE.start], 1)
        state = start_episode(before.state(), BOOK, _first(SURGE.start + 1, first[SURGE.start])).second_pass
        replay_camera = CameraAnalytics("campus", Limits(), BOOK, state)
        self.replay_camera = copied + _read(replay_camera, whole[SURGE.start :], SURGE.start + 1) + _rest(replay_camera)

    def amended(self, kind: str) -> list[Incident]:
        """Return the incidents that begin, with late ones and without those that the second pass retracts."""
        false = {o.what.incident for o in self.late_outs if type(o.what) is Incident and o.what.not_found}
        return [
            o.what
            for o in [*self.live, *self.late_outs]
            if type(o.what) is Incident
            and o.what.state == ("start" if kind == "cross" else "end")
            and o.what.rule == kind
            and not o.what.not_found
            and o.what.incident not in false
        ]

    def is_equal(self) -> bool:
        """Return whether the replay equals the run that defers nothing, except for the names of objects."""
        return _named(self.replay_camera) == _named(self.whole)


def _first(seq: int, event: Detections) -> First:
    return First(seq, f"cv/m/campus/e/{event.segment.n}", event.start.timestamp(), event)


def _read(camera: CameraAnalytics, found: Sequence[Detections], seq: int) -> list[Out]:
    return [o for n, e in enumerate(found, seq) for o in camera.read(n, e, e.start.timestamp())]


def _rest(camera: CameraAnalytics) -> list[Out]:
    outs = []
    while (deadline := camera.deadline()) is not None:
        outs += camera.due(deadline)
    return outs


def _follow(found: Sequence[Detections]) -> list[Out]:
    camera = CameraAnalytics("campus", Limits(), BOOK)
    return _read(camera, found, 1) + _rest(camera)


def _second_pass(first: Sequence[Detections], better: Sequence[Detections]) -> tuple[list[Out], int]:
    """Return the second pass's outputs and the maximum bytes of its checkpoint."""
    live = CameraAnalytics("campus", Limits(), BOOK)
    _read(live, first[: SURGE.start], 1)
    state = start_episode(live.state(), BOOK, _first(SURGE.start + 1, first[SURGE.start]))
    state.last = first[SURGE.stop - 1].start.timestamp()
    episode = Episode("campus", Limits(), state, LateIncidents("campus", 600.0, LateState()))
    outs: list[Out] = []
    largest = 0
    for n in range(SURGE.start, len(first)):
        outs += episode.read(_first(n + 1, first[n]), better[n], 0.0)
        if n % 10 == 0:
            largest = max(largest, len(packed(SecondPassState(episodes=[episode.state()]))))
    return outs + episode.end(0.0), largest


def _named(outs: Sequence[Out]) -> list[bytes]:
    """Return tracks, incidents and counts, with objects named by their order of appearance."""
    text = [msgspec.json.encode(o.what) for o in outs if isinstance(o.what, Tracks | Incident | Counts)]
    ids = dict.fromkeys(t.id for o in outs if isinstance(o.what, Tracks) for t in o.what.tracks)
    for n, id in sorted(enumerate(ids), key=lambda i: -len(i[1])):
        text = [t.replace(id.encode(), f"#{n}#".encode()) for t in text]
    return text


def _rates(found: list[list[DetectedObject]], tiles: str, table: Table) -> None:
    for least in SCORES:
        before = None
        for fps in RATES:
            outs, _ = follow(found, fps, least)
            minute, _ = follow(found[: footage.MINUTE], fps, least)
            score, every = scores_of(outs, 1), scores_of(outs, fps)
            before = before or score
            table.add_row(
                tiles,
                f"{least}",
                str(fps),
                *of_tracks(score),
                f"{(score['MOTA'] - before['MOTA']) * 100:+.1f}",
                f"{every['MOTA']:.1%}",
                f"{len(crossed(minute))}, {matched(crossed(minute), footage.crossings())}",
                f"{len(stayed(minute))}, {matched(stayed(minute), footage.stays())}",
            )


def _surges(found: list[list[DetectedObject]], tiles: str, table: Table) -> None:
    minute = found[: footage.MINUTE]
    for least, fps in product(SCORES, RATES[1:]):
        surge = Surge(minute, fps, least)
        late = [o for o in surge.late_outs if type(o.what) is Incident and o.what.late and o.what.state == "start"]
        false = [o for o in surge.late_outs if type(o.what) is Incident and o.what.not_found]
        for_sure = surge.amended("cross")
        frames = [footage.Crossing(footage.frame_of(i.start), str(i.direction)) for i in for_sure]
        table.add_row(
            tiles,
            f"{least}",
            str(fps),
            f"{len(crossed(surge.live))}, {matched(crossed(surge.live), footage.crossings())}",
            f"{len(frames)}, {matched(frames, footage.crossings())}",
            f"{len(crossed(surge.whole))}, {matched(crossed(surge.whole), footage.crossings())}",
            str(len(late)),
            str(len(false)),
            "yes" if surge.is_equal() else "no",
            f"{surge.live_ms:.1f}, {surge.pass_ms:.1f}",
            f"{surge.bytes / 1e3:.1f}",
        )


def main() -> None:
    rates = Table(
        "tiles", "score from", "fps", "MOTA", "IDF1", "people (21)", "switches", "fragments", "beside 5", "MOTA of all "
        "frames looked at", "crossed, of the list (17)", "stays, of the list (13)",
    )  # fmt: skip
    surges = Table(
        "tiles", "score from", "fps in the surge", "crossed live, of the list (17)", "after the second pass",
        "nothing left out", "late", "false alarms", "followed again, equal", "ms a camera-second live, second pass",
        "kB of its checkpoint",
    )  # fmt: skip
    for tiles in TILES:
        found = footage.detect(tiles=tiles)
        _rates(found, tiles, rates)
        _surges(found, tiles, surges)
    out = Console(width=170)
    out.print(rates)
    out.print(surges)


if __name__ == "__main__":
    main()
