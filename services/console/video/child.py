"""`python -m services.console.video.child`: makes pictures of segments until its input ends.

Video comes from cameras, and libav is large: so it is kept from the console's own process, and has neither passwords
nor a connection. What takes too much memory or time ends this process, and nothing else.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from typing import BinaryIO

import av

from services.console.video import work
from services.console.video.work import LENGTH, MOST_BYTES, Made, Wanted
from shared.runtime.errors import BadSegment
from shared.video import pictures
from shared.video.budget import Budget
from shared.video.decode import decode

# A decoder of the largest pictures takes 1.7 GB: see `shared.video.budget`.
MEMORY = 3 * 2**30
# The budget ends what takes long before the kernel does.
BUDGET = Budget()
SPARE_S = 15


def main(source: BinaryIO, target: BinaryIO) -> None:
    """Answer each request in turn."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while len(length := source.read(LENGTH)) == LENGTH:
        size = int.from_bytes(length, "big")
        if size > MOST_BYTES or len(data := source.read(size)) < size:
            return
        used = math.ceil(time.process_time() + BUDGET.cpu_s) + SPARE_S
        resource.setrlimit(resource.RLIMIT_CPU, (used, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        target.write(work.framed(answer(work.wanted(data))))
        target.flush()


def answer(wanted: Wanted) -> Made:
    """The picture, or why there is none."""
    try:
        decoded = decode(
            wanted.payload,
            at=[wanted.offset],
            within=(wanted.width, 16 * wanted.width),
            before=wanted.before,
            frames=wanted.frames,
            budget=BUDGET,
        )
        picture = decoded.pictures[0]
        pixels = picture.pixels
        for box in wanted.boxes:
            pixels = pictures.outlined(pixels, box)
        return Made(tag=wanted.tag, jpeg=pictures.jpeg(pixels), offset=picture.offset)
    except BadSegment as e:
        return Made(tag=wanted.tag, error=str(e))
    except (av.FFmpegError, ValueError, MemoryError) as e:
        return Made(tag=wanted.tag, error=f"it can't be decoded here: {e}")


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
