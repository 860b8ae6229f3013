"""Writes packets as one fragmented MP4, in memory, without touching the video."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import av
from av.packet import Packet
from av.video.stream import VideoStream

from shared.video.timestamps import decode_times

_MOVFLAGS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

# An MP4 is at most this much larger than its packets: BOX_BYTES for its boxes and parameter sets; PACKET_BYTES for each
# packet's row in `trun`, and for its NAL units, which grow by a byte each where start codes become lengths.
BOX_BYTES = 8192
PACKET_BYTES = 96


class Timed(NamedTuple):
    """A packet with its timestamps in ticks of its time base; dts None where the stream gave none."""

    packet: Packet[VideoStream]
    pts: int
    dts: int | None


def mux(template: VideoStream, packets: Sequence[Timed]) -> bytes:
    """Return a fragmented MP4 of `packets`, which are in decode order. Raises av.FFmpegError if they can't be muxed.

    template: gives the codec, the parameter sets, and the matrix of the picture's rotation.
    """
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options=_MOVFLAGS) as container:
        stream = container.add_stream_from_template(template, opaque=True)
        first = packets[0].packet
        assert first.time_base
        stream.time_base = first.time_base
        times = decode_times([t.pts for t in packets], [t.dts for t in packets])
        for timed, dts in zip(packets, times, strict=True):
            packet = timed.packet
            packet.stream = stream
            packet.pts, packet.dts = timed.pts, dts
            container.mux_one(packet)
    return out.getvalue()
