"""Decodes segments on a device, and in software what the device can't decode.

Example:
    decoded, fallback = decode(payload, device, fps=5, size=(300, 300))
    fallback                                                    # None, or why software decoded this segment

Only wanted frames are copied from the device.

No segment is lost to a device. A decoder that had any problem is dropped, and software decodes the segment again. After
some failures in a row the device is suspended for a while. A lost GPU ends the process by its model, if that has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import av
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from shared.runtime.errors import BadSegment, OverBudget
from shared.video.accelerator import Device
from shared.video.decode import Decoded, FrameProbe
from shared.video.decode import decode as decode_in_software


class Fallback(NamedTuple):
    """Why software decoded a segment. cause: of CAUSES. reason: for a person."""

    cause: str
    reason: str


# The device can't decode this video; it failed; the segment is damaged; the device is suspended after failures.
CAUSES = ("unsupported", "failed", "damaged", "suspended")


def decode(
    payload: bytes,
    device: Device | None,
    *,
    before: Sequence[bytes] = (),
    probe: FrameProbe | None = None,
    **wanted: Any,
) -> tuple[Decoded, Fallback | None]:
    """Return the pictures of a segment, and why software decoded it instead of `device`, if it did.

    wanted: arguments of `shared.video.decode.decode`. The budget holds for each of at most two tries. Raises BadSegment
    and OverBudget, as that does in software.
    """
    if device is None:
        return decode_in_software(payload, before=before, probe=probe, **wanted), None
    breaker = device.breaker
    probe = probe and _once(probe)
    if breaker.is_open and breaker.wait_s > 0:
        found = decode_in_software(payload, before=before, probe=probe, **wanted)
        return found, Fallback("suspended", breaker.reason)
    first, taken = before[0] if before else payload, []

    def take() -> VideoCodecContext:
        taken.append(device.take(first))
        return taken[0]

    try:
        found = decode_in_software(payload, before=before, probe=probe, decoder=take, **wanted)
        problem = found.damaged
    except OverBudget:
        raise
    except (BadSegment, av.FFmpegError) as e:
        problem = str(e)
    if problem is None and not device.decodes(taken[0]):
        return found, Fallback("unsupported", f"{device.name} does not decode {_description(taken[0])}")
    if problem is None:
        device.put_back(first, taken[0])
        breaker.succeeded()
        return found, None
    found = decode_in_software(payload, before=before, probe=probe, **wanted)
    if found.damaged:
        return found, Fallback("damaged", found.damaged)
    breaker.failed(problem)
    return found, Fallback("failed", problem)


def _once(probe: FrameProbe) -> FrameProbe:
    """Return a probe that sees each frame once, although a segment may be decoded twice."""
    last = -1.0

    def enough(offset: float, grey: NDArray[Any]) -> bool:
        nonlocal last
        if offset <= last:
            return False
        last = offset
        return probe.enough(offset, grey)

    return FrameProbe(probe.size, enough)


def _description(decoder: VideoCodecContext) -> str:
    return f"{decoder.name} {decoder.profile or ''} in {decoder.pix_fmt}, {decoder.width}x{decoder.height}"
