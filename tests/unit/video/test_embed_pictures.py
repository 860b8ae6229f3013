"""Pictures from outside, written by an independent encoder; and bytes that are none."""

from __future__ import annotations

import gc
import io

import numpy as np
import psutil
import pytest
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from shared.video import pictures
from shared.video.pictures import BadPicture, read, resize
from tests.support.examples import examples


def picture() -> Pillow.Image:
    """60x40: red above left, blue below right, black elsewhere."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30], pixels[20:, 30:] = (255, 0, 0), (0, 0, 255)
    return Pillow.fromarray(pixels)


def encoded(image: Pillow.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


MODES = ["RGB", "RGBA", "P", "L", "1"]
WRITTEN = [(kind, mode) for kind in ("PNG", "WEBP", "BMP") for mode in MODES]


@pytest.mark.parametrize(("kind", "mode"), [*WRITTEN, ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK")])
def test_formats_of_browsers_and_telephones_are_read(kind: str, mode: str) -> None:
    image = picture().convert(mode)
    found = read(encoded(image, kind))
    assert found.shape == (40, 60, 3) and found.dtype == np.uint8 and found.flags.c_contiguous
    expected = np.asarray(image.convert("RGB"), np.int16)
    # The middles of the quarters: edges are what compression blurs.
    assert np.abs(found[10::20, 15::30] - expected[10::20, 15::30]).max() <= 12


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photograph_is_rotated_by_its_orientation(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), "JPEG", exif=exif, subsampling=0, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))), np.int16)
    found = read(data)
    assert found.shape == upright.shape and found.flags.c_contiguous
    assert np.abs(found - upright).max() <= 12


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"not a picture", b"#EXTM3U\nhttp://127.0.0.1/x.png", encoded(picture(), "GIF"), b"BM"],
    ids=["empty", "a mark alone", "text", "a playlist", "gif", "bmp's mark"],
)
def test_a_file_that_is_no_picture_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(BadPicture, match=r"no picture|can't be decoded"):
        read(data)


def test_a_picture_of_too_many_pixels_is_refused() -> None:
    data = encoded(Pillow.new("L", (9000, 9000)), "PNG")
    assert len(data) < 100_000
    with pytest.raises(BadPicture, match="over 64 megapixels"):
        read(data)


@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=20),
    remaining=st.floats(0, 1),
)
@settings(max_examples=examples(200))
def test_damaged_data_is_a_bad_picture_or_a_picture(
    kind: str, changes: list[tuple[float, int]], remaining: float
) -> None:
    data = bytearray(encoded(picture(), kind))
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        found = read(bytes(data[: int(remaining * len(data))]))
    except BadPicture as e:
        assert str(e)
    else:
        assert found.ndim == 3 and found.size <= 3 * pictures.MAX_PIXELS


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 500, 3), (37, 5, 3)])
def test_any_picture_can_be_stretched(shape: tuple[int, int, int]) -> None:
    found = resize(np.full(shape, 77, np.uint8), (20, 10))
    assert found.shape == (10, 20, 3) and found.flags.c_contiguous
    assert (found == 77).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_leaks_no_memory(kind: str) -> None:
    """A process that encodes queries came to 80 threads and 30 MB more in an hour, at a hundred queries."""
    file = io.BytesIO()
    Pillow.new("RGB", (640, 480), "red").save(file, kind)
    read(file.getvalue())
    gc.disable()
    try:
        before = _threads(), _frames()
        for _ in range(5):
            read(file.getvalue())
        threads, frames = before
        assert _threads() <= threads and _frames() <= frames
    finally:
        gc.enable()


def _threads() -> int:
    """Those of libraries too."""
    return psutil.Process().num_threads()


def _frames() -> int:
    return sum(isinstance(o, VideoFrame) for o in gc.get_objects())
