"""The process that is connected to Ray: it is asked for work over a pipe, and answers with each part that is done.

For a GPU, CPUs decode and write: three stages of one stream. Where CPUs detect, one process does all of a piece, and no
picture leaves it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from shared.runtime.errors import SettingError, TidegateError
from tidegate.archive.embedding import Shown
from tidegate.archive.following import Course, Followed, follow
from tidegate.archive.job import Job, Piece
from tidegate.archive.looking import Eyes, Looked, Seen, keep
from tidegate.archive.place import Place, reached, recordings
from tidegate.archive.probe import Probed, probed
from tidegate.archive.reading import Opened, Part, Size, opened

with contextlib.suppress(ModuleNotFoundError):
    import ray
    import ray.data
    import ray.exceptions

# Processes that decode for a GPU, at most; and of a CPU, what writing takes.
_DECODERS, _WRITING = 8, 0.05
# Seconds between questions for machines, and without a result after which a stream that lost one is given up.
_ASK_S, _STALLED_S = 2.0, 30.0
_Batch = dict[str, Any]
# What a piece becomes.
_KINDS = ("segments", "detections", "embeddings")
_PARENT = os.getppid()


class Room(NamedTuple):
    """What all machines of a cluster have together now."""

    cpus: float
    gpus: float


def serve(pipe: Connection, address: str | None) -> None:
    """Connect, say what room there is, and answer until the pipe is closed. Raises TidegateError."""
    # What is to be said of a run, we say: Ray prints pages of what goes on inside it, and keeps them in a log.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    _connect(address)
    found = ray.cluster_resources()
    pipe.send(Room(found.get("CPU", 0.0), found.get("GPU", 0.0)))
    try:
        while True:
            what, arguments = pipe.recv()
            with _told():
                for one in _WORK[what](*arguments):
                    pipe.send(one)
            pipe.send(None)
    finally:
        ray.shutdown()


def _connect(address: str | None) -> None:
    own = {"include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as e:
        raise SettingError(f"there is no Ray at {address}: {e}") from e
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.issue_detectors_config.detectors = []
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raises TidegateError for what Ray raises: what we said on another machine, where it was us."""
    try:
        yield
    except ray.exceptions.RayError as e:
        raise TidegateError(str(_ours(e) or f"Ray gave up: {_causes(e)[-1]!r}")) from e


def _causes(error: BaseException) -> list[BaseException]:
    """An error, and what it follows from, the first cause last."""
    found = [error]
    while (cause := getattr(found[-1], "cause", None) or found[-1].__cause__) and cause not in found:
        found.append(cause)
    return found


def _ours(error: BaseException) -> TidegateError | None:
    """What we said on another machine."""
    return next((one for one in _causes(error) if isinstance(one, TidegateError)), None)


def _machines() -> int:
    return sum(bool(node["Alive"]) for node in ray.nodes())


def _needs(job: Job, threads: int) -> dict[str, float]:
    """What a process that looks has of a machine."""
    return {"num_gpus": 1} if job.device.startswith("cuda") else {"num_cpus": threads}


def _there(job: Job) -> Job:
    """As workers need it: each sees one GPU, and follows nobody."""
    embed = job.embed and replace(job.embed, device=_gpu_of_its_own(job.embed.device))
    return replace(job, device=_gpu_of_its_own(job.device), embed=embed, rules={})


def _gpu_of_its_own(device: str) -> str:
    return "cuda" if device.startswith("cuda") else device


# ---- what is asked


def _probe(job: Job, pieces: Sequence[Piece], threads: int) -> Iterator[Probed]:
    yield ray.get(ray.remote(**_needs(job, threads))(probed).remote(_there(job), pieces, threads))


def _look(job: Job, todo: Sequence[Piece], size: Size, room: Room, workers: int, threads: int) -> Iterator[Looked]:
    """Each piece, as it is done. This process ends where a machine has gone and nothing has come since."""
    orders = msgspec.json.encode(_Orders(job=_there(job), size=size, threads=threads))
    items = [{"orders": orders, "piece": msgspec.json.encode(piece)} for piece in todo]
    stream = ray.data.from_items(items, override_num_blocks=len(items))
    needs = _needs(job, threads)
    if "num_gpus" in needs:
        decoders = max(int(room.cpus), _DECODERS * workers)
        stream = (
            stream.map_batches(_Opener, batch_size=1, num_cpus=1, concurrency=(1, decoders))
            .map_batches(_Seer, batch_size=1, concurrency=(1, workers), **needs)
            .map_batches(_Writer, batch_size=1, num_cpus=_WRITING, concurrency=(1, 2))
        )
    else:
        stream = stream.map_batches(_Whole, batch_size=1, concurrency=(1, workers), **needs)
    found: queue.SimpleQueue[Looked | Exception | None] = queue.SimpleQueue()
    threading.Thread(target=_consume, args=(stream, found), daemon=True).start()
    most, at = _machines(), time.monotonic()
    while True:
        try:
            one = found.get(timeout=_ASK_S)
        except queue.Empty:
            now = _machines()
            most = max(most, now)
            if os.getppid() != _PARENT or (now < most and time.monotonic() - at > _STALLED_S):
                os._exit(1)
            continue
        if one is None:
            return
        if isinstance(one, Exception):
            if _machines() < most and not _ours(one):
                os._exit(1)
            raise one
        most, at = _machines(), time.monotonic()
        yield one


