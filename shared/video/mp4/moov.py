"""The head of a fragmented MP4: its track, read from `moov` and rewritten. Pure.

Only understood fields are written, so no player sees a camera's arbitrary data.
"""

from __future__ import annotations

import struct

import msgspec

from shared.runtime.errors import BadSegment
from shared.video.mp4.boxes import Box, Fields, box, children, full, only
from shared.video.mp4.parameter_sets import MOST_BYTES, Configuration, of_avc, of_hevc

# The number of the one track that we write.
TRACK = 1
_UPRIGHT = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_ENTRIES = {b"avc1": b"avcC", b"avc3": b"avcC", b"hev1": b"hvcC", b"hvc1": b"hvcC"}
# Boxes of a sample entry for display: colours, and pixels that are not square.
_SHOWN = (b"colr", b"pasp")
_MOST_SHOWN = 4096
_LANGUAGE = 0x55C4  # "und"


class Defaults(msgspec.Struct, frozen=True):
    """Defaults of a sample, unless its fragment overrides them: ticks, bytes, flags."""

    duration: int = 0
    size: int = 0
    flags: int = 0


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """The video of a segment.

    id: its number in fragments. timescale: ticks per second. codec: for MSE, such as `avc1.64001f`. width, height:
    pixels as coded. matrix: its rotation. shown: boxes for display.
    """

    id: int
    timescale: int
    codec: str
    entry: bytes
    configuration: bytes
    width: int
    height: int
    matrix: bytes = _UPRIGHT
    shown: bytes = b""
    defaults: Defaults = Defaults()
    decisive: bytes = b""

    def same(self, other: Track) -> bool:
        """Whether fragments of `other` may follow this one's head."""
        return self._essence() == other._essence()

    def _essence(self) -> tuple[object, ...]:
        return (self.timescale, self.entry, self.decisive, self.width, self.height, self.matrix, self.shown)


def read(data: bytes, moov: Box) -> Track:
    """Read the one track of a fragmented MP4. Raises BadSegment."""
    trak = only(data, moov, b"trak")
    mdia = only(data, trak, b"mdia")
    track, matrix = _track_header(Fields(data, only(data, trak, b"tkhd")))
    if not track:
        raise BadSegment("its MP4 has a track of number 0")
    entry = _sample_entry(data, only(data, only(data, only(data, mdia, b"minf"), b"stbl"), b"stsd"))
    width, height, found, shown = _visual(data, entry)
    return Track(
        id=track,
        timescale=_timescale(Fields(data, only(data, mdia, b"mdhd"))),
        codec=found.codec,
        entry=found.entry,
        configuration=box(found.box, found.record),
        width=width,
        height=height,
        matrix=matrix,
        shown=shown,
        defaults=_defaults(Fields(data, only(data, only(data, moov, b"mvex"), b"trex"))),
        decisive=found.decisive,
    )


def written(track: Track, duration: int = 0, early: int = 0) -> bytes:
    """Return `ftyp` and `moov` of a fragmented MP4 of this track.

    duration: ticks, 0 if unknown. early: ticks of its own clock at which the video begins, as samples are decoded
    before they are shown.
    """
    ftyp = box(b"ftyp", b"iso6", bytes(4), b"iso5", b"iso6", b"mp41")
    header = struct.pack(">IIIIIHHQ", 0, 0, track.timescale, 0, 0x10000, 0x100, 0, 0)
    mvhd = full(b"mvhd", 0, 0, header, _UPRIGHT, bytes(24), struct.pack(">I", TRACK + 1))
    size = struct.pack(">II", track.width << 16, track.height << 16)
    tkhd = full(b"tkhd", 0, 3, struct.pack(">IIIIIQHHHH", 0, 0, TRACK, 0, 0, 0, 0, 0, 0, 0), track.matrix, size)
    elst = full(b"elst", 1, 0, struct.pack(">IQqI", 1, 0, early, 0x10000))
    trak = box(b"trak", tkhd, box(b"edts", elst) if early else b"", _media(track))
    mehd = full(b"mehd", 1, 0, struct.pack(">Q", duration)) if duration else b""
    trex = full(b"trex", 0, 0, struct.pack(">IIIII", TRACK, 1, 0, 0, 0))
    return ftyp + box(b"moov", mvhd, trak, box(b"mvex", mehd, trex))


