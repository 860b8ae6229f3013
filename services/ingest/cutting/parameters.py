"""Follows the parameter sets of a stream: its session's description may be outdated, and a camera may change them.

If the sequence parameter set (SPS) in a keyframe changes, so does the resolution or the profile.
"""

from __future__ import annotations

import io
import re

import av
from av.packet import Packet
from av.video.stream import VideoStream

from shared.video.recovery import length_size, recovery_frames

CODECS = ("h264", "hevc")
_START = re.compile(rb"\x00\x00\x01")
# Parameter sets are within this many first bytes of an access unit: at most a delimiter comes before them.
_HEAD = 2048


class Parameters:
    """The current parameter sets of a stream. template: a stream that has them."""

    def __init__(self, stream: VideoStream) -> None:
        self.template = stream
        self.codec = stream.codec_context.name
        self._sps = sequence_parameters(self.codec, stream.codec_context.extradata or b"")
        self._length_size = length_size(stream.codec_context)

    def recovery_of(self, packet: Packet[VideoStream]) -> int | None:
        """Return after how many frames the pictures are correct; None if decoding can't begin at `packet`."""
        return recovery_frames(self.codec, memoryview(packet), self._length_size)

    def differ(self, keyframe: Packet[VideoStream]) -> bool:
        """Whether a keyframe brings an SPS, and another one."""
        return sequence_parameters(self.codec, memoryview(keyframe)) not in (None, self._sps)

    def adopt(self, keyframe: Packet[VideoStream]) -> None:
        """Take the template from a keyframe that differs, or from any if libav has read no size.

        It may have read only another stream of the camera.
        """
        is_new = self.differ(keyframe)
        if not is_new and self.template.width:
            return
        described = b"" if is_new else self.template.codec_context.extradata or b""
        # The probe owns the template's memory.
        self._probe = Probe(self.codec, described + bytes(keyframe))
        self.template = self._probe.stream
        self._sps = sequence_parameters(self.codec, memoryview(keyframe)) or self._sps


class Probe:
    """The stream that the parameter sets in a keyframe describe."""

    def __init__(self, codec: str, keyframe: bytes) -> None:
        # Without a decoder: no decoding budget holds here.
        self._container = av.open(io.BytesIO(keyframe), "r", format=codec, options={"codec_whitelist": "none"})
        self.stream: VideoStream = self._container.streams.video[0]


def sequence_parameters(codec: str, data: bytes | memoryview) -> bytes | None:
    """Return the first SPS in `data` of `codec` ("h264" or "hevc"), without its start code; None if there is none.

    data: in the byte stream format (Annex B). Data with lengths instead of start codes, as in MP4, has no SPS in band.
    """
    head = bytes(data[:_HEAD])
    found = list(_START.finditer(head))
    ends = [*(m.start() for m in found[1:]), len(head)]
    for start, end in zip(found, ends, strict=False):
        unit = head[start.end() : end].rstrip(b"\x00")
        if unit and _is_sps(codec, unit[0]):
            return unit
    return None


def _is_sps(codec: str, first: int) -> bool:
    # H.264 7.3.1: nal_unit_type is the low five bits; H.265 7.3.1.2: six bits after the first.
    return first & 0x1F == 7 if codec == "h264" else first >> 1 & 0x3F == 33
