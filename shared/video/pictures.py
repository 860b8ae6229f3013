"""Reads pictures from memory, scales them, and writes them as JPEG.

    picture = read(data)                  # RGB, uint8, (height, width, 3)
    small = resize(picture, (224, 224))
    data = jpeg(small)

The data is untrusted. Its first bytes choose one of a few decoders, which gets all of it. No container is opened, as it
could name another file or an address.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from threading import Lock
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from shared.contract.events import Box
from shared.contract.geometry import Point
from shared.runtime.errors import TidegateError
from shared.video import orientation
from shared.video.covering import covered_runs
from shared.video.decode import Image

# Pictures over this size are refused: a telephone's have 50 megapixels. Decoded, this is 192 MB.
MAX_PIXELS = 64_000_000

_BOX_COLOUR = (255, 200, 0)

# JPEGs are written at this quality, of libavcodec's scale from 2, the best, to 31.
_QUALITY = 4
# For a JPEG with a limit of bytes: the qualities to try before a smaller size, and the least side.
_LOWER_QUALITIES = (7, 12)
_SMALLEST = 16

# A kind of picture is known by bytes at an offset: (offset, bytes, decoder). A WebP is a RIFF file with its kind at 8.
_KINDS = ((0, b"\xff\xd8\xff", "mjpeg"), (0, b"\x89PNG\r\n\x1a\n", "png"), (8, b"WEBP", "webp"), (0, b"BM", "bmp"))


# Pictures are read one at a time.
_TURN = Lock()
_READS = itertools.count(1)


class BadPicture(TidegateError, ValueError):
    """The bytes are no readable picture."""


def is_picture(data: bytes) -> bool:
    """Return whether the bytes begin as those of a picture that can be read."""
    return any(data.startswith(mark, at) for at, mark, _ in _KINDS)


def read(data: bytes) -> Image:
    """Return the pixels of a JPEG, PNG, WebP or BMP: RGB, uint8, (height, width, 3), rotated by its Exif.

    Raises BadPicture.
    """
    with _TURN:
        try:
            return _read(data)
        finally:
            # A frame and its side data reference each other (PyAV 18.1). A process that does little else collects them
            # so seldom that they would grow to gigabytes. They are still in the young generation, unless another
            # collection ran during their use.
            gc.collect(2 if next(_READS) % 100 == 0 else 1)


def _read(data: bytes) -> Image:
    codec = next((codec for at, mark, codec in _KINDS if data.startswith(mark, at)), None)
    if codec is None:
        raise BadPicture("these bytes are no picture: a JPEG, PNG, WebP or BMP is expected")
    decoder: Any = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        if not frames:
            raise BadPicture("the picture can't be decoded: it is cut off")
        # A copy: the pixels of a PNG may be the frame's own memory, and would keep it alive.
        pixels = VideoReformatter().reformat(frames[0], format="rgb24", threads=1).to_ndarray().copy()
    except (av.FFmpegError, ValueError) as e:
        if isinstance(e, BadPicture):
            raise
        reason = e.strerror if isinstance(e, av.FFmpegError) else e
        raise BadPicture(
            f"the picture can't be decoded ({reason}): it is damaged, or has over {MAX_PIXELS // 10**6} megapixels"
        ) from e
    return (orientation.of(frames[0]) or orientation.AS_STORED).upright(pixels)


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Return `image` stretched to (width, height)."""
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
    scaled = VideoReformatter().reformat(frame, *size, "rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(scaled, np.uint8)


def outlined(pixels: Image, box: Box) -> Image:
    """Return a copy of the picture with the outline of `box`, as thick as 1/200 of the height."""
    height, width = pixels.shape[:2]
    line = max(2, height // 200)
    left, right = (round(x * (width - 1)) for x in (box[0], box[2]))
    top, bottom = (round(y * (height - 1)) for y in (box[1], box[3]))
    out = pixels.copy()
    inside = out[top + line : max(top, bottom + 1 - line), left + line : max(left, right + 1 - line)].copy()
    out[top : bottom + 1, left : right + 1] = _BOX_COLOUR
    out[top + line : top + line + inside.shape[0], left + line : left + line + inside.shape[1]] = inside
    return out


def masked(pixels: Image, masks: Iterable[Sequence[Point]]) -> Image:
    """Return a copy of the picture with black masks: polygons, in shares of its width and height."""
    out = pixels.copy()
    for row, runs in zip(out, covered_runs(masks, pixels.shape[1], pixels.shape[0]), strict=True):
        for begin, end in runs:
            row[begin:end] = 0
    return out


def jpeg_within(image: Image, most_bytes: int) -> bytes:
    """Return `image` as a JPEG of at most `most_bytes`, if that is not 0: at a lower quality, then smaller."""
    data = jpeg(image)
    for quality in _LOWER_QUALITIES:
        if not most_bytes or len(data) <= most_bytes:
            return data
        data = jpeg(image, quality)
    while len(data) > most_bytes and min(image.shape[:2]) > _SMALLEST:
        height, width = (max(2, side * 3 // 8 * 2) for side in image.shape[:2])
        image = resize(image, (width, height))
        data = jpeg(image, _LOWER_QUALITIES[-1])
    if len(data) > most_bytes:
        raise ValueError(f"no JPEG of it has at most {most_bytes} bytes")
    return data


def jpeg(image: Image, quality: int = _QUALITY) -> bytes:
    """Return `image` as the bytes of a JPEG. quality: of libavcodec's scale."""
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.thread_count = 1
    encoder.qmin = encoder.qmax = quality
    picture = VideoReformatter().reformat(frame, format="yuvj420p", threads=1)
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
