"""The budget for the decoding of one segment, with all that it depends on.

A few bytes can cost hours. A frame that repeats the previous one takes some ten bytes at any size, and one packet may
hold thousands of slices that each cover the whole picture. So work is counted in advance: the pixels of a frame, times
the frames left to decode. Work that can't be counted in advance is timed, packet by packet.

    meter = Meter(Budget(), decoder, packets=60)
    for packet in packets:
        meter.before(packet)                  # OverBudget
        frames = decoder.decode(packet)
        meter.after()                         # OverBudget
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from shared.elastic.costs import DecodeWork
from shared.runtime.errors import OverBudget
from shared.runtime.settings import BusSettings
from shared.video.recovery import length_size

# Processes that never decode read budgets, too: libav takes 14 MB.
if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

    from shared.video.accelerator import Device

# Frames over the size of 8K UHD are refused: no camera's are larger, and a few bytes could cost gigabytes.
MAX_PIXELS = 7680 * 4320
# A decoder holds up to 17 frames. A frame of 8K UHD in 4:2:0 and 10 bits has this many bytes, so the decoder takes at
# most 1.7 GB.
MAX_FRAME_BYTES = 3 * MAX_PIXELS
# CPU time per gigapixel. Ordinary 1080p H.264 takes 1.5 s here, frames that repeat the last take 0.5.
_SECONDS_PER_GIGAPIXEL = 3.0
# The minimum of any budget: small pictures take more time per pixel.
_LEAST_CPU_S = 5.0
# Slices per frame that are always allowed.
_FEW_SLICES = 64
_CHECK_S = 0.5
_MEGA = 10**6
_GIGA = 10**9
_START_CODE = re.compile(rb"\x00\x00\x01")
_SETTING = "DECODE_MAX_GIGAPIXELS"
_REMEDY = f"set a shorter keyframe interval or a smaller picture in the camera, or raise {_SETTING}"


class DecodeSettings(BusSettings, frozen=True, kw_only=True):
    """The settings of every service that decodes video."""

    decode_max_gigapixels: Annotated[
        float,
        Meta(
            gt=0,
            le=10_000,
            description="most work that one segment may take: pixels x frames, from the keyframe on, in 10^9; and 3 "
            "seconds of CPU for each",
        ),
    ] = 10.0
    decode_device: Annotated[
        str,
        Meta(
            pattern=r"^(cpu|cuda(:\d+)?|vaapi(:/\S+)?)$",
            description="decodes video: cpu, cuda or cuda:<n> (NVDEC), vaapi or vaapi:<path>, such as "
            "vaapi:/dev/dri/renderD128; video that a device can't decode is decoded on the CPU",
        ),
    ] = "cpu"

    def budget(self) -> Budget:
        return Budget(self.decode_max_gigapixels)

    def decoding_device(self) -> Device | None:
        """Return the device of this process that decodes; None for the CPU. Raises SettingError."""
        from shared.video import accelerator

        return accelerator.device_of(self.decode_device)

    def check(self) -> None:
        """Check that the device that decodes is here. Raises SettingError."""
        if self.decode_device != "cpu":
            from shared.video import accelerator

            accelerator.open_device(self.decode_device)


class Budget(msgspec.Struct, frozen=True):
    """gigapixels: pixels x frames / 10^9.

    The default holds 20 s of 4K at 60 fps, 1200 frames of 4K, or two and a half minutes of 1080p at 30 fps.
    """

    gigapixels: float = 10.0

    @property
    def pixels(self) -> float:
        return self.gigapixels * _GIGA

    @property
    def cpu_s(self) -> float:
        return max(_LEAST_CPU_S, self.gigapixels * _SECONDS_PER_GIGAPIXEL)

    def check(self, pixels: float, what: str) -> None:
        """Raise OverBudget if `pixels` is over the budget. what: the item that takes them, for a person."""
        if pixels > self.pixels:
            raise OverBudget(
                f"{what} {pixels / _GIGA:.1f} gigapixels to decode, over the budget of {self.gigapixels:g}: {_REMEDY}"
            )


class Meter:
    """Measures one decoder's work. Raises OverBudget once it is, or will be, over the budget.

    packets: how many will be decoded.
    """

    def __init__(self, budget: Budget, decoder: VideoCodecContext, packets: int) -> None:
        self._budget = budget
        self._decoder = decoder
        self._length_size = length_size(decoder)
        self._slices = max(_FEW_SLICES, int(budget.pixels / MAX_PIXELS))
        self._most = budget.pixels
        self._left = packets
        self._spent = 0
        self._first = (0, 0.0)  # pixels and seconds of the first packet
        self._began = time.thread_time()
        # A thread that waits for a device takes time, too, but none of a core.
        self._clock = time.perf_counter if decoder.is_hwaccel else time.thread_time
        self._work_began = self._clock()
        self._check_at = time.monotonic() + min(_CHECK_S, budget.cpu_s)
        self._shape: tuple[int, int, str | None] = (0, 0, None)
        self._pixels = 0

    def before(self, packet: Any) -> None:
        """Refuse a packet whose slices would exceed the whole budget if each covered a picture of MAX_PIXELS.

        Nothing stops libav inside a packet, whose parameter sets may have any size. A real picture has few slices, and
        together they cover it once.
        """
        # A unit takes at least four bytes, so small packets need no counting.
        if packet.size > 4 * self._slices and units(memoryview(packet), self._length_size) > self._slices:
            raise OverBudget(
                f"one of its frames is in over {self._slices} slices, each of which may take as long as a frame: have "
                f"the camera make larger ones, or raise {_SETTING}"
            )

    def after(self) -> None:
        """Count the decoded packet, at the decoder's current size."""
        decoder = self._decoder
        shape = (decoder.coded_width, decoder.coded_height, decoder.pix_fmt)
        if shape != self._shape:
            self._shape = shape
            self._pixels = shape[0] * shape[1]
            self._check_memory()
        self._left -= 1
        if not self._spent:
            self._first = (self._pixels, self._clock() - self._work_began)
        self._spent += self._pixels
        if (all := self._spent + self._left * self._pixels) > self._most:
            self._budget.check(all, "from its GOP's keyframe on, it takes")
        # The CPU time of a thread costs a system call, and is less than the elapsed time.
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + _CHECK_S
        if time.thread_time() - self._began > self._budget.cpu_s:
            raise OverBudget(
                f"it took over {self._budget.cpu_s:.0f} s of CPU to decode, the budget of {_SETTING}: {_REMEDY}"
            )

    def work(self) -> DecodeWork:
        """The decoding work so far, with its processing in the same thread: CPU time, or elapsed time on a device."""
        pixels, seconds = self._first
        rest_s = self._clock() - self._work_began - seconds
        return DecodeWork(pixels / _MEGA, (self._spent - pixels) / _MEGA, seconds, rest_s)

    def _check_memory(self) -> None:
        # A format of a device has no components.
        layout = (self._decoder.is_hwaccel and self._decoder.sw_format) or self._decoder.format
        if layout is None:
            return
        size = sum(c.width * c.height * ((c.bits + 7) // 8) for c in layout.components)
        if size > MAX_FRAME_BYTES:
            raise OverBudget(f"its frames of {size // 10**6} MB are over {MAX_FRAME_BYTES // 10**6} MB: set 4:2:0")


def units(packet: memoryview, size: int) -> int:
    """Return the NAL units of a packet: at least those that a decoder can find. size: of the lengths before them.

    Decoders look for start codes, too, even between lengths.
    """
    count, place = len(_START_CODE.findall(packet)), 0
    while size and place + size < len(packet):
        place += size + int.from_bytes(packet[place : place + size], "big")
        count += 1
    return count
