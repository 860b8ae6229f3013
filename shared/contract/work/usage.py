"""Usage by the minute: the arrivals and work of services, and the video of cameras. Pure.

    data = encode(WorkerUsage(process="k3f9x2", n=4, since=1796000000, until=1796000600, processed=571))
    decode(names.usage("cv"), data)

The stream USAGE stores them for months, and `tidegate audit` reads them. They are small and compressed: half an hour of
sixty cameras takes some 1400 bytes, ten minutes of a worker 250.
"""

from __future__ import annotations

import zlib
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract import names
from shared.contract.names import Token
from shared.contract.reading.bounds import EARLIEST, LATEST, Count, Name
from shared.runtime.errors import BadMessage

MINUTE_S = 60
# The uncompressed size of a message: five times that of a thousand cameras.
MOST_BYTES = 1024 * 1024
MOST_MINUTES = 20_000

UnixSecond = Annotated[int, Meta(ge=int(EARLIEST.timestamp()), lt=int(LATEST.timestamp()))]
# Minutes since 1970.
Minute = Annotated[int, Meta(ge=0, lt=int(LATEST.timestamp()) // MINUTE_S)]
Messages = Annotated[int, Meta(ge=0, le=10**9)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Minutes = Annotated[dict[Minute, Messages], Meta(max_length=MOST_MINUTES)]


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """process: one lifetime of one process. n: counts its messages. since, until: the period of this message, in Unix
    seconds by the clock of the process. is_last: none follows.
    """

    process: Token
    n: Count
    since: UnixSecond
    until: UnixSecond
    is_last: bool = False


class WorkerUsage(Usage, frozen=True, kw_only=True):
    """A period in the life of a worker.

    arrivals: messages of each consumer by the minute in which JetStream stored them, by its own clock; each counts at
    its first worker. loading_s: from the start of the process until it was ready, in its first message. unchanged:
    results of static scenes, without inference. processed, failed, busy_s, working_s, wanted_s, work_s, frames_wanted,
    frames_analysed, frames_never, backfilled, backfilling_s: as in heartbeats, of the period alone.
    """

    arrivals: Annotated[dict[Name, Minutes], Meta(max_length=64)] = {}
    loading_s: Seconds | None = None
    processed: Messages = 0
    failed: Messages = 0
    unchanged: Messages = 0
    busy_s: Seconds = 0.0
    working_s: Seconds = 0.0
    wanted_s: Seconds = 0.0
    work_s: Seconds = 0.0
    frames_wanted: Annotated[int, Meta(ge=0, le=10**12)] = 0
    frames_analysed: Annotated[int, Meta(ge=0, le=10**12)] = msgspec.field(default=0, name="frames_looked")
    frames_never: Annotated[int, Meta(ge=0, le=10**12)] = 0
    backfilled: Messages = 0
    backfilling_s: Seconds = 0.0


class CameraUsage(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The stored video of one camera in a period. first: a minute. segments: in it and in each that follows. seconds,
    megabytes, frames: of all of these.
    """

    first: Minute
    segments: Annotated[list[Messages], Meta(max_length=MOST_MINUTES)]
    seconds: Messages
    megabytes: Annotated[float, Meta(ge=0, le=1e9)]
    frames: Annotated[int, Meta(ge=0, le=10**12)]


class IngestUsage(Usage, frozen=True, kw_only=True):
    """A period in the life of an ingest; without a camera it still reports that it ran."""

    cameras: Annotated[dict[Token, CameraUsage], Meta(max_length=100_000)] = {}


def encode(usage: WorkerUsage | IngestUsage) -> bytes:
    return zlib.compress(msgspec.json.encode(usage), 9)


def decode(subject: str, data: bytes) -> WorkerUsage | IngestUsage:
    """Decode a message of USAGE. Raises BadMessage."""
    kind: type[WorkerUsage | IngestUsage] = IngestUsage if subject == names.usage("ingest") else WorkerUsage
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(data, MOST_BYTES)
        if not unpack.eof:
            raise BadMessage(f"not usage: it is cut off, or larger than {MOST_BYTES} bytes")
        usage = msgspec.json.decode(text, type=kind)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"not usage: {e}") from e
    if usage.until < usage.since:
        raise BadMessage(f"not usage: it ends at {usage.until}, before it begins at {usage.since}")
    return usage
