"""Runs of `tidegate reanalyze`, as the bucket `runs` holds them: how far each is, for whoever looks on. Pure.

    data = encode(Reanalysis(run="20261129-130500-3f9a", cameras=("lobby",), state="looking", …))
    decode("20261129-130500-3f9a", data).frames_done

A run says it itself, every few seconds at most. One that was killed says nothing any more: `is_heard` tells that.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract.bounds import EARLIEST, LATEST, Amount, Count, Instant, Name, in_time
from shared.contract.names import Token
from shared.runtime.errors import SettingError

# looking: at pictures. following: what was seen. captioning: stretches. The last of them writes the report, too.
# stopped: by Ctrl-C.
State = Literal["looking", "following", "captioning", "done", "stopped", "failed"]
# What goes on says so at least so often, and at most.
BEAT_S, SOONEST_S = 10.0, 2.0
# One that has said nothing for so long is not heard of.
SILENT_S = 60.0
MOST_CAMERAS = 4000

_Place = Annotated[str, Meta(max_length=4096)]
_Fps = Annotated[float, Meta(gt=0, le=120)]


class Reanalysis(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and how far it is.

    cameras, since, until: of the video. model: that looks. fps: looked at; null: each camera has another. host, engine:
    the machine that leads it, and what does the work. output: where results are, without credentials. began: when it
    was begun or last gone on with. updated: when it said this. reason: why it failed. pieces, frames: to look at.
    captions: to make. pieces_done, frames_done, captions_done: of these. frames_per_s: of this go. ends: when the
    looking, or the captioning, will be over, as it goes.
    tracks, incidents: that were found.
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
    """The run that the bucket holds under a key. Raises SettingError where none of ours has written it."""
    try:
        found = msgspec.json.decode(data, type=Reanalysis)
    except (ValueError, RecursionError) as e:
        raise SettingError(f"entry {key!r} in bucket 'runs' is not a run: {e}") from e
    if found.run != key:
        raise SettingError(f"entry {key!r} in bucket 'runs' is not a run: its run is {found.run!r}")
    return found


def is_heard(run: Reanalysis, here_s: float, stored_s: float) -> bool:
    """Whether a run that goes on says so, or is over.

    here_s: seconds since its entry came here. stored_s: since it was stored, by the clocks of two machines, which may
    differ: it counts once whoever goes on would have been heard here, too.
    """
    is_silent = here_s > SILENT_S or (stored_s > SILENT_S and here_s > 2 * BEAT_S)
    return not (run.goes_on and is_silent)
