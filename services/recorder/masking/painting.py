"""Decodes segments, blackens the masks, and encodes H.264, each frame at its own time.

Undecodable frames are dropped with all that is decoded from them: no frame passes unpainted.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any, NamedTuple

import av
import msgspec
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter

from services.recorder.masking.work import Masked, Part
from shared.contract.geometry import Point
from shared.runtime.errors import BadSegment
from shared.video import fmp4, orientation
from shared.video.budget import MAX_PIXELS
from shared.video.container import opened
from shared.video.covering import Run, covered_runs, halve_runs
from shared.video.mp4 import moof, moov
from shared.video.mp4.boxes import children
from shared.video.mp4.moof import Fragment, Sample
from shared.video.mp4.moov import Track
from shared.video.orientation import Orientation

_CODECS = ("h264", "hevc")
TICKS = 90_000
# No frame refers to a later one, so that frames leave in display order.
_X264 = {
    "preset": "veryfast",
    "tune": "zerolatency",
    "crf": "23",
    "forced-idr": "1",
    "x264-params": "keyint=infinite:scenecut=0",
}
_MP4 = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "video_track_timescale": str(TICKS)}
# YUV values: black, and no colour.
_DARK, _GREY = b"\x10", b"\x80"


class _Frame(NamedTuple):
    """A decoded frame. part: number of its segment. at: ticks after the first segment's start."""

    part: int
    at: int
    picture: VideoFrame


def mask_parts(parts: Sequence[Part], masks: Sequence[Sequence[Point]]) -> list[Masked]:
    """Mask each part, in order. parts: consecutive segments of one camera."""
    # Parts that are decoded from the same keyframe have one number.
    units = list(accumulate(int(part.begins) for part in parts))
    reader, writer = _Reader(parts, units), _Writer(_Painter(masks))
    last = 0
    for frame in reader.frames():
        last = max(last, frame.part)
        try:
            writer.add(frame._replace(part=last), units[last])
        except BadSegment as e:
            reader.failed.setdefault(units[last], str(e))
    found = writer.finish()
    row = []
    for k, part in enumerate(parts):
        rows, error = found.rows.get(k), reader.failed.get(units[k])
        if rows and not error:
            row.append(_segment(found, rows, part, reader.tracks[k]))
        else:
            row.append(Masked(error=error or "no frame of it can be decoded"))
    return row


class _Reader:
    """Decodes parts. failed: why nothing of a unit may be stored. tracks: of the readable parts, by number."""

    def __init__(self, parts: Sequence[Part], units: Sequence[int]) -> None:
        self.failed: dict[int, str] = {}
        self.tracks: dict[int, Track] = {}
        self._parts, self._units = parts, units
        # By the number of its packet: a frame's part, and its time.
        self._places: dict[int, tuple[int, int]] = {}
        self._count = 0

    def frames(self) -> Iterator[_Frame]:
        """Yield all decodable frames, in display order."""
        decoder: VideoCodecContext | None = None
        current: object = None
        for k, part in enumerate(self._parts):
            if self._units[k] in self.failed:
                continue
            try:
                context, packets = self._packets(k, part)
                # A decoder keeps the rotation with which it was set up.
                setup = context.extradata, self.tracks[k].matrix
                if decoder is None or (part.begins and setup != current):
                    if decoder:
                        yield from self._left(decoder)
                    if not part.begins:
                        raise BadSegment("what it is decoded from is missing")
                    decoder, current = _set_up(context), setup
                for packet in packets:
                    yield from self._found(decoder.decode(packet))
            except (BadSegment, av.FFmpegError, ValueError) as e:
                self.failed[self._units[k]] = str(e)
                if decoder:
                    yield from self._left(decoder)
                decoder = None
        if decoder:
            yield from self._left(decoder)

    def _packets(self, k: int, part: Part) -> tuple[VideoCodecContext, list[Any]]:
        """Return its decoder, and its packets in decode order, numbered. Raises BadSegment."""
        self.tracks[k] = fmp4.read(part.payload).track
        with opened(part.payload) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None or context.name not in _CODECS:
                raise BadSegment(f"its codec is none of {_CODECS}")
            packets = [packet for packet in container.demux(stream) if packet.size]
            tick = float(stream.time_base or 0)
        if not packets or any(packet.pts is None or packet.is_corrupt for packet in packets):
            raise BadSegment("frames of it are damaged")
        first = min(packet.pts for packet in packets)
        for packet in packets:
            at = round((part.start + (packet.pts - first) * tick) * TICKS)
            self._places[self._count] = k, at
            packet.pts = packet.dts = self._count
            self._count += 1
        return context, packets

    def _found(self, pictures: Sequence[VideoFrame]) -> Iterator[_Frame]:
        for picture in pictures:
            if picture.pts is not None and (place := self._places.pop(picture.pts, None)):
                yield _Frame(*place, picture)

    def _left(self, decoder: VideoCodecContext) -> Iterator[_Frame]:
        try:
            yield from self._found(decoder.decode(None))
        except av.FFmpegError:
            return


def _set_up(decoder: VideoCodecContext) -> VideoCodecContext:
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder


