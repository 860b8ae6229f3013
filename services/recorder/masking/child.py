"""`python -m services.recorder.masking.child`: masks the segments of its input, writes them, and ends.

Video comes from cameras, and libav is large. So this process has no passwords, keys or connection, and video that takes
too much memory or time ends this process alone.
"""

from __future__ import annotations

import os
import resource
import sys

import av

from services.recorder.masking import work
from services.recorder.masking.painting import mask_parts
from services.recorder.masking.work import Masked
from shared.runtime.errors import BadSegment

# A decoder of the largest pictures takes 1.7 GB: see `shared.video.budget`.
MEMORY = 3 * 2**30
# A minute of 4K at 25 frames takes some two minutes.
CPU_S = 300
# Recording without masks has priority.
NICE = 5


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    os.nice(NICE)
    wanted = work.decode_request(sys.stdin.buffer.read())
    try:
        found = mask_parts(wanted.parts, wanted.masks)
    except (BadSegment, av.FFmpegError, ValueError, MemoryError) as e:
        found = [Masked(error=f"{type(e).__name__}: {e}")] * len(wanted.parts)
    sys.stdout.buffer.write(work.encode(found))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
