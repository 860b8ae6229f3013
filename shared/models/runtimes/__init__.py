"""Runtimes of exported files: each runs a graph on batches of pictures, behind one interface.

    runtime: Runtime = Queue(core, model, threads)        # or Session(graph, device)
    found = runtime.run(images, read)

| module | idea |
|---|---|
| `batches` | batches of images, and whether a model keeps their images apart |
| `cache` | the folder of what a device compiles from a file |
| `nvidia` | NVIDIA's GPUs, as the driver names them |
| `providers` | the options of ONNX Runtime for a device |
| `choice` | which runtime runs a file on a device, or why none can |
| `openvino` | OpenVINO: CPU, and GPU and NPU of Intel |
| `onnxruntime` | ONNX Runtime: CPU, CUDA, TensorRT, ROCm |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from shared.video.decode import Image

T = TypeVar("T")


class Runtime(Protocol):
    """A compiled graph. description: its runtime, device and precision, for people."""

    @property
    def description(self) -> str: ...

    def run(self, images: Iterable[Image], read: Callable[[Sequence[Any]], T]) -> list[T]:
        """Return `read` of the output arrays of each image, in the order of `images`.

        images: uint8 (height, width, 3), RGB, of the graph's size. Each is taken when the runtime is ready for it, so
        its preparation may run while another one is inferred. The arrays have a batch of one, and may be reused.
        """
        ...

    def bare(self, count: int) -> None:
        """Infer `count` images without reading an output: the ceiling of `run`."""
        ...
