"""Segments that need far more work than their size suggests: from real encoders, then reassembled."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import av

EIGHT_K = (7680, 4320)
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_FPS = 25
_H264 = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "crf": "51",
    "x264-params": "threads=1:slices=2:keyint=10000:scenecut=0",
}
_HEVC = {
    "preset": "ultrafast",
    "crf": "51",
    "x265-params": "log-level=none:pools=1:frame-threads=1:slices=2:keyint=10000",
}
# x264 counts frames modulo 16, so that 16 packets may be repeated for ever.
_CYCLE = 16


class Still(NamedTuple):
    """A still picture: a keyframe, and packets that each repeat the picture. mp4: of all of them."""

    key: bytes
    skips: list[bytes]
    mp4: bytes


def still(
    size: tuple[int, int] = (320, 240), codec: str = "libx264", frames: int = 1 + _CYCLE, pixels: str = "yuv420p"
) -> Still:
    """Encode a still picture: 8K takes a few seconds."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options=_FRAGMENTED) as container:
        stream = container.add_stream(codec, rate=_FPS, options=_H264 if codec == "libx264" else _HEVC)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.max_b_frames = 0
        picture = av.VideoFrame(*size, pixels)
        for plane in picture.planes:
            plane.update(b"\x80" * plane.buffer_size)
        for n in range(frames):
            picture.pts, picture.time_base = n, Fraction(1, _FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with av.open(io.BytesIO(out.getvalue())) as source:
        packets = [bytes(p) for p in source.demux(source.streams.video[0]) if p.size]
    return Still(packets[0], packets[1:], out.getvalue())


def repeated(of: Still, frames: int) -> bytes:
    """The still picture for `frames` frames; H.264 needs some ten bytes for each."""
    return muxed(of, [of.key, *(of.skips[n % _CYCLE] for n in range(frames - 1))])


def muxed(template: Still, packets: Sequence[bytes], keyframe: bool = True) -> bytes:
    """The packets, which need not be of `template`, with its parameter sets and size. keyframe: whether the first is
    marked as one."""
    out = io.BytesIO()
    with (
        av.open(io.BytesIO(template.mp4)) as source,
        av.open(out, "w", format="mp4", options=_FRAGMENTED) as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for n, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = n
            packet.duration, packet.time_base = 1, Fraction(1, _FPS)
            packet.is_keyframe = keyframe and n == 0
            packet.stream = stream
            container.mux_one(packet)
    return out.getvalue()


def lying(mp4: bytes, size: tuple[int, int]) -> bytes:
    """The same video in an MP4 that has another size than its parameter sets."""
    entry = mp4.find(b"stsd") + 16
    assert mp4[entry:].startswith((b"avc1", b"hev1", b"hvc1"))
    # ISO/IEC 14496-12: width and height stand 28 bytes after the sample entry's name.
    return mp4[: entry + 28] + struct.pack(">HH", *size) + mp4[entry + 32 :]


def in_slices(packet: bytes, times: int) -> bytes:
    """One frame whose last slice, which may cover all of it, is there `times` times."""
    units = _units(packet)
    return _joined([*units[:-1], *units[-1:] * times])


def with_parameters(of: Still) -> bytes:
    """Its keyframe with the parameter sets in front, as from cameras that change their size."""
    with av.open(io.BytesIO(of.mp4)) as source:
        record = source.streams.video[0].codec_context.extradata or b""
    # ISO/IEC 14496-15, 5.3.3.1: avcC of one SPS and one PPS.
    length = int.from_bytes(record[6:8], "big")
    sps, rest = record[8 : 8 + length], record[8 + length + 1 :]
    pps = rest[2 : 2 + int.from_bytes(rest[:2], "big")]
    return _joined([sps, pps, *_units(of.key)])


def _units(packet: bytes) -> list[bytes]:
    units = []
    while packet:
        length = int.from_bytes(packet[:4], "big")
        units.append(packet[4 : 4 + length])
        packet = packet[4 + length :]
    return units


def _joined(units: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)
