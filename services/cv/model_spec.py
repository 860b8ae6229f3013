"""What CV_MODEL names: the backend and its model, found without loading either. Pure, but for files that it looks for.

Example:
    backend, name = parse("torchvision:ssdlite320_mobilenet_v3_large@random")
    check("hf:/models/rtdetr", "cuda")      # raises ModelError for a missing file or package
"""

from __future__ import annotations

from pathlib import Path

from services.cv import remote
from shared.contract import catalog
from shared.models import plugins
from shared.models.backends import Backend
from shared.models.devices import CPU
from shared.models.devices import parse as parse_device
from shared.models.plugins import Plugin
from shared.models.runtimes import choice
from shared.runtime import install
from shared.runtime.errors import ModelError

EMBEDDED = "ssd_mobilenet_v2_coco"
# The backend for each scheme of a spec.
BACKENDS = {
    "openvino": Backend("openvino_ssd", "cv"),
    "file": Backend("exports", "cv"),
    "torchvision": Backend("torchvision", "cv-torch"),
    "hf": Backend("hf", "cv-torch"),
    "triton": Backend("kserve", "cv-remote"),
}
_PLUGINS = Backend("plugin", "cv")
# Those whose model is elsewhere, and may be away.
REMOTE = (BACKENDS["triton"],)
# Those whose model a family of `exports` recognises.
RECOGNISED = (BACKENDS["file"], BACKENDS["triton"])
_FILES = (".onnx", ".xml")
# Pickles of torch, TorchScript, and engines of TensorRT that we did not build.
_CODE = (".pt", ".pth", ".torchscript", ".engine", ".plan")
_MODULES = {"torchvision": ("torch", "torchvision"), "hf": ("torch", "transformers"), "triton": ("grpc",)}


def parse(spec: str) -> tuple[Backend, str]:
    """Return the backend, and the model's name there. Raises ModelError."""
    if _plugin(spec):
        return _PLUGINS, spec
    scheme, name = _split(spec)
    return BACKENDS[scheme], name


def check(spec: str, device: str, runtime: str = "", precision: str = "") -> None:
    """Check that a spec can be loaded here, as far as names, files, packages and devices show it. Raises ModelError."""
    if _plugin(spec):
        _check_runtime(spec, runtime)
        return
    if spec.endswith(_CODE) and spec.partition(":")[0] not in BACKENDS:
        raise ModelError(f"{spec} can run code when it is read: export the model as .onnx")
    scheme, name = _split(spec)
    if scheme == "triton" and (file := remote.parse(spec).file) and not file.parent.is_dir():
        raise ModelError(f"{spec}: there is no {file.parent}, as this process sees it: correct file=")
    if scheme == "openvino" and name != EMBEDDED:
        raise ModelError(f"{spec} is not known: openvino:{EMBEDDED} is the embedded one")
    _check_device(scheme, spec, device, runtime, precision)
    if absent := [module for module in _MODULES.get(scheme, ()) if not catalog.is_importable(module)]:
        extra = BACKENDS[scheme].extra
        raise ModelError(f"{spec} needs {', '.join(absent)}, not installed here: {install.command(extra)}")
    for path in _paths(scheme, name):
        if not path.exists():
            raise ModelError(f"{spec}: there is no {path}, as this process sees it: correct the path")
    if scheme == "file":
        choice.check(Path(name), parse_device(device), runtime, precision)


def _check_device(scheme: str, spec: str, device: str, runtime: str, precision: str) -> None:
    """Check the device of a model that is not a file. Raises ModelError."""
    if scheme == "file":
        return
    _check_runtime(spec, runtime)
    if scheme == "triton":
        if device != "cpu" or precision:
            raise ModelError(f"{spec} runs where its server does: leave CV_DEVICE=cpu, and CV_PRECISION empty")
        return
    if scheme == "openvino":
        if device != "cpu":
            raise ModelError(f"{spec} runs on cpu, not {device}: take an .onnx file, torchvision:… or hf:… for a GPU")
        choice.check_precision(CPU, "openvino", precision)
        return
    if parse_device(device).kind not in ("cpu", "cuda"):
        raise ModelError(f"{spec} runs on cpu or cuda: {device} is for .onnx files")
    if precision:
        raise ModelError(f"CV_PRECISION={precision} is for .onnx and .xml files, not for {spec}: leave it empty")


def _check_runtime(spec: str, runtime: str) -> None:
    if runtime:
        raise ModelError(f"CV_RUNTIME={runtime} is for .onnx and .xml files, not for {spec}: leave it empty")


def _plugin(spec: str) -> Plugin | None:
    """Return the plugin that a spec names. A scheme of ours is never one."""
    return None if spec.partition(":")[0] in BACKENDS else plugins.find(plugins.DETECTORS, spec)


def paths(spec: str) -> list[Path]:
    """Return the files and folders that a spec names; none for a model by its name alone. Raises ModelError."""
    return [] if _plugin(spec) else _paths(*_split(spec))


def _split(spec: str) -> tuple[str, str]:
    is_file = spec.endswith(_FILES) and not spec.startswith("triton:")
    scheme, name = ("file", spec) if is_file else spec.partition(":")[::2]
    if scheme not in BACKENDS or not name:
        others = ", ".join(plugins.installed(plugins.DETECTORS)) or "none"
        raise ModelError(
            f"model {spec!r} can't be loaded: give openvino:{EMBEDDED}, torchvision:<name>, "
            "hf:<organisation>/<name>, triton://<host>:<port>/<model>, the path of an .onnx or .xml file, or a "
            "detector of an installed package "
            f"(there are {others})"
        )
    return scheme, name


def _paths(scheme: str, name: str) -> list[Path]:
    """Return the files and folders that a spec names."""
    if scheme == "file":
        return [Path(name)]
    if scheme == "triton":
        return []
    if scheme == "torchvision":
        weights = name.partition("@")[2]
        return [Path(weights)] if "/" in weights else []
    return [Path(name)] if name.startswith(("/", "./", "../")) else []
