"""Runs a compiled OpenVINO model image by image, one concurrent image per thread."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import openvino as ov

from shared.runtime.errors import ModelError
from shared.video.decode import Image

T = TypeVar("T")


def precision(core: ov.Core) -> str:
    """Return bf16 if the CPU supports it, else f32: bf16 is twice as fast, and moves most scores by some hundredths."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


class Queue:
    """Runs a model with one stream per thread, each on an image of its own.

    On SSD MobileNet this is as fast as the best batch size, within noise. It needs no padding and no compiling for odd
    batches, and an image's detections do not depend on its neighbours.
    """

    def __init__(self, core: ov.Core, model: ov.Model, threads: int) -> None:
        config: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            # With pinning, all replicas on a machine would share its first cores.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": precision(core),
        }
        try:
            compiled = core.compile_model(model, "CPU", config)
        except RuntimeError as e:
            raise ModelError(f"OpenVINO can't compile the model: {e}") from e
        self._shape = tuple(compiled.input(0).shape)
        # Without callbacks: they would need the GIL in OpenVINO's threads, for which a model's destructor waits with
        # the GIL. One request more than streams keeps the streams busy while a result is read.
        self._requests = [compiled.create_infer_request() for _ in range(threads + 1)]

    def run(self, images: Sequence[Image], read: Callable[[Sequence[Any]], T]) -> list[T]:
        """Return `read` of the output arrays of each image, in the order of `images`. The arrays are reused."""
        results: list[T] = []
        running: deque[ov.InferRequest] = deque()
        try:
            for request, image in zip(itertools.cycle(self._requests), images, strict=False):
                if len(running) == len(self._requests):
                    results.append(_result(running.popleft(), read))
                request.start_async([image.reshape(self._shape)])
                running.append(request)
            while running:
                results.append(_result(running.popleft(), read))
        finally:
            for request in running:
                request.wait()
        return results

    def bare(self, count: int) -> None:
        """Infer `count` times on the inputs that are in memory, and read no output: what the runtime does alone."""
        running: deque[ov.InferRequest] = deque()
        for request in itertools.islice(itertools.cycle(self._requests), count):
            if len(running) == len(self._requests):
                running.popleft().wait()
            request.start_async()
            running.append(request)
        for request in running:
            request.wait()


def _result(request: ov.InferRequest, read: Callable[[Sequence[Any]], T]) -> T:
    request.wait()
    return read([output.data for output in request.output_tensors])
