"""The facts of an exported file: its input, its outputs, its metadata, and the labels in it or next to it.

Example:
    facts = read(Path("yolo11n.onnx"), model)
    facts.size, facts.labels[:2], [output.shape for output in facts.outputs]
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import openvino as ov

from services.cv.detectors.exports import labels
from services.cv.detectors.exports.labels import Labels
from shared.runtime.errors import ModelError

# The axis of the height in each image layout.
_LAYOUTS = {"NCHW": 2, "CHW": 1, "NHWC": 1}
# Parts of OpenVINO's metadata: of an ONNX file, and of files by its own tools.
_METADATA = ("framework", "model_info")


class Output(NamedTuple):
    """names: of the tensor. shape: -1 for an unknown length."""

    names: frozenset[str]
    shape: tuple[int, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """size: (width, height) of the image. is_uint8: its element type, floating point otherwise. inputs: names of the
    other ones. labels: None if unknown.
    """

    path: Path
    layout: str
    size: tuple[int, int]
    is_uint8: bool
    image: str
    inputs: frozenset[str]
    outputs: tuple[Output, ...]
    metadata: Mapping[str, str]
    labels: Labels | None

    def index(self, name: str) -> int | None:
        """Return the index of the output of that name."""
        return next((i for i, output in enumerate(self.outputs) if name in output.names), None)

    def anchors(self, *strides: int) -> int:
        """Return the number of cells of grids with these strides, in pixels."""
        width, height = self.size
        return sum((width // stride) * (height // stride) for stride in strides)


def read(path: Path, model: ov.Model) -> Facts:
    """Return a model's facts. The model gets a batch of one. Raises ModelError if it takes no image."""
    stated = _metadata(model)
    # Of an .xml they may be in a file next to it, too.
    metadata = (labels.entries(path.with_name("metadata.yaml")) if path.suffix == ".xml" else {}) | stated
    image, layout, size = _image(path, model, metadata)
    return Facts(
        path=path,
        layout=layout,
        size=size,
        is_uint8=image.element_type == ov.Type.u8,
        image=_name(image),
        inputs=frozenset(_name(other) for other in model.inputs if other.node != image.node),
        outputs=tuple(Output(frozenset(output.names), _dims(output.partial_shape)) for output in model.outputs),
        metadata=metadata,
        labels=labels.find(path, stated),
    )


def _image(path: Path, model: ov.Model, metadata: Mapping[str, str]) -> tuple[ov.Output, str, tuple[int, int]]:
    """Return (input, layout, (width, height)) of the image. Other inputs have at most two axes, or a mask's three."""
    for image in model.inputs:
        dims = _dims(image.partial_shape)
        for layout, at in _LAYOUTS.items():
            if len(dims) == len(layout) and dims[layout.index("C")] == 3:
                height, width = _size(dims[at : at + 2], path, metadata)
                sides = {"N": 1, "C": 3, "H": height, "W": width}
                _reshape(path, model, image, [sides[axis] for axis in layout])
                return image, layout, (width, height)
    shapes = ", ".join(str(image.partial_shape) for image in model.inputs)
    raise ModelError(f"{path} takes {shapes or 'nothing'}: an image is expected, as {', '.join(_LAYOUTS)}")


def _size(sides: tuple[int, ...], path: Path, metadata: Mapping[str, str]) -> tuple[int, int]:
    """Return (height, width). Where the file leaves them open, its metadata must have them."""
    if min(sides) > 0:
        return sides[0], sides[1]
    try:
        stated = ast.literal_eval(metadata.get("imgsz", ""))
        height, width = (int(side) for side in ((stated, stated) if isinstance(stated, int) else stated))
    except (ValueError, SyntaxError, TypeError):
        raise ModelError(f"{path} takes images of any size: export it with a fixed size") from None
    return height, width


def _reshape(path: Path, model: ov.Model, image: ov.Output, shape: list[int]) -> None:
    """Fix the image's shape, and a batch of one for the other inputs."""
    shapes = {}
    for other in model.inputs:
        dims = _dims(other.partial_shape)
        is_mask = len(dims) == 3 and other.node != image.node
        wanted = shape if other.node == image.node else [1, *(shape[-2:] if is_mask else dims[1:])]
        if -1 in wanted:
            raise ModelError(
                f"{path} has an input {_name(other)} of {other.partial_shape}: export it with fixed shapes"
            )
        shapes[other] = wanted
    if all(_dims(other.partial_shape) == tuple(wanted) for other, wanted in shapes.items()):
        return
    try:
        model.reshape({other: ov.PartialShape(wanted) for other, wanted in shapes.items()})
    except RuntimeError as e:
        raise ModelError(f"{path} can't take a batch of one: {' '.join(str(e).split())[:200]}") from e


def _metadata(model: ov.Model) -> dict[str, str]:
    """Return the metadata that the file's exporter wrote into it."""
    found: dict[str, str] = {}
    for part in _METADATA:
        if model.has_rt_info(part):
            values = dict(model.rt_info)[part]
            found |= {key: str(value.value) for key, value in values.items() if not hasattr(value, "keys")}
    return found


def _name(port: ov.Output) -> str:
    return sorted(port.names)[0] if port.names else str(port.node.get_friendly_name())


def _dims(shape: ov.PartialShape) -> tuple[int, ...]:
    return tuple(d.get_length() if d.is_static else -1 for d in shape) if shape.rank.is_static else ()
