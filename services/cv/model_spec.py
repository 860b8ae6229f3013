"""What CV_MODEL names: the backend and its model, found without loading either. Pure, but for files that it looks for.

Example:
    backend, name = parse("torchvision:ssdlite320_mobilenet_v3_large@random")
    check("hf:/models/rtdetr", "cuda")      # raises ModelError for a missing file or package
"""

from __future__ import annotations

from pathlib import Path

from shared.contract import catalog
from shared.models.backends import Backend
from shared.runtime import install
from shared.runtime.errors import ModelError

EMBEDDED = "ssd_mobilenet_v2_coco"
# The backend for each scheme of a spec.
BACKENDS = {
    "openvino": Backend("openvino_ssd", "cv"),
    "file": Backend("exports", "cv"),
    "torchvision": Backend("torchvision", "cv-torch"),
    "hf": Backend("hf", "cv-torch"),
}
_FILES = (".onnx", ".xml")
# Pickles of torch, TorchScript, and engines of TensorRT that we did not build.
_CODE = (".pt", ".pth", ".torchscript", ".engine", ".plan")
_MODULES = {"torchvision": ("torch", "torchvision"), "hf": ("torch", "transformers")}


def parse(spec: str) -> tuple[Backend, str]:
    """Return the backend, and the model's name there. Raises ModelError."""
    scheme, name = _split(spec)
    return BACKENDS[scheme], name


def check(spec: str, device: str) -> None:
    """Check that a spec can be loaded here, as far as names, files and packages show it. Raises ModelError."""
    if spec.endswith(_CODE) and spec.partition(":")[0] not in BACKENDS:
        raise ModelError(f"{spec} can run code when it is read: export the model as .onnx")
    scheme, name = _split(spec)
    if scheme in ("openvino", "file") and device != "cpu":
        raise ModelError(f"{spec} runs on cpu, not {device}: take torchvision:… or hf:… for a GPU")
    if scheme == "openvino" and name != EMBEDDED:
        raise ModelError(f"{spec} is not known: openvino:{EMBEDDED} is the embedded one")
    if absent := [module for module in _MODULES.get(scheme, ()) if not catalog.is_importable(module)]:
        extra = BACKENDS[scheme].extra
        raise ModelError(f"{spec} needs {', '.join(absent)}, not installed here: {install.command(extra)}")
    for path in _paths(scheme, name):
        if not path.exists():
            raise ModelError(f"{spec}: there is no {path}, as this process sees it: correct the path")


def paths(spec: str) -> list[Path]:
    """Return the files and folders that a spec names; none for a model by its name alone. Raises ModelError."""
    return _paths(*_split(spec))


def _split(spec: str) -> tuple[str, str]:
    scheme, name = ("file", spec) if spec.endswith(_FILES) else spec.partition(":")[::2]
    if scheme not in BACKENDS or not name:
        raise ModelError(
            f"model {spec!r} can't be loaded: give openvino:{EMBEDDED}, torchvision:<name>, "
            "hf:<organisation>/<name>, or the path of an .onnx or .xml file"
        )
    return scheme, name


def _paths(scheme: str, name: str) -> list[Path]:
    """Return the files and folders that a spec names."""
    if scheme == "file":
        return [Path(name)]
    if scheme == "torchvision":
        weights = name.partition("@")[2]
        return [Path(weights)] if "/" in weights else []
    return [Path(name)] if name.startswith(("/", "./", "../")) else []