# ---- reading


def _track_header(fields: Fields) -> tuple[int, bytes]:
    """Return (number of the track, its matrix)."""
    version, _ = fields.version()
    fields.skip(16 if version == 1 else 8)
    number = fields.u32()
    fields.skip(4 + (8 if version == 1 else 4) + 16)
    return number, fields.take(36)


def _timescale(fields: Fields) -> int:
    version, _ = fields.version()
    fields.skip(16 if version == 1 else 8)
    if not (timescale := fields.u32()):
        raise BadSegment("its MP4 has no ticks a second")
    return timescale


def _sample_entry(data: bytes, stsd: Box) -> Box:
    fields = Fields(data, stsd)
    fields.version()
    if (count := fields.u32()) != 1:
        raise BadSegment(f"its MP4 describes {count} kinds of video, where one is expected")
    entry = next(children(data, fields.at, stsd.end), None)
    if entry is None or entry.kind not in _ENTRIES:
        kind = entry.kind.decode("latin-1") if entry else "none"
        raise BadSegment(f"its MP4's codec is {kind!r}, not H.264 or H.265")
    return entry


def _visual(data: bytes, entry: Box) -> tuple[int, int, Configuration, bytes]:
    """Return (width, height, its codec's configuration, the boxes for display)."""
    fields = Fields(data, entry)
    fields.skip(24)
    width, height = fields.u16(), fields.u16()
    if not width or not height:
        raise BadSegment(f"its MP4's pictures are {width}x{height}")
    fields.skip(50)
    wanted, record, shown = _ENTRIES[entry.kind], None, b""
    for found in children(data, fields.at, entry.end):
        if found.kind == wanted and record is None and found.end - found.begin <= MOST_BYTES:
            record = bytes(data[found.begin : found.end])
        elif found.kind in _SHOWN and len(shown) + found.end - found.start <= _MOST_SHOWN:
            shown += bytes(data[found.start : found.end])
    if record is None:
        raise BadSegment(f"its MP4 has no {wanted.decode()} of at most {MOST_BYTES} bytes")
    return width, height, of_avc(record) if wanted == b"avcC" else of_hevc(record), shown


def _defaults(fields: Fields) -> Defaults:
    fields.version()
    fields.skip(8)
    return Defaults(fields.u32(), fields.u32(), fields.u32())


# ---- writing


def _media(track: Track) -> bytes:
    mdhd = full(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, track.timescale, 0, _LANGUAGE, 0))
    hdlr = full(b"hdlr", 0, 0, bytes(4), b"vide", bytes(12), b"VideoHandler\0")
    dref = full(b"dref", 0, 0, struct.pack(">I", 1), full(b"url ", 0, 1))
    stsd = full(b"stsd", 0, 0, struct.pack(">I", 1), _entry(track))
    tables = [full(kind, 0, 0, bytes(size)) for kind, size in ((b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4))]
    vmhd = full(b"vmhd", 0, 1, bytes(8))
    return box(b"mdia", mdhd, hdlr, box(b"minf", vmhd, box(b"dinf", dref), box(b"stbl", stsd, *tables)))


def _entry(track: Track) -> bytes:
    """ISO/IEC 14496-12, 12.1.3: 72 dots per inch, one frame per sample, no name, 24 bits."""
    head = struct.pack(">6xH16xHHIIIH32sHh", 1, track.width, track.height, 72 << 16, 72 << 16, 0, 1, b"", 24, -1)
    return box(track.entry, head, track.configuration, track.shown)
