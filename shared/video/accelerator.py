"""A device that decodes: NVDEC or VA-API, by PyAV, with its idle decoders.

Example:
    device = device_of("cuda:0")         # one a process; None for "cpu"
    decoder = device.take(payload)       # of libavcodec, which decodes packets of this payload's video
    device.put_back(payload, decoder)    # unless it had a problem

A new decoder costs a device more than a second of video, so an idle one is reused for the next segment with the same
MP4 header: the same parameter sets, size and orientation.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import av
import av.logging
import numpy as np
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from shared.runtime.backoff import Backoff, Breaker
from shared.runtime.errors import BadSegment, SettingError
from shared.video.container import CODECS, opened

CPU = "cpu"
# Decoders of libavcodec's own h264 and hevc that a device accelerates. Others, as of QSV, are decoders of their own.
KINDS = ("cuda", "vaapi")
# Idle decoders. Each holds GPU memory: 62 MB of 1080p, if it has 20 surfaces.
MOST_IDLE = 16
# Seconds without tries of a device that failed: it may be out of memory for a moment, or lost.
SUSPENSION = Backoff(first_s=60.0, longest_s=960.0)
_REMEDIES = {
    "cuda": "install NVIDIA's driver; in a container, NVIDIA_DRIVER_CAPABILITIES has compute,utility,video",
    "vaapi": "install the VA-API driver of the GPU, and give the process /dev/dri/renderD128 and its group",
}
# One keyframe of H.264, 160 x 96: its left half is light, its right half dark.
_SAMPLE = bytes.fromhex(
    "00000001674d400bdc28da1000000300100000030320f142b80000000168ee0292c80000000165888404bffef22bf02975cb5b05deabdd8447"
    "ecc001bd451c96cdcfaf9787c68cb779f607383800043c26fce1"
)
_LIGHT, _DARK, _TOLERANCE = 192, 64, 16


class Device:
    """One device of a process, with its idle decoders. Thread-safe.

    name: as in DECODE_DEVICE. accelerator: PyAV's options of a new decoder. format: the pixel format of its frames.
    """

    def __init__(self, name: str, accelerator: Any, format: str, *, breaker: Breaker | None = None) -> None:
        self.name = name
        self.breaker = breaker or Breaker(SUSPENSION)
        self._accelerator = accelerator
        self._format = format
        self._idle: list[tuple[bytes, VideoCodecContext]] = []
        self._lock = threading.Lock()
        # While this lives, a new decoder joins its CUDA context, and VA-API's driver stays loaded.
        self._context = accelerator and accelerator.create(av.Codec(CODECS[0], "r"))

    def take(self, payload: bytes) -> VideoCodecContext:
        """Return a decoder of a payload's video, which may be open. Raises BadSegment if the device gives none."""
        key = header(payload)
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place][0] == key:
                    return self._idle.pop(place)[1]
        try:
            with opened(payload, hwaccel=self._accelerator) as container:
                decoder: VideoCodecContext = container.streams.video[0].codec_context
                return decoder
        except BadSegment as e:
            raise BadSegment(f"{self.name} gives no decoder: {str(e).rpartition(': ')[2]}") from e

    def put_back(self, payload: bytes, decoder: VideoCodecContext) -> None:
        """Offer a decoder, which had no problem, to the next segment like this payload."""
        decoder.flush_buffers()
        with self._lock:
            self._idle.append((header(payload), decoder))
            oldest = self._idle[:-MOST_IDLE]
            del self._idle[:-MOST_IDLE]
        # To close a decoder takes long: not under the lock.
        oldest.clear()

    def decodes(self, decoder: VideoCodecContext) -> bool:
        """Return whether the device decodes for an open decoder, rather than libavcodec in software."""
        return decoder.pix_fmt == self._format


def header(payload: bytes) -> bytes:
    """Return the part of a fragmented MP4 that sets up its decoder: all before its first fragment."""
    place = payload.find(b"moof")
    return payload[: place - 4] if place >= 4 else payload


class Unusable(SettingError):
    """A device can't be used. seen: what this build of PyAV offers, or what libav reported."""

    def __init__(self, name: str, seen: str, remedy: str) -> None:
        super().__init__(f"DECODE_DEVICE={name} can't be used: {seen}: {remedy}, or set DECODE_DEVICE=cpu")
        self.seen = seen
        self.remedy = remedy


def kinds() -> tuple[str, ...]:
    """Return the kinds of devices that this build of PyAV has decoders for, of KINDS."""
    able = [
        {c.device_type.name for c in av.Codec(name, "r").hardware_configs or () if c.is_supported} for name in CODECS
    ]
    return tuple(kind for kind in KINDS if all(kind in each for each in able))


@functools.cache
def device_of(name: str) -> Device | None:
    """Return the device of a value of DECODE_DEVICE, the same for a whole process; None for the CPU.

    Call it before a model is loaded: libav takes no CUDA context that another library has set up differently.
    Raises SettingError, with the reason and a remedy, if it can't be used.
    """
    return None if name == CPU else open_device(name)


def open_device(name: str) -> Device:
    """Return a device after it has decoded a picture. Raises SettingError."""
    kind, _, place = name.partition(":")
    if kind not in (built := kinds()):
        raise Unusable(
            name,
            f"PyAV {av.__version__} was built with {_ffmpeg()}, whose devices are {', '.join(built) or 'none'}",
            "build PyAV on an FFmpeg that has it ('pip install --no-binary av av')",
        )
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            try:
                device = Device(name, HWAccel(kind, place or None, options=_options(kind), is_hw_owned=True), kind)
                _try(HWAccel(kind, place or None, False, options=_options(kind), is_hw_owned=True))
                return device
            except (av.FFmpegError, ValueError, RuntimeError) as e:
                messages = dict.fromkeys(" ".join(text.split()) for _, _, text in lines)
                reason = "; ".join(messages) or getattr(e, "strerror", None) or str(e)
    finally:
        av.logging.set_level(level)
    raise Unusable(name, f"libav reports '{reason}'", _REMEDIES[kind])


def _options(kind: str) -> dict[str, object]:
    # Without it each new decoder would make a CUDA context of its own.
    return {"primary_ctx": "1"} if kind == "cuda" else {}


def _try(accelerator: HWAccel | None) -> None:
    """Decode a known picture. Raises ValueError if it is another one, and av.FFmpegError."""
    decoder: Any = VideoCodecContext.create(CODECS[0], "r", hwaccel=accelerator)
    frames = [*decoder.decode(av.Packet(_SAMPLE)), *decoder.decode(None)]
    if not frames:
        raise ValueError("it decodes no picture")
    picture = VideoReformatter().reformat(frames[0], format="rgb24", threads=1).to_ndarray()
    light, dark = float(np.mean(picture[:, :76])), float(np.mean(picture[:, 84:]))
    if abs(light - _LIGHT) > _TOLERANCE or abs(dark - _DARK) > _TOLERANCE:
        raise ValueError(f"it decodes a test picture to {light:.0f} and {dark:.0f}, not {_LIGHT} and {_DARK}")


def _ffmpeg() -> str:
    return f"FFmpeg {av.ffmpeg_version_info}"
