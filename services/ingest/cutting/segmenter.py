"""Makes segments of one connection's packets, with cutter, clock and muxer. Runs in the camera's thread."""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

import av
import msgspec
from av.packet import Packet
from av.video.stream import VideoStream

from services.ingest.cutting.cutter import LATE_SHARE, MAX_GOP_S, Cut, Cutter
from services.ingest.cutting.muxer import BOX_BYTES, PACKET_BYTES, Probe, Timed, mux
from services.ingest.cutting.parameters import sequence_parameters
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.recovery_points import RecoveryPoints
from services.ingest.failures import SourceError
from services.ingest.settings import Cutting
from shared.contract.segment import MOST_PIXELS, Segment
from shared.video.recovery import length_size, recovery_frames

CODECS = ("h264", "hevc")
# The assumed duration of a frame if the stream does not give one.
_FRAME_S = 0.04
# A session has fewer packets than this before its first timestamp.
_MOST_UNTIMED = 64
# No camera sends more frames a second, and no segment with more packets can be read.
_MOST_FPS, _MOST_PACKETS = 1000, 10_000
_REMEDY = "restart the camera, and update its firmware"


class Clock(Protocol):
    reanchors: int

    def observe(self, timestamp: float, arrival: float) -> bool: ...
    def is_settled(self, arrival: float) -> bool: ...
    def wall(self, timestamp: float) -> float: ...


class _Muxed(NamedTuple):
    """A piece that waits for the clock to settle. start: its first frame, in seconds of the stream's own time."""

    piece: Piece
    start: float


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
        self._template = stream
        self._codec = stream.codec_context.name
        self._tick = float(stream.time_base or 0)
        self._sps = sequence_parameters(self._codec, stream.codec_context.extradata or b"")
        # A segment may be longer by the rest of its last GOP.
        self._most_packets = min(_MOST_PACKETS, round(_MOST_FPS * (1 + cutting.segment_s * (1 + LATE_SHARE))))
        self._cutter = self._new_cutter()
        self._untimed: list[Packet[VideoStream]] = []
        self._packets: list[Timed] = []
        self._settling: list[_Muxed] = []
        self._skip_cause = "no_keyframe"
        self._length_size = length_size(stream.codec_context)
        self._recovery_points = RecoveryPoints()
        self._recovery: int | None = None
        self._base = ""
        self._skipped_since: float | None = None
        self._new_epoch()

    def push(self, packet: Packet[VideoStream], arrival: float) -> None:
        """Process the next packet in decode order. arrival: seconds since the Unix epoch."""
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None:
            self._buffer_untimed(packet)
            return
        if self._untimed:
            self._push_untimed(pts, arrival)
        if self._packets and _is_repeat(packet, pts, self._packets[-1]):
            self.dropped["repeated"] += 1
            return
        self._push(Timed(packet, pts, packet.dts), arrival)

    def finish(self, arrival: float) -> None:
        """Emit what is left. No packet may be pushed after that."""
        self._close(arrival, None)
        self._release()

    def _buffer_untimed(self, packet: Packet[VideoStream]) -> None:
        """Buffer it until a packet has a timestamp. Raises SourceError if none comes."""
        self._untimed.append(packet)
        size = sum(p.size for p in self._untimed)
        if len(self._untimed) > _MOST_UNTIMED or size > self._cutting.max_bytes:
            self.dropped["untimed"] += len(self._untimed)
            self._untimed.clear()
            raise SourceError("untimed", f"the camera's video has no timestamps: {_REMEDY}")

    def _push_untimed(self, pts: int, arrival: float) -> None:
        """Date packets without a timestamp, as a session's first often are: they come just before the next one."""
        packets, self._untimed = self._untimed, []
        for n, packet in enumerate(packets):
            step = packet.duration or round(_FRAME_S / self._tick)
            self._push(Timed(packet, pts - (len(packets) - n) * step, None), arrival)

    def _push(self, timed: Timed, arrival: float) -> None:
        packet = timed.packet
        time = timed.pts * self._tick
        if self._clock.observe(time, arrival):
            self._break(arrival, "clock_jump")
        if self._codec == "hevc" and self._recovery_of(packet):
            # libav marks recovery points of H.264 alone.
            packet.is_keyframe = True
        if packet.is_keyframe:
            self._follow_parameters(packet, arrival)
        cut = self._cutter.push(time, packet.size + PACKET_BYTES, packet.is_keyframe)
        if cut is Cut.BREAK:
            self._break(arrival, "clock_jump")
            cut = self._cutter.push(time, packet.size + PACKET_BYTES, packet.is_keyframe)
        whole = cut in (Cut.APPEND, Cut.SKIP) or self._close(arrival, timed.pts)
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
        _check_size(self._template)
        self._gop = f"{self._camera}/{self._epoch}/{self._n}"
        self._recovery = self._recovery_of(packet)
        self._base = self._recovery_points.begin(self._gop, self._recovery or 0)

    def _recovery_of(self, packet: Packet[VideoStream]) -> int | None:
        return recovery_frames(self._codec, memoryview(packet), self._length_size)

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

    def _follow_parameters(self, keyframe: Packet[VideoStream], arrival: float) -> None:
        """Adopt a keyframe's own parameter sets if they have changed.

        A session's description may be outdated, and cameras change their resolution without a new session.
        """
        sps = sequence_parameters(self._codec, memoryview(keyframe))
        new = sps is not None and sps != self._sps
        # libav may have read only another stream of the camera, and not this one's size.
        if not new and self._template.width:
            return
        if new and (self._n or self._packets):
            self._break(arrival, "parameters_changed")
        described = b"" if new else self._template.codec_context.extradata or b""
        self._probe = Probe(self._codec, described + bytes(keyframe))
        self._template = self._probe.stream
        self._sps = sps or self._sps

    def _close(self, arrival: float, following: int | None) -> bool:
        """End the segment. False if it could not be muxed. following: presentation time of the next packet, if any."""
        packets, self._packets = self._packets, []
        if not packets:
            return True
        try:
            payload = mux(self._template, packets)
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
            codec=self._codec,  # type: ignore[arg-type]  # checked at open
            width=self._template.width,
            height=self._template.height,
            frames=len(packets),
            recovery=self._recovery,
        )
        self._n += 1
        self._recovery = None
        self._recovery_points.follow(len(packets))
        self._settling.append(_Muxed(Piece(segment, payload, self._gop, arrival, self._base), first * self._tick))
        if self._clock.is_settled(arrival):
            self._release()
        return True

    def _release(self) -> None:
        """Date the pieces that have waited for the clock, and emit them."""
        for piece, start in self._settling:
            time = dt.datetime.fromtimestamp(self._clock.wall(start), dt.UTC)
            self._emit(piece._replace(segment=_with_start(piece.segment, time)))
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


def _is_repeat(packet: Packet[VideoStream], pts: int, before: Timed) -> bool:
    """Whether a frame repeats the one before it. An H.265 decoder would make one picture of both."""
    return pts == before.pts and memoryview(packet) == memoryview(before.packet)


def _with_start(segment: Segment, start: dt.datetime) -> Segment:
    return msgspec.structs.replace(segment, start=start)


def _duration(packets: list[Timed], first: int, following: int | None) -> int:
    """Return a segment's duration in ticks: until the next one's first frame, or the end of its own last frame.

    following: presentation time of the next packet. That is the next frame only if frames are not reordered.
    """
    last = max(t.pts for t in packets)
    if following is not None and following > last and last == packets[-1].pts:
        return following - first
    span = last - first
    return span + (round(span / (len(packets) - 1)) if span else packets[-1].packet.duration or 0)
