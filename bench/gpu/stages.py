"""The rate of each stage of a worker: decoding by threads, copying to the GPU, and the model by batch size.

Each is measured through the function that the worker calls, on pictures of the footage, after a warm-up round. CPU time
is of the process.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from services.cv.detectors import load as load_detector
from services.cv.service import SCORE_FLOOR
from services.embed.models import load as load_embedder
from services.ingest.cutting.piece import Piece
from shared.runtime.errors import SettingError
from shared.video import accelerator
from shared.video import hardware as video_hardware
from shared.video.decode import Image, decode

BATCHES = (1, 4, 8, 16, 32, 64, 128)
Images = Sequence[Image]


class Decoding(msgspec.Struct, frozen=True, kw_only=True):
    """The rate of decoding. segments_s: of all threads together. cpu_s: of a core, per segment."""

    threads: int
    segments_s: float
    cpu_s: float


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """The rate of the GPU's own decoder; or why it was not measured.

    new_s: seconds of the first segment, with a new decoder; later ones reuse it.
    """

    decoding: list[Decoding] = []
    new_s: float = 0.0
    not_measured: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The rate at one batch size.

    images_s: of the model and its backend, including copies. first_s: of the first call of this size, which selects
    kernels. copy_s: of a batch to the GPU; None on a CPU.
    """

    size: int
    images_s: float
    first_s: float
    copy_s: float | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A measured model.

    name: as in events. side: (width, height) of its pictures, None for any. objects: mean number per picture; None for
    a model that is not a detector. tuned: relative images/s at the largest size with cuDNN's search for kernels; None
    on a CPU.
    """

    name: str
    spec: str
    side: tuple[int, int] | None
    load_s: float
    batches: list[Batch]
    objects: float | None = None
    tuned: float | None = None


def decoding(pieces: Sequence[Piece], seconds: float, threads: Sequence[int], **wanted: Any) -> list[Decoding]:
    """Measure decoding with each number of threads. wanted: options of `shared.video.decode.decode`."""

    def one(piece: Piece) -> None:
        decode(piece.payload, frames=piece.segment.frames, **wanted)

    return [_threaded(one, pieces, seconds, count) for count in threads]


def hardware(pieces: Sequence[Piece], seconds: float, threads: Sequence[int], device: str, **wanted: Any) -> Hardware:
    """Measure decoding by NVDEC, as services do it with DECODE_DEVICE. wanted: as of `decoding`."""
    if device == "cpu":
        return Hardware(not_measured="NVDEC is a part of a GPU")
    try:
        decoder = accelerator.open_device(device)
    except SettingError as e:
        return Hardware(not_measured=str(e))

    def one(piece: Piece) -> None:
        _, fallback = video_hardware.decode(piece.payload, decoder, frames=piece.segment.frames, **wanted)
        if fallback:
            raise RuntimeError(fallback.reason)

    try:
        began = time.perf_counter()
        one(pieces[0])
        new_s = time.perf_counter() - began
        return Hardware(decoding=[_threaded(one, pieces, seconds, count) for count in threads], new_s=new_s)
    except RuntimeError as e:
        return Hardware(not_measured=f"a segment fell back to the CPU ({e})")


def _threaded(one: Callable[[Piece], None], pieces: Sequence[Piece], seconds: float, threads: int) -> Decoding:
    for piece in pieces[:2]:
        one(piece)
    turns = itertools.cycle(pieces)
    until = time.perf_counter() + seconds

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() < until:
            one(next(turns))
            done += 1
        return done

    cpu, began = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(work, range(threads)))
    spent = time.perf_counter() - began
    return Decoding(threads=threads, segments_s=done / spent, cpu_s=(time.process_time() - cpu) / done)


def detector(spec: str, pieces: Sequence[Piece], device: str, sizes: Sequence[int], seconds: float) -> Model:
    """Measure a detector of services.cv. Raises ModelError if it can't be loaded."""
    began = time.perf_counter()
    model = load_detector(spec, device=device, threads=1, min_score=SCORE_FLOOR, batch_size=1)
    loaded = time.perf_counter() - began
    images = pictures(pieces, model.size, fps=5)
    found = [len(objects) for image in images for objects in model.detect([image])]
    batches = _batches(model.detect, images, sizes, device, seconds)
    return Model(
        name=model.name,
        spec=spec,
        side=model.size,
        load_s=loaded,
        batches=batches,
        objects=sum(found) / len(found),
        tuned=_tuned(model.detect, images, batches[-1].size, device, seconds),
    )


def embedder(
    spec: str, pretrained: str, pieces: Sequence[Piece], device: str, sizes: Sequence[int], seconds: float
) -> Model:
    """Measure a model of services.embed. Raises ModelError if it can't be loaded."""
    began = time.perf_counter()
    model = load_embedder(spec, pretrained=pretrained, device=device, threads=1, batch_size=1)
    loaded = time.perf_counter() - began
    images = pictures(pieces, model.size, at=[0.0])
    batches = _batches(model.embed, images, sizes, device, seconds)
    return Model(
        name=model.name,
        spec=spec,
        side=model.size,
        load_s=loaded,
        batches=batches,
        tuned=_tuned(model.embed, images, batches[-1].size, device, seconds),
    )


def pictures(pieces: Sequence[Piece], size: tuple[int, int] | None, **wanted: Any) -> list[Image]:
    """Return the pictures of the segments that a service analyses."""
    return [p.pixels for piece in pieces for p in decode(piece.payload, size=size, **wanted).pictures]


def _batches(
    run: Callable[[Images], object], images: Images, sizes: Sequence[int], device: str, seconds: float
) -> list[Batch]:
    """Measure each size, up to the first that exceeds the GPU's memory."""
    found: list[Batch] = []
    for size in sorted(sizes):
        try:
            found.append(_batch(run, images, size, device, seconds))
        except RuntimeError as e:
            if type(e).__name__ != "OutOfMemoryError" or not found:
                raise
            break
    return found


def _batch(run: Callable[[Images], object], images: Images, size: int, device: str, seconds: float) -> Batch:
    batch = list(itertools.islice(itertools.cycle(images), size))
    began = time.perf_counter()
    run(batch)
    first = time.perf_counter() - began
    return Batch(size=size, images_s=_rate(run, batch, seconds), first_s=first, copy_s=_copy_s(batch, device, seconds))


def _rate(run: Callable[[Images], object], batch: Images, seconds: float) -> float:
    """Return images per second. A backend returns results on the CPU, so each call includes the GPU's time."""
    run(batch)
    done, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or not done:
        run(batch)
        done += len(batch)
    return done / spent if spent else 0.0


def _copy_s(batch: Images, device: str, seconds: float) -> float | None:
    """Return the seconds to copy a batch of the decoder's pictures into the GPU's memory."""
    if device == "cpu":
        return None
    import torch

    from shared.models.torch import upload_batch

    def copy(images: Images) -> None:
        upload_batch(images, torch.device(device))
        torch.cuda.synchronize(device)

    return len(batch) / _rate(copy, batch, min(seconds, 1.0))


def _tuned(run: Callable[[Images], object], images: Images, size: int, device: str, seconds: float) -> float | None:
    """Return the speed-up of cuDNN's search, which services disable because it takes seconds per batch size."""
    if device == "cpu":
        return None
    import torch

    batch = list(itertools.islice(itertools.cycle(images), size))
    plain = _rate(run, batch, seconds)
    torch.backends.cudnn.benchmark = True
    try:
        return _rate(run, batch, seconds) / plain
    finally:
        torch.backends.cudnn.benchmark = False
