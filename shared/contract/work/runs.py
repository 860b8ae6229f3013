"""The progress of runs of `tidegate reanalyze`, as the bucket `runs` holds it. Pure.

    data = encode(reanalysis)
    decode("20261129-130500-3f9a", data).frames_done

A run reports its own progress, at most every few seconds. A killed run falls silent: `is_heard` detects that.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract.names import Token
from shared.contract.reading.bounds import EARLIEST, LATEST, Amount, Count, Instant, Name, in_time
from shared.runtime.errors import SettingError

# looking: analysing pictures. following: tracking. captioning: captioning stretches. The last of them also writes the
# report. stopped: by Ctrl-C.
State = Literal["looking", "following", "captioning", "done", "stopped", "failed"]
# The longest and shortest interval between a run's reports.
BEAT_S, SOONEST_S = 10.0, 2.0
# A run that is silent for this long counts as lost.
SILENT_S = 60.0
MOST_CAMERAS = 4000

_Place = Annotated[str, Meta(max_length=4096)]
_Fps = Annotated[float, Meta(gt=0, le=120)]


class Reanalysis(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and its progress.

    cameras, since, until: of the video. model: of the analysis. fps: analysed; null: it differs by camera. host,
    engine: the machine that leads it, and the workers' kind. output: of the results, without credentials. began: its
    start, or last resumption. updated: time of this report. reason: why it failed. pieces, frames: to analyse.
    captions: to make. pieces_done, frames_done, captions_done: of these. frames_per_s: since `began`. ends: expected
    end of the analysis, or of the captioning. tracks, incidents: how many were found.
    """

    run: Token
    cameras: Annotated[tuple[Token, ...], Meta(min_length=1, max_length=MOST_CAMERAS)]
    since: Instant
    until: Instant
    model: Name
    fps: _Fps | None = None
    host: Name = ""
    engine: Literal["processes", "ray", "live"] = "processes"
    output: _Place
    began: Instant
    updated: Instant
    state: State
    reason: Annotated[str, Meta(max_length=1000)] = ""
    pieces: Count
    pieces_done: Count = 0
    frames: Count
    frames_done: Count = 0
    captions: Count = 0
    captions_done: Count = 0
    frames_per_s: Amount = 0.0
    ends: Instant | None = None
    tracks: Count = 0
    incidents: Count = 0

    @property
    def goes_on(self) -> bool:
        return self.state in ("looking", "following", "captioning")

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for name in ("since", "until", "began", "updated", "ends"):
            time = getattr(self, name)
            if time is not None and not in_time(time):
                raise ValueError(f"its {name} {time} is not between {EARLIEST:%Y} and {LATEST:%Y}")
        if self.since >= self.until:
            raise ValueError(f"its since {self.since} is not before its until {self.until}")
        for name in ("pieces", "frames", "captions"):
            done, all = getattr(self, f"{name}_done"), getattr(self, name)
            if done > all:
                raise ValueError(f"its {name}_done is {done}, of {all}")


def encode(run: Reanalysis) -> bytes:
    return msgspec.json.encode(run)


def decode(key: str, data: bytes) -> Reanalysis:
    """Return the run of an entry. Raises SettingError for an entry that is not ours."""
    try:
        found = msgspec.json.decode(data, type=Reanalysis)
    except (ValueError, RecursionError) as e:
        raise SettingError(f"entry {key!r} in bucket 'runs' is not a run: {e}") from e
    if found.run != key:
        raise SettingError(f"entry {key!r} in bucket 'runs' is not a run: its run is {found.run!r}")
    return found


def is_heard(run: Reanalysis, here_s: float, stored_s: float) -> bool:
    """Return whether a run is over, or an active run still reports.

    here_s: seconds since its entry arrived here. stored_s: seconds since it was stored, by the clocks of two machines,
    which may differ: it counts only after an active run would have reported here, too.
    """
    is_silent = here_s > SILENT_S or (stored_s > SILENT_S and here_s > 2 * BEAT_S)
    return not (run.goes_on and is_silent)
