"""`python -m services.ingest.look`: opens one camera, once, and answers with its first picture or why there is none.

It is a child of whoever asks: see `shared.contract.look`. What a camera sends is decoded here, and nowhere else of
ingest, within the budget that workers have.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import msgspec

from services.ingest import memory
from services.ingest.failures import SourceError, failure_of
from services.ingest.segmenter import Piece, Segmenter
from services.ingest.settings import Cutting, Reaching
from services.ingest.source import VideoSource, meet, open_source
from shared.contract.cameras import Camera
from shared.contract.look import LONGEST_S, Asked, Seen, Unseen
from shared.runtime.errors import BadSegment, OverBudget
from shared.video.decode import decode
from shared.video.pictures import jpeg

# The answer has to be written before the process is ended.
_SPARE_S = 1.5
# Of the picture's size, whatever the camera's is.
_WITHIN = (1280, 720)
_CUTTING = Cutting(segment_s=1.0, max_bytes=8 * 1024 * 1024)


def look(asked: Asked, ca: str, until: float) -> Seen | Unseen:
    """Open the camera, and look at it until `until`, by the monotonic clock, at most."""
    camera = Camera(url=asked.url, transport=asked.transport, verify_tls=asked.verify_tls)
    reaching = Reaching(max(1.0, until - time.monotonic()), ca)
    try:
        meet(camera, asked.secret, reaching)
        source = open_source(camera, asked.secret, reaching)
        try:
            return _picture(_first(source, until))
        finally:
            source.close()
    except (BadSegment, OverBudget) as e:
        return Unseen(cause="undecodable", reason=f"the camera's video can't be decoded: {e}")
    except Exception as e:  # What a camera sends, whatever it is, is answered in words.
        cause, reason = failure_of(e, camera, asked.secret)
        return Unseen(cause=cause, reason=reason)


def _first(source: VideoSource, until: float) -> Piece:
    """The first segment: it begins with the first keyframe that comes. Raises SourceError where none does in time."""
    pieces: list[Piece] = []
    segmenter = Segmenter("look", source.stream, _CUTTING, source.clock(), pieces.append)
    stop = threading.Event()
    for packet in source.packets(stop):
        segmenter.push(packet, time.time())
        if pieces or time.monotonic() >= until:
            break
    segmenter.finish(time.time())
    if not pieces:
        raise SourceError(
            "no_keyframe",
            "the camera sends video, and no keyframe came in time: set a keyframe (I-frame) interval of 1 to 2 s in "
            "the camera",
        )
    return pieces[0]


def _picture(piece: Piece) -> Seen:
    s = piece.segment
    # With intra refresh the first pictures are not whole.
    at = s.duration if s.recovery else 0.0
    decoded = decode(piece.payload, at=[at], within=_WITHIN)
    return Seen(
        codec=s.codec,
        width=decoded.size[0],
        height=decoded.size[1],
        fps=round(s.frames / s.duration, 1) if s.duration else 0.0,
        jpeg=jpeg(decoded.pictures[0].pixels),
    )


def main() -> None:
    # Nothing of ours has to run for this: libav may hang where no limit of its own holds.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    until = time.monotonic() + LONGEST_S - _SPARE_S
    memory.bound()
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    answer = msgspec.json.encode(look(asked, os.environ.get("INGEST_CA", ""), until))
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    # A thread of libav's that hangs must not hold the answer back.
    os._exit(0)


if __name__ == "__main__":
    main()