class _Painter:
    """Blackens the masks. masks: of the upright picture."""

    def __init__(self, masks: Sequence[Sequence[Point]]) -> None:
        self._masks = masks
        self._reformatter = VideoReformatter()
        self._turn: Orientation | None = None
        self._cached: dict[tuple[Any, ...], list[list[tuple[int, bytes]]]] = {}

    def paint(self, picture: VideoFrame) -> VideoFrame:
        """Return a painted copy, in 4:2:0 of 8 bits: the decoder goes on using `picture`."""
        if picture.key_frame or self._turn is None:
            self._turn = orientation.of(picture) or orientation.AS_STORED
        out = self._reformatter.reformat(picture, format="yuv420p", threads=1)
        out.make_writable()
        lines = tuple(plane.line_size for plane in out.planes)
        for plane, black in zip(out.planes, self._black(out.width, out.height, lines, self._turn), strict=True):
            view = memoryview(plane)
            for at, dark in black:
                view[at : at + len(dark)] = dark
        return out

    def _black(self, width: int, height: int, lines: Sequence[int], turn: Orientation) -> list[list[tuple[int, bytes]]]:
        """Return the (offset, bytes) writes of each plane. lines: bytes of a row of each."""
        key = width, height, lines, turn
        if key not in self._cached:
            rows = covered_runs([[_to_stored(point, turn) for point in mask] for mask in self._masks], width, height)
            half = halve_runs(rows)
            planes = zip((rows, half, half), lines, (_DARK, _GREY, _GREY), strict=True)
            self._cached[key] = [_writes(rows, line, colour) for rows, line, colour in planes]
        return self._cached[key]


def _writes(rows: Sequence[Sequence[Run]], line: int, colour: bytes) -> list[tuple[int, bytes]]:
    return [(n * line + begin, colour * (end - begin)) for n, row in enumerate(rows) for begin, end in row]


def _to_stored(point: Point, turn: Orientation) -> Point:
    """Map a point of the upright picture to the stored one."""
    x, y = point
    x, y = 1 - x if turn.mirrored else x, 1 - y if turn.flipped else y
    return (y, x) if turn.swapped else (x, y)


class _Row(NamedTuple):
    """An encoded frame. begin: where its bytes are. at: ticks."""

    sample: Sample
    begin: int
    at: int


class _Found(NamedTuple):
    """rows: of each part, in order. data: contains their bytes."""

    rows: dict[int, list[_Row]]
    data: bytes = b""
    track: Track | None = None


class _Writer:
    """Encodes painted frames, in display order."""

    def __init__(self, painter: _Painter) -> None:
        self._painter = painter
        self._out = io.BytesIO()
        self._container: Any = None
        self._stream: Any = None
        self._unit = 0
        self._places: list[tuple[int, int]] = []

    def add(self, frame: _Frame, unit: int) -> None:
        """Encode a frame. unit: a new one begins with a keyframe. Raises BadSegment."""
        picture = self._painter.paint(frame.picture)
        if self._container is None:
            self._begin(picture)
        if (picture.width, picture.height) != (self._stream.width, self._stream.height):
            raise BadSegment("its pictures change their size")
        at = max(frame.at, self._places[-1][1] + 1 if self._places else 0)
        picture.pts, picture.time_base = at, Fraction(1, TICKS)
        picture.pict_type = PictureType.I if unit != self._unit else PictureType.NONE
        self._unit = unit
        self._container.mux(self._stream.encode(picture))
        self._places.append((frame.part, at))

    def _begin(self, picture: VideoFrame) -> None:
        self._container = av.open(self._out, "w", format="mp4", options=_MP4)
        self._stream = stream = self._container.add_stream("libx264", options=_X264)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        context = stream.codec_context
        context.time_base, context.thread_count = Fraction(1, TICKS), 1
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(picture, name))

    def finish(self) -> _Found:
        """Close the file, and return its frames. Raises BadSegment."""
        if self._container is None:
            return _Found({})
        self._container.mux(self._stream.encode(None))
        self._container.close()
        data = self._out.getvalue()
        video = fmp4.read(data)
        samples = list(_samples(video.fragments))
        if len(samples) != len(self._places):
            raise BadSegment("it was not encoded frame by frame")
        rows: dict[int, list[_Row]] = {}
        for (sample, begin), (part, at) in zip(samples, self._places, strict=True):
            rows.setdefault(part, []).append(_Row(sample, begin, at))
        return _Found(rows, data, video.track)


def _samples(fragments: Sequence[Fragment]) -> Iterator[tuple[Sample, int]]:
    """Yield each sample with the offset of its bytes."""
    for fragment in fragments:
        ((at, _),) = fragment.spans
        for sample in fragment.samples:
            yield sample, at
            at += sample.size


def _segment(found: _Found, rows: Sequence[_Row], part: Part, source: Track) -> Masked:
    """Build a part's own MP4."""
    assert found.track
    end = max(rows[-1].at + 1, round((part.start + part.seconds) * TICKS))
    times = [*(row.at for row in rows), end]
    samples = tuple(
        Sample(until - row.at, row.sample.size, row.sample.key, 0) for row, until in zip(rows, times[1:], strict=True)
    )
    bytes_of = [(row.begin, row.begin + row.sample.size) for row in rows]
    fragment = Fragment(0, samples, tuple(bytes_of))
    track = msgspec.structs.replace(found.track, matrix=source.matrix, shown=found.track.shown + _pixels(source))
    data = b"".join(found.data[begin:until] for begin, until in bytes_of)
    payload = moov.written(track) + moof.written(fragment, 1) + data
    return Masked(payload=payload, late=max(0.0, rows[0].at / TICKS - part.start))


def _pixels(source: Track) -> bytes:
    """Return the box of the pixel aspect ratio."""
    found = (one for one in children(source.shown, 0, len(source.shown)) if one.kind == b"pasp")
    return b"".join(source.shown[one.start : one.end] for one in found)
