"""Runs an ONNX file by ONNX Runtime: a batch goes to the device as one uint8 tensor.

Example:
    session = Session(Graph(content, size, batch=None), parse("cuda"), threads=1, batch_size=8)
    found = session.run(images, read)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from shared.models.devices import Device
from shared.models.runtimes import T, batches, cache, nvidia, providers
from shared.models.runtimes.choice import check_precision
from shared.runtime import telemetry
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# The name of the open axis of a batch, in the graph.
BATCH = "tidegate_batch"
# ONNX Runtime's level of errors: its warnings are about the file, and nobody can act on them here.
_ERRORS = 3


class Graph(NamedTuple):
    """content: the file's bytes, whose one input is `providers.IMAGE`, uint8 (batch, height, width, 3). name: for
    people. size: (width, height). batch: None if it is open, as the axis BATCH.
    """

    content: bytes
    name: str
    size: tuple[int, int]
    batch: int | None


class Session:
    """A graph on a device, warm. description: with the sizes of its batches."""

    def __init__(
        self, graph: Graph, device: Device, *, threads: int = 1, batch_size: int = 8, precision: str = ""
    ) -> None:
        """Compile a graph, or read what an earlier process compiled. Raises ModelError with the remedy.

        batch_size: maximum images per call. More are several calls.
        """
        check_precision(device, "onnxruntime", precision)
        self._graph, self._device, self._threads, self._precision = graph, device, threads, precision
        # MIGraphX compiles each size for itself, which would be on the way of a segment.
        fixed = graph.batch or (batch_size if device.kind == "rocm" or batch_size == 1 else None)
        try:
            self._compile(fixed, batch_size)
            if fixed != 1 and not batches.keep_apart(lambda images: self.run(images, list), graph.size):
                raise ModelError(f"{graph.name} mixes the images of a batch: export a batch of one")
        except ModelError:
            if graph.batch or fixed == 1:
                raise
            # An open axis may have a shape of one in it.
            self._compile(1, 1)

    @property
    def description(self) -> str:
        size = "one" if self._most == 1 else f"{self._most}" if self._fixed else f"up to {self._most}"
        return f"ONNX Runtime on {self._device}, {self._precision or 'the precision of the file'}, batches of {size}"

    def _compile(self, fixed: int | None, batch_size: int) -> None:
        """Make the session. fixed: the one size of a batch, None for any up to `batch_size`."""
        self._fixed, self._most = fixed, fixed or batch_size
        self._shape = (self._most, self._graph.size[1], self._graph.size[0], 3)
        folder = _folder(self._graph, self._device, self._precision, self._most)
        shape = () if fixed else self._shape
        chosen = providers.of(self._device, precision=self._precision, folder=folder, shape=shape)
        if folder and not any(folder.iterdir()):
            telemetry.logger("cv").info("compiling the model takes minutes, once", device=str(self._device))
        with cache.locked(folder):
            try:
                self._session = _session(self._graph, chosen, self._threads, fixed)
                for count in sorted({1, self._most}):
                    # It reveals failures, and an engine may be compiled as late as here.
                    self._outputs(np.zeros((count, *self._shape[1:]), np.uint8))
            except ModelError as e:
                also = f"; remove {folder} if what it has is damaged" if folder else ""
                raise ModelError(f"{e}{also}") from e

    def run(self, images: Iterable[Image], read: Callable[[Sequence[Any]], T]) -> list[T]:
        """Return `read` of the output arrays of each image, in the order of `images`."""
        results: list[T] = []
        for chunk in batches.of(images, self._most):
            outputs = self._outputs(np.stack([image.reshape(self._shape[1:]) for image in chunk]))
            results += (read(self._of(outputs, at)) for at in range(len(chunk)))
        return results

    def bare(self, count: int) -> None:
        """Infer `count` black images in full batches, and read no output."""
        batch = np.zeros((self._most, *self._shape[1:]), np.uint8)
        for _ in range(0, count, self._most):
            self._session.run(None, {providers.IMAGE: batch})

    def _outputs(self, batch: NDArray[np.uint8]) -> list[NDArray[Any]]:
        if self._fixed and len(batch) < self._fixed:
            padded = np.zeros((self._fixed, *batch.shape[1:]), np.uint8)
            padded[: len(batch)] = batch
            batch = padded
        try:
            outputs: list[NDArray[Any]] = self._session.run(None, {providers.IMAGE: batch})
        except Exception as e:  # its errors have no common class
            raise ModelError(f"ONNX Runtime can't run the model: {_short(e)}") from e
        if len(batch) > 1 and any(output.shape[:1] != (len(batch),) for output in outputs):
            shapes = ", ".join(str(list(output.shape)) for output in outputs)
            raise ModelError(f"{len(batch)} images give outputs {shapes}, not one of each: export a batch of one")
        return outputs

    def _of(self, outputs: list[NDArray[Any]], at: int) -> list[NDArray[Any]]:
        """Return the outputs of one image. Those of a batch of one may have no axis for it."""
        return outputs if self._fixed == 1 else [output[at : at + 1] for output in outputs]


def _folder(graph: Graph, device: Device, precision: str, most: int) -> Path | None:
    """Return the folder of a device's engines, by all that they depend on."""
    if device.kind == "tensorrt":
        gpu, version = nvidia.gpus()[device.number], f"tensorrt-{nvidia.tensorrt_version()}"
    elif device.kind == "rocm":
        # MIGraphX names its programs by the architecture, too.
        gpu, version = "rocm", ""
    else:
        return None
    parts = (graph.name, gpu, f"onnxruntime-{ort.__version__}", version, precision or "f32", f"batch-{most}")
    return cache.folder(cache.key(graph.content, *(part for part in parts if part)))


def _session(graph: Graph, chosen: providers.Providers, threads: int, fixed: int | None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin between batches would take a core from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _ERRORS
    if fixed and graph.batch is None:
        options.add_free_dimension_override_by_name(BATCH, fixed)
    needed = chosen[0][0]
    if needed in (providers.NEEDED["cuda"], providers.NEEDED["tensorrt"]):
        # CUDA and cuDNN of NVIDIA's wheels are on no search path.
        ort.preload_dlls()
    try:
        session = ort.InferenceSession(graph.content, options, providers=chosen)
    except Exception as e:  # its errors have no common class
        raise ModelError(f"{graph.name} can't run by {needed}: {_short(e)}") from e
    if needed not in session.get_providers():
        # ONNX Runtime would silently run on the CPU.
        raise ModelError(f"{needed} can't start: its libraries or its GPU are missing; see ONNX Runtime's log above")
    return session


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
