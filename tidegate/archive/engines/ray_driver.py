"""The process that is connected to Ray. It receives commands over a pipe, and sends each result as it finishes.

With GPUs, a stream has three stages: CPUs decode, GPUs detect, CPUs write. Without GPUs, one process does all of a
piece, and no image leaves it.
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

from shared.models import devices
from shared.runtime.errors import SettingError, TidegateError
from tidegate.archive.frames.analysis import AnalysisResult, AnalysisTotals, Analyzer, write_result
from tidegate.archive.frames.decoding import DecodedPiece, SampledSegment, Size, read_piece
from tidegate.archive.frames.embedding import EmbedInput
from tidegate.archive.frames.probe import ProbeResult, measure
from tidegate.archive.frames.tracking import TrackingTask, TrackingTotals, track_camera
from tidegate.archive.job import Job, Piece
from tidegate.archive.sync_store import SyncStore, check_reachable, open_recordings

with contextlib.suppress(ModuleNotFoundError):
    import ray
    import ray.data
    import ray.exceptions

# Maximum processes that decode for a GPU, and the share of a CPU that writing takes.
_DECODERS, _WRITING = 8, 0.05
# Seconds between polls of the machines, and without a result until a stream that lost a machine is aborted.
_POLL_S, _STALLED_S = 2.0, 30.0
_Batch = dict[str, Any]
# The files of a piece's result.
_KINDS = ("segments", "detections", "embeddings")
_PARENT = os.getppid()


class Capacity(NamedTuple):
    """The total resources of a cluster now."""

    cpus: float
    gpus: float


def serve(pipe: Connection, address: str | None) -> None:
    """Connect, send the capacity, and serve commands until the pipe is closed. Raises TidegateError."""
    # Ray prints pages about its internals, which it logs as well. The parent process reports on the run.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    _connect(address)
    resources = ray.cluster_resources()
    pipe.send(Capacity(resources.get("CPU", 0.0), resources.get("GPU", 0.0)))
    try:
        while True:
            command, arguments = pipe.recv()
            with _translated_errors():
                for result in _COMMANDS[command](*arguments):
                    pipe.send(result)
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
def _translated_errors() -> Iterator[None]:
    """Translate Ray's errors: into our own error from another machine, or else into one with the root cause.

    Raises TidegateError.
    """
    try:
        yield
    except ray.exceptions.RayError as e:
        raise TidegateError(str(_own_error(e) or f"Ray gave up: {_causes(e)[-1]!r}")) from e


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, the root cause last."""
    chain = [error]
    while (cause := getattr(chain[-1], "cause", None) or chain[-1].__cause__) and cause not in chain:
        chain.append(cause)
    return chain


def _own_error(error: BaseException) -> TidegateError | None:
    """Return the error that our own code raised on another machine, if any."""
    return next((one for one in _causes(error) if isinstance(one, TidegateError)), None)


def _machines() -> int:
    return sum(bool(node["Alive"]) for node in ray.nodes())


def _needs(job: Job, threads: int) -> dict[str, float]:
    """Return the resources of an analysis process."""
    return {"num_gpus": 1} if devices.is_visible_gpu(job.device) else {"num_cpus": threads}


def _for_workers(job: Job) -> Job:
    """Return the job for workers: each sees one GPU, and none evaluates rules."""
    embed = job.embed and replace(job.embed, device=devices.first_visible(job.embed.device))
    return replace(job, device=devices.first_visible(job.device), embed=embed, rules={})


# ---- commands


def _probe(job: Job, pieces: Sequence[Piece], threads: int) -> Iterator[ProbeResult]:
    yield ray.get(ray.remote(**_needs(job, threads))(measure).remote(_for_workers(job), pieces, threads))


def _analyze(
    job: Job, todo: Sequence[Piece], size: Size, capacity: Capacity, workers: int, threads: int
) -> Iterator[AnalysisTotals]:
    """Yield the totals of each piece as it finishes. Exit the process if the stream stalls after a machine is lost."""
    config = msgspec.json.encode(_WorkerConfig(job=_for_workers(job), size=size, threads=threads))
    items = [{"config": config, "piece": msgspec.json.encode(piece)} for piece in todo]
    stream = ray.data.from_items(items, override_num_blocks=len(items))
    needs = _needs(job, threads)
    if "num_gpus" in needs:
        decoders = max(int(capacity.cpus), _DECODERS * workers)
        stream = (
            stream.map_batches(_Decode, batch_size=1, num_cpus=1, concurrency=(1, decoders))
            .map_batches(_Detect, batch_size=1, concurrency=(1, workers), **needs)
            .map_batches(_Write, batch_size=1, num_cpus=_WRITING, concurrency=(1, 2))
        )
    else:
        stream = stream.map_batches(_AnalyzePiece, batch_size=1, concurrency=(1, workers), **needs)
    results: queue.SimpleQueue[AnalysisTotals | Exception | None] = queue.SimpleQueue()
    threading.Thread(target=_consume, args=(stream, results), daemon=True).start()
    most, at = _machines(), time.monotonic()
    while True:
        try:
            result = results.get(timeout=_POLL_S)
        except queue.Empty:
            now = _machines()
            most = max(most, now)
            if os.getppid() != _PARENT or (now < most and time.monotonic() - at > _STALLED_S):
                os._exit(1)
            continue
        if result is None:
            return
        if isinstance(result, Exception):
            if _machines() < most and not _own_error(result):
                os._exit(1)
            raise result
        most, at = _machines(), time.monotonic()
        yield result


