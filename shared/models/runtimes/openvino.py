"""Runs a compiled OpenVINO model image by image, several concurrently."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import openvino as ov

from shared.models.devices import CPU, Device
from shared.models.machine import CPU_INFO, cpu_facts
from shared.models.runtimes import T, cache
from shared.models.runtimes.choice import check_precision, openvino_name
from shared.runtime.errors import ModelError
from shared.video.decode import Image

_AMD, _AMX = "AuthenticAMD", "amx_bf16"


def precision(core: ov.Core, cpu_info: Path = CPU_INFO) -> str:
    """Return the precision of an empty CV_PRECISION on a CPU: bf16 if it is fast there, else f32, which is exact.

    bf16 moves most scores by a hundredth. It took 0.53 of f32's time on an EPYC with AVX-512 BF16, and 1.33 on a Xeon
    that has that without AMX.
    """
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "f32"
    facts = cpu_facts(cpu_info)
    is_fast = facts.get("vendor_id") == _AMD or _AMX in facts.get("flags", "").split()
    return "bf16" if is_fast else "f32"


def config(device: Device, threads: int, hint: str, folder: str) -> dict[str, Any]:
    """Return OpenVINO's settings for a device. Pure. hint: a precision; empty leaves it to a GPU or an NPU.

    folder: of compiled blobs, which a GPU or an NPU takes seconds to minutes to compile.
    """
    if device.kind != "cpu":
        precise = {"INFERENCE_PRECISION_HINT": hint} if hint else {}
        return {"PERFORMANCE_HINT": "THROUGHPUT", "CACHE_DIR": folder, **precise}
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        # With pinning, all replicas on a machine would share its first cores.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": hint,
    }


class Queue:
    """Runs a model with several requests, each on an image of its own. On a CPU, each thread has a stream.

    On SSD MobileNet this is as fast as the best batch size, within noise. It needs no padding and no compiling for odd
    batches, and an image's detections do not depend on its neighbours.
    """

    def __init__(self, core: ov.Core, model: ov.Model, threads: int, *, device: Device = CPU, hint: str = "") -> None:
        """Compile a model. hint: the precision; empty is the device's. Raises ModelError if it can't."""
        check_precision(device, "openvino", hint)
        on_cpu = device.kind == "cpu"
        folder = None if on_cpu else cache.folder("openvino")
        settings = config(device, threads, hint or (precision(core) if on_cpu else ""), str(folder or ""))
        try:
            with cache.locked(folder):
                compiled = core.compile_model(model, openvino_name(device), settings)
        except RuntimeError as e:
            raise ModelError(f"OpenVINO can't compile the model for {device}: {' '.join(str(e).split())[:300]}") from e
        self._shape = tuple(compiled.input(0).shape)
        self.description = f"OpenVINO on {device}, {compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()}"
        # Without callbacks: they would need the GIL in OpenVINO's threads, for which a model's destructor waits with
        # the GIL. One request more than streams keeps the streams busy while a result is read.
        streams = threads if on_cpu else int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests = [compiled.create_infer_request() for _ in range(streams + 1)]

    def run(self, images: Iterable[Image], read: Callable[[Sequence[Any]], T]) -> list[T]:
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
