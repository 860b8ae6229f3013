"""Fragments of an MP4: the times, sizes and places of their frames, read from `moof` and rewritten. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from shared.runtime.errors import BadSegment
from shared.video.mp4.boxes import Box, Fields, box, children, full, only
from shared.video.mp4.moov import TRACK, Defaults, Track

# Maximum number of frames in a segment, as in `shared.video.decode`.
MOST_FRAMES = 10_000
# Flags of a sample (ISO/IEC 14496-12, 8.8.3.1): decoding can't begin with it; and those that we write for both kinds.
NOT_SYNC = 0x10000
_KEY, _OTHER = 0x2000000, 0x1010000
_ROW = struct.Struct(">IIIi")
_SIGNED = range(-(2**31), 2**31)
# Flags of `tfhd` with the sizes of their fields, and of the columns of `trun`.
_BASE, _MOOF_IS_BASE, _NO_FRAMES = 0x1, 0x20000, 0x10000
_DATA_OFFSET, _FIRST_FLAGS = 0x1, 0x4
_DURATION, _SIZE, _FLAGS, _OFFSET = _COLUMNS = (0x100, 0x200, 0x400, 0x800)


class Sample(NamedTuple):
    """A frame in decode order. duration: ticks until the next decode. offset: ticks until it is shown."""

    duration: int
    size: int
    key: bool
    offset: int


class Fragment(msgspec.Struct, frozen=True):
    """decode_time: of the first sample, in ticks. spans: of the samples' bytes in the payload, in order."""

    decode_time: int
    samples: tuple[Sample, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def decoded(self) -> Iterator[int]:
        """Yield the decode time of each sample, in ticks."""
        at = self.decode_time
        for sample in self.samples:
            yield at
            at += sample.duration

    @property
    def last(self) -> int:
        """The decode time of the last sample."""
        return self.decode_time + sum(sample.duration for sample in self.samples[:-1])

    @property
    def size(self) -> int:
        return sum(end - begin for begin, end in self.spans)


def read(data: bytes, moof: Box, track: Track, expected: int) -> Fragment:
    """Read a fragment of a payload, with at least one sample. expected: its decode time, if it has none.

    Raises BadSegment.
    """
    traf = only(data, moof, b"traf")
    defaults, base = _header(Fields(data, only(data, traf, b"tfhd")), track, moof)
    decode_time, samples, spans = expected, list[Sample](), list[tuple[int, int]]()
    place = base
    for found in children(data, traf.begin, traf.end):
        if found.kind == b"tfdt":
            fields = Fields(data, found)
            decode_time = fields.u64() if fields.version()[0] == 1 else fields.u32()
        elif found.kind == b"trun":
            run, begin = _run(data, found, defaults, base, place)
            place = begin + sum(sample.size for sample in run)
            samples += run
            if begin < 0 or place > len(data):
                raise BadSegment("its MP4 has frames outside of it")
            if spans and spans[-1][1] == begin:
                spans[-1] = (spans[-1][0], place)
            elif run:
                spans.append((begin, place))
            if len(samples) > MOST_FRAMES:
                raise BadSegment(f"its MP4 has over {MOST_FRAMES} frames")
    if not samples:
        raise BadSegment("its MP4 has a fragment without frames")
    return Fragment(decode_time, tuple(samples), tuple(spans))


def written(fragment: Fragment, sequence: int) -> bytes:
    """Return a `moof` and the head of the `mdat` for the samples' bytes, which follow. Raises BadSegment."""
    mdat = struct.pack(">I4s", 8 + fragment.size, b"mdat")
    rows = _rows(fragment.samples)
    mfhd = full(b"mfhd", 0, 0, struct.pack(">I", sequence))
    tfhd = full(b"tfhd", 0, _MOOF_IS_BASE, struct.pack(">I", TRACK))
    tfdt = full(b"tfdt", 1, 0, struct.pack(">Q", fragment.decode_time))
    # Heads of moof, traf and trun have 8 bytes each; version, count and offset in trun 4 each.
    size = 8 + len(mfhd) + 8 + len(tfhd) + len(tfdt) + 8 + 12 + len(rows)
    head = struct.pack(">Ii", len(fragment.samples), size + len(mdat))
    trun = full(b"trun", 1, _DATA_OFFSET | sum(_COLUMNS), head, rows)
    return box(b"moof", mfhd, box(b"traf", tfhd, tfdt, trun)) + mdat


def _header(fields: Fields, track: Track, moof: Box) -> tuple[Defaults, int]:
    """Return (the defaults of the samples, the base of their offsets)."""
    _, flags = fields.version()
    if fields.u32() != track.id:
        raise BadSegment("its MP4 has a fragment of another track")
    if flags & _NO_FRAMES:
        raise BadSegment("its MP4 has a fragment without frames")
    base = fields.u64() if flags & _BASE else moof.start
    if flags & 0x2:
        fields.skip(4)
    default = track.defaults
    duration = fields.u32() if flags & 0x8 else default.duration
    size = fields.u32() if flags & 0x10 else default.size
    return Defaults(duration, size, fields.u32() if flags & 0x20 else default.flags), base


def _run(data: bytes, trun: Box, defaults: Defaults, base: int, place: int) -> tuple[list[Sample], int]:
    """Return (the samples of a run, the start of their bytes). place: the end of the previous run's bytes."""
    fields = Fields(data, trun)
    version, flags = fields.version()
    count = fields.u32()
    begin = base + fields.s32() if flags & _DATA_OFFSET else place
    first = fields.u32() if flags & _FIRST_FLAGS else None
    if count > MOST_FRAMES:
        raise BadSegment(f"its MP4 announces {count} frames, where {MOST_FRAMES} are the most")
    columns = [column for column in _COLUMNS if flags & column]
    row = struct.Struct(">" + "".join("i" if c == _OFFSET and version else "I" for c in columns))
    table = fields.take(count * row.size)
    rows = [dict(zip(columns, values, strict=True)) for values in row.iter_unpack(table)] if columns else [{}] * count
    samples = []
    for n, one in enumerate(rows):
        marks = first if n == 0 and first is not None else one.get(_FLAGS, defaults.flags)
        size = one.get(_SIZE, defaults.size)
        if not size:
            raise BadSegment("its MP4 has a frame of no bytes")
        samples.append(Sample(one.get(_DURATION, defaults.duration), size, not marks & NOT_SYNC, one.get(_OFFSET, 0)))
    return samples, begin


def _rows(samples: Sequence[Sample]) -> bytes:
    if not all(sample.offset in _SIGNED for sample in samples):
        raise BadSegment("its frames are too far apart to be written")
    return b"".join(_ROW.pack(s.duration, s.size, _KEY if s.key else _OTHER, s.offset) for s in samples)
