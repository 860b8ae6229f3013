"""Masks segments in one process for each window of a camera, so that no process outlives its input.

Example:
    found = await mask_window(read, masks)     # what may be stored: segments, and holes where one can't be masked
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.recorder.masking import work
from services.recorder.masking.work import Masked, Part, Wanted
from shared.contract import catalog
from shared.contract.geometry import Point
from shared.contract.reading.missing import Unread
from shared.recordings.files import SegmentWithVideo, holes
from shared.recordings.records import Hole
from shared.runtime import install
from shared.runtime.child import bound, plain_environment, python
from shared.runtime.tasks import gather
from shared.runtime.telemetry import logger

# A child that is silent for this long hangs: its own limit is one of CPU time.
PATIENCE_S = 600.0
# A minute of 4K takes less, however restless: a larger answer is a camera's attack.
MOST_BYTES = 2**30
_PART = 2**20
_SECOND = dt.timedelta(seconds=1)


class Stored(NamedTuple):
    """read: segments with masked video. holes: of the segments without."""

    read: list[SegmentWithVideo]
    holes: list[Hole]


async def mask_window(read: Sequence[SegmentWithVideo], masks: Sequence[Sequence[Point]]) -> Stored:
    """Mask one window of a camera. masks: at least one polygon.

    Raises Unread if masking is impossible here now, whatever the video is: MEDIA keeps it meanwhile.
    """
    begin = read[0].head.segment.start
    parts = [
        Part(
            payload=one.payload,
            begins=one.head.segment.starts_gop,
            start=(one.head.segment.start - begin) / _SECOND,
            seconds=one.head.segment.duration,
        )
        for one in read
    ]
    found = await _request(Wanted(parts=parts, masks=[list(mask) for mask in masks]))
    if errors := sorted({one.error for one in found if one.error}):
        camera = read[0].head.segment.camera
        logger("recorder").warning("segments can't be masked, and are not recorded", camera=camera, errors=errors[:3])
    return Stored(
        [_replace_video(one, new) for one, new in zip(read, found, strict=True) if not new.error],
        holes([one.head for one, new in zip(read, found, strict=True) if new.error], "unmasked"),
    )


def _replace_video(one: SegmentWithVideo, new: Masked) -> SegmentWithVideo:
    """Replace a segment's video by the masked one, which starts with its first picture."""
    head, segment = one.head, one.head.segment
    if new.late >= 0.001:
        start = segment.start + dt.timedelta(seconds=new.late)
        segment = msgspec.structs.replace(segment, start=start, duration=max(0.0, segment.duration - new.late))
    return SegmentWithVideo(head._replace(segment=segment, size=len(new.payload)), new.payload)


async def _request(wanted: Wanted) -> list[Masked]:
    """Return the child's answer; an error for each segment if it dies or hangs. Raises Unread."""
    if not catalog.is_importable("numpy"):
        raise Unread(f"masking needs numpy: {install.command('recorder')}")
    try:
        process = await _start()
    except OSError as e:
        raise Unread(f"the process that masks video can't be started: {e.strerror}") from e
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = work.decode_answer(await _answer(process, work.encode(wanted)))
        if len(found) == len(wanted.parts):
            return found
        reason = "it answers what it was not asked"
    except TimeoutError:
        reason = f"masking it took more than {PATIENCE_S:.0f} s"
    except OverflowError as e:
        reason = str(e)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        reason = f"masking it takes more memory or time than it may: its process ended with {process.returncode}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # asyncio does not report its end before its output is read.
        while process.stdout and await process.stdout.read(_PART):
            pass
        await process.wait()
    return [Masked(error=reason)] * len(wanted.parts)


async def _answer(process: asyncio.subprocess.Process, question: bytes) -> bytes:
    """Send the request, and read the answer. Raises OverflowError if that is too large, OSError if it has ended."""
    assert process.stdin and process.stdout

    async def send(into: asyncio.StreamWriter) -> bytes:
        into.write(question)
        await into.drain()
        into.close()
        return b""

    async def receive(out: asyncio.StreamReader) -> bytes:
        found = bytearray()
        while part := await out.read(_PART):
            found += part
            if len(found) > MOST_BYTES:
                raise OverflowError(f"masked it has more than {MOST_BYTES / 1e9:.0f} GB")
        return bytes(found)

    _, answer = await gather([send(process.stdin), receive(process.stdout)])
    return answer


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *bound(python("services.recorder.masking.child")),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=plain_environment() | {"OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