def _consume(stream: Any, found: queue.SimpleQueue[Looked | Exception | None]) -> None:
    try:
        for batch in stream.iter_batches(batch_size=1, prefetch_batches=0):
            found.put(msgspec.json.decode(batch["looked"][0], type=Looked))
        found.put(None)
    except Exception as e:
        found.put(e)


def _follow(job: Job, todo: Sequence[Course]) -> Iterator[Followed]:
    work = ray.remote(num_cpus=1)(_followed)
    left = [work.remote(job, course) for course in todo]
    while left:
        done, left = ray.wait(left)
        yield from ray.get(done)


_WORK: dict[str, Callable[..., Iterator[Any]]] = {"probe": _probe, "looked": _look, "followed": _follow}


# ---- on the machines of the cluster


class _Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What workers are told, with each piece: what Ray keeps for their beginning may be lost with a machine."""

    job: Job
    size: Size
    threads: int


@lru_cache(1)
def _said(orders: bytes) -> _Orders:
    return msgspec.json.decode(orders, type=_Orders)


@lru_cache(1)
def _eyes(orders: bytes) -> Eyes:
    return Eyes(_said(orders).job, threads=_said(orders).threads)


@lru_cache(1)
def _recordings(orders: bytes) -> Place:
    return recordings(_said(orders).job)


@lru_cache(1)
def _results(where: str) -> Place:
    return reached(Place(where, "--output"))


class _Whole:
    """Reads, decodes, detects and writes."""

    def __call__(self, batch: _Batch) -> _Batch:
        data, piece = batch["orders"][0], msgspec.json.decode(batch["piece"][0], type=Piece)
        orders = _said(data)
        seen = _eyes(data).see(opened(_recordings(data), piece, orders.job, orders.size))
        keep(_results(orders.job.output), seen)
        return {"looked": [msgspec.json.encode(seen.looked)]}


class _Opener:
    """Reads and decodes. One row in, one out: the images as one array."""

    def __call__(self, batch: _Batch) -> _Batch:
        said, piece = _said(batch["orders"][0]), msgspec.json.decode(batch["piece"][0], type=Piece)
        found = opened(_recordings(batch["orders"][0]), piece, said.job, said.size)
        pixels = np.empty(1, object)
        # Tiles of pictures of any size have other sizes than the whole.
        images = [*found.images, *found.views]
        pixels[0] = np.concatenate([image.reshape(-1) for image in images] or [np.zeros(0, np.uint8)])
        shapes = [msgspec.json.encode([image.shape for image in images])]
        parts, shown = [msgspec.json.encode(found.parts)], [msgspec.json.encode(found.shown)]
        more = {"parts": parts, "shown": shown, "decode_s": [found.decode_s], "shapes": shapes, "pixels": pixels}
        return {"orders": batch["orders"], "piece": batch["piece"], **more}


class _Seer:
    """Looks."""

    def __call__(self, batch: _Batch) -> _Batch:
        piece = msgspec.json.decode(batch["piece"][0], type=Piece)
        parts = msgspec.json.decode(batch["parts"][0], type=list[Part])
        shapes = msgspec.json.decode(batch["shapes"][0], type=list[tuple[int, int, int]])
        shown = msgspec.json.decode(batch["shown"][0], type=list[Shown])
        images = _cut(batch["pixels"][0], shapes)
        own = len(images) - sum(len(one.times) for one in shown)
        opened = Opened(piece, parts, images[:own], shown, images[own:], float(batch["decode_s"][0]))
        seen = _eyes(batch["orders"][0]).see(opened)
        looked = [msgspec.json.encode(seen.looked)]
        found = {kind: [getattr(seen, kind)] for kind in _KINDS}
        return {"orders": batch["orders"], "looked": looked, **found}


def _cut(pixels: Any, shapes: Sequence[tuple[int, int, int]]) -> list[Any]:
    """Images of these shapes, one after the other, of one row of bytes."""
    ends = [*accumulate(map(math.prod, shapes), initial=0)]
    return [pixels[begin:end].reshape(shape) for begin, end, shape in zip(ends[:-1], ends[1:], shapes, strict=True)]


class _Writer:
    def __call__(self, batch: _Batch) -> _Batch:
        looked = msgspec.json.decode(batch["looked"][0], type=Looked)
        results = _results(_said(batch["orders"][0]).job.output)
        keep(results, Seen(looked, **{kind: batch[kind][0] for kind in _KINDS}))
        return {"looked": batch["looked"]}


def _followed(job: Job, course: Course) -> Followed:
    with Place(job.output, "--output") as results:
        return follow(reached(results), job, course)
