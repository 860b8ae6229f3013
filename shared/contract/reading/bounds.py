"""Bounds of the contents of a message: a message beyond them is not from a service, and its reader refuses it.

They are generous. Larger values would overflow what is computed, stored or shown of them.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from msgspec import Meta

# Every JSON reader represents integers up to this exactly, also readers that only have floats.
MOST = 2**53
EARLIEST, LATEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2101, 1, 1, tzinfo=dt.UTC)

Unit = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=MOST)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
# Clocks of two machines differ, so a difference between them may be negative.
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
    """Return whether a time is plausible. A time without a zone is not."""
    return time.tzinfo is not None and EARLIEST <= time < LATEST
