"""Makes segments of one connection's packets."""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Callable

import av
import msgspec
from av.packet import Packet
from av.video.stream import VideoStream

from services.ingest.cutting.clock import Clock
from services.ingest.cutting.cutter import LATE_SHARE, MAX_GOP_S, Cut, Cutter
from services.ingest.cutting.muxer import BOX_BYTES, PACKET_BYTES, Timed, mux
from services.ingest.cutting.parameters import Parameters
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.recovery_points import RecoveryPoints
from services.ingest.failures import SourceError
from services.ingest.settings import Cutting
from shared.contract.segment import MOST_PIXELS, Segment

# The assumed duration of a frame if the stream does not give one.
_FRAME_S = 0.04
# A session has fewer packets than this before its first timestamp.
_MOST_UNTIMED = 64
# No camera sends more frames a second, and no segment with more packets can be read.
_MOST_FPS, _MOST_PACKETS = 1000, 10_000
_REMEDY = "restart the camera, and update its firmware"


class _Dater:
    """Gives timestamps to packets without one, as a session's first often are: they come just before the next one."""

    def __init__(self, tick: float, max_bytes: int, dropped: Counter[str]) -> None:
        self._tick = tick
        self._max_bytes = max_bytes
        self._dropped = dropped
        self._untimed: list[Packet[VideoStream]] = []

    def date(self, packet: Packet[VideoStream]) -> list[Timed]:
        """Return the packets that have a timestamp now, in order. Raises SourceError if none comes."""
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is not None:
            packets, self._untimed = self._untimed, []
            steps = [p.duration or round(_FRAME_S / self._tick) for p in packets]
            earlier = [Timed(p, pts - (len(packets) - n) * steps[n], None) for n, p in enumerate(packets)]
            return [*earlier, Timed(packet, pts, packet.dts)]
        self._untimed.append(packet)
        if len(self._untimed) > _MOST_UNTIMED or sum(p.size for p in self._untimed) > self._max_bytes:
            self._dropped["untimed"] += len(self._untimed)
            self._untimed.clear()
            raise SourceError("untimed", f"the camera's video has no timestamps: {_REMEDY}")
        return []


