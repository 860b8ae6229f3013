"""Bounds of what a message may hold: what is over them is no message of a service's, and is refused where it is read.

They are generous. What lies beyond would overflow what is computed from it, stored of it or shown of it.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from msgspec import Meta

# Numbers up to this are kept exactly by every reader of JSON, those that only know floats too.
MOST = 2**53
EARLIEST, LATEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2101, 1, 1, tzinfo=dt.UTC)

Unit = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=MOST)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
# Clocks of two machines differ, and so may what lies between them be less than nothing.
Milliseconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
Pixels = Annotated[int, Meta(gt=0, le=65_536)]
FramesPerSecond = Annotated[float, Meta(ge=0, le=1000)]
Instant = Annotated[dt.datetime, Meta(tz=True)]
Name = Annotated[str, Meta(max_length=256)]
Label = Annotated[str, Meta(max_length=64)]
# A `ce-id`.
Id = Annotated[str, Meta(min_length=1, max_length=1024)]
Line = Annotated[str, Meta(max_length=8192)]
MOST_TEXT = 100_000
Text = Annotated[str, Meta(max_length=MOST_TEXT)]
Most = Meta(max_length=10_000)


def in_time(time: dt.datetime) -> bool:
    """Whether a clock may show it. A time without a zone is none."""
    return time.tzinfo is not None and EARLIEST <= time < LATEST