def _consume(stream: Any, results: queue.SimpleQueue[AnalysisTotals | Exception | None]) -> None:
    try:
        for batch in stream.iter_batches(batch_size=1, prefetch_batches=0):
            results.put(msgspec.json.decode(batch["totals"][0], type=AnalysisTotals))
        results.put(None)
    except Exception as e:
        results.put(e)


def _track(job: Job, todo: Sequence[TrackingTask]) -> Iterator[TrackingTotals]:
    remote = ray.remote(num_cpus=1)(_track_camera)
    pending = [remote.remote(job, task) for task in todo]
    while pending:
        ready, pending = ray.wait(pending)
        yield from ray.get(ready)


_COMMANDS: dict[str, Callable[..., Iterator[Any]]] = {"probe": _probe, "analyze": _analyze, "track": _track}


# ---- on the machines of the cluster


class _WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of workers, sent with each piece: Ray may lose a worker's start arguments with a machine."""

    job: Job
    size: Size
    threads: int


@lru_cache(1)
def _decode_config(config: bytes) -> _WorkerConfig:
    return msgspec.json.decode(config, type=_WorkerConfig)


@lru_cache(1)
def _analyzer(config: bytes) -> Analyzer:
    return Analyzer(_decode_config(config).job, threads=_decode_config(config).threads)


@lru_cache(1)
def _recordings(config: bytes) -> SyncStore:
    return open_recordings(_decode_config(config).job)


@lru_cache(1)
def _results(where: str) -> SyncStore:
    return check_reachable(SyncStore(where, "--output"))


class _AnalyzePiece:
    """All stages of a piece in one process."""

    def __call__(self, batch: _Batch) -> _Batch:
        data, piece = batch["config"][0], msgspec.json.decode(batch["piece"][0], type=Piece)
        config = _decode_config(data)
        result = _analyzer(data).analyze(read_piece(_recordings(data), piece, config.job, config.size))
        write_result(_results(config.job.output), result)
        return {"totals": [msgspec.json.encode(result.totals)]}


class _Decode:
    """Reads and decodes: one row in, one row out, with all images in one array."""

    def __call__(self, batch: _Batch) -> _Batch:
        data, piece = batch["config"][0], msgspec.json.decode(batch["piece"][0], type=Piece)
        config = _decode_config(data)
        decoded = read_piece(_recordings(data), piece, config.job, config.size)
        pixels = np.empty(1, object)
        # Shapes vary: tiles are smaller than a whole frame if the detector takes any size.
        images = [*decoded.images, *decoded.embed_images]
        pixels[0] = np.concatenate([image.reshape(-1) for image in images] or [np.zeros(0, np.uint8)])
        return {
            "config": batch["config"],
            "piece": batch["piece"],
            "sampled": [msgspec.json.encode(decoded.segments)],
            "embed_inputs": [msgspec.json.encode(decoded.embed_inputs)],
            "decode_s": [decoded.decode_s],
            "shapes": [msgspec.json.encode([image.shape for image in images])],
            "pixels": pixels,
        }


class _Detect:
    """Runs the detector and the embedder."""

    def __call__(self, batch: _Batch) -> _Batch:
        piece = msgspec.json.decode(batch["piece"][0], type=Piece)
        segments = msgspec.json.decode(batch["sampled"][0], type=list[SampledSegment])
        shapes = msgspec.json.decode(batch["shapes"][0], type=list[tuple[int, int, int]])
        embed_inputs = msgspec.json.decode(batch["embed_inputs"][0], type=list[EmbedInput])
        images = _split_pixels(batch["pixels"][0], shapes)
        own = len(images) - sum(len(one.times) for one in embed_inputs)
        decode_s = float(batch["decode_s"][0])
        decoded = DecodedPiece(piece, segments, images[:own], embed_inputs, images[own:], decode_s)
        result = _analyzer(batch["config"][0]).analyze(decoded)
        files = {kind: [getattr(result, kind)] for kind in _KINDS}
        return {"config": batch["config"], "totals": [msgspec.json.encode(result.totals)], **files}


def _split_pixels(pixels: Any, shapes: Sequence[tuple[int, int, int]]) -> list[Any]:
    """Split an array of concatenated pixels into images of these shapes."""
    ends = [*accumulate(map(math.prod, shapes), initial=0)]
    return [pixels[begin:end].reshape(shape) for begin, end, shape in zip(ends[:-1], ends[1:], shapes, strict=True)]


class _Write:
    def __call__(self, batch: _Batch) -> _Batch:
        totals = msgspec.json.decode(batch["totals"][0], type=AnalysisTotals)
        results = _results(_decode_config(batch["config"][0]).job.output)
        write_result(results, AnalysisResult(totals, **{kind: batch[kind][0] for kind in _KINDS}))
        return {"totals": batch["totals"]}


def _track_camera(job: Job, task: TrackingTask) -> TrackingTotals:
    with SyncStore(job.output, "--output") as results:
        return track_camera(check_reachable(results), job, task)