class Segmenter:
    """Takes packets by `push`, then `finish`. `emit` gets the pieces in order; `dropped` counts frames by cause."""

    def __init__(
        self, camera: str, stream: VideoStream, cutting: Cutting, clock: Clock, emit: Callable[[Piece], None]
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._camera = camera
        self._cutting = cutting
        self._clock = clock
        self._emit = emit
        self._parameters = Parameters(stream)
        self._tick = float(stream.time_base or 0)
        self._dater = _Dater(self._tick, cutting.max_bytes, self.dropped)
        # A segment may be longer by the rest of its last GOP.
        self._most_packets = min(_MOST_PACKETS, round(_MOST_FPS * (1 + cutting.segment_s * (1 + LATE_SHARE))))
        self._cutter = self._new_cutter()
        self._packets: list[Timed] = []
        # Pieces that wait for the clock to settle, with their first frame in seconds of the stream's own time.
        self._settling: list[tuple[Piece, float]] = []
        self._skip_cause = "no_keyframe"
        self._recovery_points = RecoveryPoints()
        self._recovery: int | None = None
        self._base = ""
        self._skipped_since: float | None = None
        self._new_epoch()

    def push(self, packet: Packet[VideoStream], arrival: float) -> None:
        """Process the next packet in decode order. arrival: seconds since the Unix epoch."""
        for timed in self._dater.date(packet):
            if self._packets and _is_repeat(timed, self._packets[-1]):
                self.dropped["repeated"] += 1
            else:
                self._push(timed, arrival)

    def finish(self, arrival: float) -> None:
        """Emit what is left. No packet may be pushed after that."""
        self._close(arrival, None)
        self._release()

    def _push(self, timed: Timed, arrival: float) -> None:
        packet = timed.packet
        time = timed.pts * self._tick
        if self._clock.observe(time, arrival):
            self._break(arrival, "clock_jump")
        if self._parameters.codec == "hevc" and self._parameters.recovery_of(packet):
            # libav marks recovery points of H.264 alone.
            packet.is_keyframe = True
        if packet.is_keyframe:
            if self._parameters.differ(packet) and (self._n or self._packets):
                self._break(arrival, "parameters_changed")
            self._parameters.adopt(packet)
        cut = self._cutter.push(time, packet.size + PACKET_BYTES, packet.is_keyframe)
        if cut is Cut.BREAK:
            self._break(arrival, "clock_jump")
            cut = self._cutter.push(time, packet.size + PACKET_BYTES, packet.is_keyframe)
        whole = True
        if cut not in (Cut.APPEND, Cut.SKIP):
            whole = self._close(arrival, timed.pts)
        if cut is Cut.KEY:
            self._begin_gop(packet)
        elif cut is Cut.OVERSIZE:
            self._skip("oversize")
        elif cut is Cut.ENDLESS:
            self._skip("gop_too_long")
        elif cut is Cut.DEPENDENT and not whole:
            self._cutter = self._new_cutter()
            self._skip("unmuxable")
            cut = Cut.SKIP
        if cut in (Cut.SKIP, Cut.OVERSIZE, Cut.ENDLESS):
            self.dropped[self._skip_cause] += 1
            self._without_keyframe(time)
        else:
            self._packets.append(timed)
            if len(self._packets) > self._most_packets:
                raise SourceError("untimed", f"the timestamps of the camera's video stand still: {_REMEDY}")

    def _begin_gop(self, packet: Packet[VideoStream]) -> None:
        """Begin a GOP with a keyframe or a recovery point: both are marked as keyframes."""
        self._skipped_since = None
        _check_size(self._parameters.template)
        self._gop = f"{self._camera}/{self._epoch}/{self._n}"
        self._recovery = self._parameters.recovery_of(packet)
        self._base = self._recovery_points.begin(self._gop, self._recovery or 0)

    def _skip(self, cause: str) -> None:
        """Drop the rest of the GOP: nothing is decoded with what came before."""
        self._skip_cause = cause
        self._skipped_since = None
        self._recovery_points = RecoveryPoints()

    def _without_keyframe(self, time: float) -> None:
        """Raise SourceError if a camera sends no keyframe, so that its status says so."""
        if self._skipped_since is None or time < self._skipped_since:
            self._skipped_since = time
        if time - self._skipped_since > MAX_GOP_S:
            raise SourceError(
                "no_keyframe",
                f"the camera has sent no keyframe for {MAX_GOP_S:.0f} s: set a keyframe (I-frame) interval of "
                "1 to 2 s in the camera, and turn intra refresh off",
            )

    def _break(self, arrival: float, cause: str) -> None:
        """Begin a new epoch, with the next keyframe: what follows does not belong to what came before."""
        self._close(arrival, None)
        self._release()
        self._cutter = self._new_cutter()
        self._skip(cause)
        self._new_epoch()

    def _close(self, arrival: float, following: int | None) -> bool:
        """End the segment. False if it could not be muxed. following: presentation time of the next packet, if any."""
        packets, self._packets = self._packets, []
        if not packets:
            return True
        try:
            payload = mux(self._parameters.template, packets)
        except (av.FFmpegError, ValueError):
            self.dropped["unmuxable"] += len(packets)
            self._recovery_points = RecoveryPoints()
            return False
        first = min(t.pts for t in packets)
        segment = Segment(
            camera=self._camera,
            epoch=self._epoch,
            n=self._n,
            start=dt.datetime.fromtimestamp(0, dt.UTC),
            duration=_duration(packets, first, following) * self._tick,
            codec=self._parameters.codec,  # type: ignore[arg-type]  # checked at open
            width=self._parameters.template.width,
            height=self._parameters.template.height,
            frames=len(packets),
            recovery=self._recovery,
        )
        self._n += 1
        self._recovery = None
        self._recovery_points.follow(len(packets))
        self._settling.append((Piece(segment, payload, self._gop, arrival, self._base), first * self._tick))
        if self._clock.is_settled(arrival):
            self._release()
        return True

    def _release(self) -> None:
        """Date the pieces that have waited for the clock, and emit them."""
        for piece, start in self._settling:
            time = dt.datetime.fromtimestamp(self._clock.wall(start), dt.UTC)
            self._emit(piece._replace(segment=msgspec.structs.replace(piece.segment, start=time)))
        self._settling.clear()

    def _new_epoch(self) -> None:
        self._epoch = secrets.token_hex(4)
        self._n = 0
        self._gop = ""

    def _new_cutter(self) -> Cutter:
        return Cutter(self._cutting.segment_s, self._cutting.max_bytes - BOX_BYTES)


def _check_size(video: VideoStream) -> None:
    """Raise SourceError if headers can't hold a size: no service would take such a segment."""
    if max(video.width, video.height) > MOST_PIXELS:
        raise SourceError(
            "size", f"the camera's pictures are {video.width}x{video.height}: set {MOST_PIXELS} pixels a side, or fewer"
        )


def _is_repeat(timed: Timed, before: Timed) -> bool:
    """Whether a frame repeats the one before it. An H.265 decoder would make one picture of both."""
    return timed.pts == before.pts and memoryview(timed.packet) == memoryview(before.packet)


def _duration(packets: list[Timed], first: int, following: int | None) -> int:
    """Return a segment's duration in ticks: until the next one's first frame, or the end of its own last frame.

    following: presentation time of the next packet. That is the next frame only if frames are not reordered.
    """
    last = max(t.pts for t in packets)
    if following is not None and following > last and last == packets[-1].pts:
        return following - first
    span = last - first
    return span + (round(span / (len(packets) - 1)) if span else packets[-1].packet.duration or 0)
