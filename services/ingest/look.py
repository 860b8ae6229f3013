"""`python -m services.ingest.look`: opens one camera, once, and answers with its first picture or why there is none.

It is a child of the requesting process: see `shared.contract.questions.look`. Within ingest, this alone decodes
what a camera sends, within the budget that workers have.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import closing

import msgspec

from services.ingest.camera import memory
from services.ingest.camera.opening import meet, open_source
from services.ingest.camera.reading import VideoSource
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.failures import SourceError, failure_of
from services.ingest.settings import Cutting, Reaching
from shared.contract.cameras import Camera
from shared.contract.questions.look import LONGEST_S, ProbeRequest, Seen, Unseen
from shared.runtime.errors import BadSegment, OverBudget
from shared.video.decode import decode
from shared.video.pictures import jpeg

# The answer must be written before the process is killed.
_SPARE_S = 1.5
# Largest picture, whatever the camera's size is.
_WITHIN = (1280, 720)
_CUTTING = Cutting(segment_s=1.0, max_bytes=8 * 1024 * 1024)


def look(request: ProbeRequest, ca: str, until: float) -> Seen | Unseen:
    """Open the camera and return its first picture, until `until` by the monotonic clock."""
    camera = Camera(url=request.url, transport=request.transport, verify_tls=request.verify_tls)
    reaching = Reaching(max(1.0, until - time.monotonic()), ca)
    try:
        meet(camera, request.secret, reaching)
        with closing(open_source(camera, request.secret, reaching)) as source:
            return _picture(_first(source, until))
    except (BadSegment, OverBudget) as e:
        return Unseen(cause="undecodable", reason=f"the camera's video can't be decoded: {e}")
    except Exception as e:  # Whatever a camera sends, the answer is a sentence.
        cause, reason = failure_of(e, camera, request.secret)
        return Unseen(cause=cause, reason=reason)


def _first(source: VideoSource, until: float) -> Piece:
    """Return the first segment, which begins with a keyframe. Raises SourceError if none comes in time."""
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
    # With intra refresh the first pictures are incomplete.
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
    # A signal ends the process even if libav hangs outside its own limits.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    until = time.monotonic() + LONGEST_S - _SPARE_S
    memory.bound()
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=ProbeRequest)
    answer = msgspec.json.encode(look(request, os.environ.get("INGEST_CA", ""), until))
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    # A libav thread that hangs must not delay the answer.
    os._exit(0)


if __name__ == "__main__":
    main()
