"""`python -m shared.video.decoding.child`: decodes pictures of segments until its input ends.

Video comes from cameras, and libav is large: so decoding has its own process, without passwords or a connection.
Video that takes too much memory or time ends only this process.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from typing import BinaryIO

import av

from shared.runtime.errors import BadSegment
from shared.video import pictures
from shared.video.budget import Budget
from shared.video.decode import decode, fitted
from shared.video.decoding import work
from shared.video.decoding.work import LENGTH, MOST_BYTES, PictureAnswer, PictureRequest

# A decoder of the largest pictures takes 1.7 GB: see `shared.video.budget`.
MEMORY = 3 * 2**30
# The budget ends a long decode before the kernel does.
BUDGET = Budget()
SPARE_S = 15


def main(source: BinaryIO, target: BinaryIO) -> None:
    """Answer requests one by one."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while len(length := source.read(LENGTH)) == LENGTH:
        size = int.from_bytes(length, "big")
        if size > MOST_BYTES or len(data := source.read(size)) < size:
            return
        used = math.ceil(time.process_time() + BUDGET.cpu_s) + SPARE_S
        resource.setrlimit(resource.RLIMIT_CPU, (used, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        target.write(work.with_length(answer(work.decode_request(data))))
        target.flush()


def answer(request: PictureRequest) -> PictureAnswer:
    """Return the picture, or why there is none."""
    within = request.width, 16 * request.width
    try:
        if pictures.is_picture(request.payload):
            pixels = pictures.read(request.payload)
            size = fitted((pixels.shape[1], pixels.shape[0]), within)
            return PictureAnswer(tag=request.tag, jpeg=pictures.jpeg(pictures.resize(pixels, size)))
        decoded = decode(
            request.payload,
            at=[request.offset],
            # Scaling first would mix masked pixels into those next to the mask.
            within=None if request.masks else within,
            before=request.before,
            frames=request.frames,
            budget=BUDGET,
        )
        picture = decoded.pictures[0]
        pixels = picture.pixels
        if request.masks:
            pixels = pictures.resize(pictures.masked(pixels, request.masks), fitted(decoded.size, within))
        for box in request.boxes:
            pixels = pictures.outlined(pixels, box)
        return PictureAnswer(
            tag=request.tag, jpeg=pictures.jpeg_within(pixels, request.most_bytes), offset=picture.offset
        )
    except BadSegment as e:
        return PictureAnswer(tag=request.tag, error=str(e))
    except (av.FFmpegError, ValueError, MemoryError) as e:
        return PictureAnswer(tag=request.tag, error=f"it can't be decoded here: {e}")


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
