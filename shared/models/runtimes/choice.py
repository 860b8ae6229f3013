"""Which runtime runs a file on a device, or why none can.

Example:
    choose(Device("cuda"), "")                              # "onnxruntime"
    check(Path("m.xml"), Device("cuda"), "", "")            # raises ModelError with the remedy
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shared.contract import catalog
from shared.models.devices import KINDS, Device
from shared.models.runtimes import nvidia, providers
from shared.runtime import install
from shared.runtime.errors import ModelError

Name = Literal["openvino", "onnxruntime"]
# The names for people.
TITLES: dict[Name, str] = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
# OpenVINO's name of a device, and the bits of its capabilities.
OPENVINO = {"cpu": "CPU", "intel-gpu": "GPU", "intel-npu": "NPU"}
PRECISIONS = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
_TABLES: dict[Name, dict[str, str]] = {"openvino": OPENVINO, "onnxruntime": providers.NEEDED}
# The precisions to which a provider converts a file.
_OF_PROVIDERS = {"cpu": ("f32",), "cuda": ("f32",), "tensorrt": ("f32", "f16"), "rocm": ("f32", "f16")}
_PACKAGES = {
    "cuda": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "tensorrt": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "rocm": "pip uninstall onnxruntime, then install AMD's onnxruntime-migraphx",
}


class Usable(NamedTuple):
    """kind: of a device. runtime: that runs files there. reason: why it can't, with the remedy; empty if it can."""

    kind: str
    runtime: Name
    reason: str


def choose(device: Device, wanted: str) -> Name:
    """Return the runtime of a device. wanted: as CV_RUNTIME; empty prefers OpenVINO. Raises ModelError."""
    if wanted not in ("", *TITLES):
        raise ModelError(f"CV_RUNTIME={wanted} is not known: take {' or '.join(TITLES)}, or leave it empty")
    able = [name for name, table in _TABLES.items() if device.kind in table]
    if not wanted:
        return able[0]
    chosen = next((name for name in able if name == wanted), None)
    if chosen is None:
        raise ModelError(f"CV_RUNTIME={wanted} has no device {device}: leave it empty for {TITLES[able[0]]}")
    return chosen


def check(path: Path, device: Device, wanted: str, precision: str) -> None:
    """Check that a file can run on a device here, as far as its name and the packages here show. Raises ModelError."""
    runtime = choose(device, wanted)
    if runtime == "onnxruntime" and path.suffix != ".onnx":
        raise ModelError(
            f"{path} can't run on {device} by ONNX Runtime: export the model as .onnx, or set CV_DEVICE=cpu"
        )
    if reason := why_not(device, runtime):
        raise ModelError(f"device {device} can't be used: {reason}")
    check_precision(device, runtime, precision)


def check_precision(device: Device, runtime: Name, precision: str) -> None:
    """Check that a runtime computes in a precision on a device. Empty is its own choice. Raises ModelError."""
    if not precision:
        return
    if precision == "int8":
        raise ModelError("CV_PRECISION=int8 needs a quantised file, which runs as it is: leave CV_PRECISION empty")
    if precision not in PRECISIONS:
        raise ModelError(f"CV_PRECISION={precision} is not known: take {', '.join(PRECISIONS)}, or leave it empty")
    offer = offered(device, runtime)
    if precision not in offer:
        remedy = "export the file in f16, or set CV_DEVICE=tensorrt" if device.kind == "cuda" else "leave it empty"
        raise ModelError(
            f"CV_PRECISION={precision}: {TITLES[runtime]} on {device} offers {', '.join(offer)} here: {remedy}"
        )


def offered(device: Device, runtime: Name) -> tuple[str, ...]:
    """Return the precisions that a runtime computes in on a device, which can be used here."""
    if runtime == "onnxruntime":
        return _OF_PROVIDERS[device.kind]
    bits = _core().get_property(openvino_name(device), "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name, bit in PRECISIONS.items() if bit in bits)


def why_not(device: Device, runtime: Name) -> str:
    """Return why a runtime can't use a device here, with the remedy; empty if it can."""
    if runtime == "openvino":
        return _without_openvino(device)
    if absent := [module for module in ("numpy", "onnx", "onnxruntime") if not catalog.is_importable(module)]:
        also = f"; on a GPU {_PACKAGES[device.kind]}" if device.kind in _PACKAGES else ""
        return f"{', '.join(absent)} not installed: {install.command('cv-onnx')}{also}"
    try:
        library: Any = importlib.import_module("onnxruntime")
    except ImportError as e:
        return f"onnxruntime can't be imported ({e}): {install.command('cv-onnx')}"
    if providers.NEEDED[device.kind] not in library.get_available_providers():
        return (
            f"this onnxruntime {library.__version__} has no {providers.NEEDED[device.kind]}: {_PACKAGES[device.kind]}"
        )
    if device.kind in ("cuda", "tensorrt") and device.number >= (count := len(nvidia.gpus())):
        return f"NVIDIA's driver shows {count} GPUs here: correct CV_DEVICE, or CUDA_VISIBLE_DEVICES"
    if device.kind == "tensorrt" and not nvidia.tensorrt_version():
        return "TensorRT can't be loaded: install the one that this onnxruntime-gpu needs, or set CV_DEVICE=cuda"
    return ""


def usable() -> list[Usable]:
    """Return each kind of device with each runtime that may run files there."""
    able = [(kind, name) for name, table in _TABLES.items() for kind in KINDS if kind in table]
    return [Usable(kind, name, why_not(Device(kind), name)) for kind, name in able]


def _without_openvino(device: Device) -> str:
    if not catalog.is_importable("openvino"):
        return f"openvino not installed: {install.command('cv')}"
    if device.kind == "cpu":
        return ""
    found = _core().available_devices
    name = OPENVINO[device.kind]
    if f"{name}.{device.number}" in found or (name in found and not device.number):
        return ""
    return f"OpenVINO sees {', '.join(found)}: install Intel's driver for it, let this process open it, or take cpu"


def openvino_name(device: Device) -> str:
    """Return OpenVINO's name of a device."""
    name = OPENVINO[device.kind]
    return f"{name}.{device.number}" if device.number else name


def _core() -> Any:
    return importlib.import_module("openvino").Core()
