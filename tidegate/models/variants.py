"""The devices, runtimes and precisions by which a detector can run on this machine.

Example:
    variants("/models/yard.onnx")       # [Variant("cpu", "openvino", "f32"), Variant("cpu", "onnxruntime", "f32"), …]
    unusable()                          # {"cuda": "this onnxruntime has no CUDAExecutionProvider: …"}
"""

from __future__ import annotations

from typing import NamedTuple

from services.cv import model_spec
from shared.models import devices
from shared.models.runtimes import choice
from shared.models.runtimes.choice import TITLES

_FILE, _EMBEDDED = model_spec.BACKENDS["file"], model_spec.BACKENDS["openvino"]


class Variant(NamedTuple):
    """Values of CV_DEVICE, CV_RUNTIME and CV_PRECISION; empty: left to the detector."""

    device: str = "cpu"
    runtime: str = ""
    precision: str = ""

    def __str__(self) -> str:
        runtime = next((title for name, title in TITLES.items() if name == self.runtime), "")
        return ", ".join(filter(None, (self.device, runtime, self.precision)))


def variants(spec: str) -> list[Variant]:
    """Return all variants of a file or of the embedded detector; of another spec the CPU alone. Raises ModelError."""
    backend, _ = model_spec.parse(spec)
    if backend == _EMBEDDED:
        return [Variant("cpu", precision=precision) for precision in choice.offered(devices.CPU, "openvino")]
    if backend != _FILE:
        return [Variant()]
    return [
        Variant(usable.kind, usable.runtime, precision)
        for usable in choice.usable()
        if not usable.reason and (usable.runtime == "openvino" or spec.endswith(".onnx"))
        for precision in choice.offered(devices.Device(usable.kind), usable.runtime)
    ]


def unusable() -> dict[str, str]:
    """Return why a device has no runtime here, with the remedy, by device."""
    found = choice.usable()
    able = {usable.kind for usable in found if not usable.reason}
    return {usable.kind: usable.reason for usable in found if usable.kind not in able}
