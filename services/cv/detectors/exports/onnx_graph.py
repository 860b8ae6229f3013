"""The graph of an `.onnx` file that takes uint8 RGB, channels last: with steps for its image, and constants.

Example:
    graph = build(path, facts, picture, constants)          # of shared.models.runtimes.onnxruntime
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.picture import Picture
from shared.models.runtimes import providers
from shared.models.runtimes.onnxruntime import BATCH, Graph
from shared.runtime.errors import ModelError

_PREFIX = "tidegate_"
# The axes of an image with channels last, in the order of a layout.
_ORDER = {"NCHW": (0, 3, 1, 2), "CHW": (2, 0, 1)}


def build(path: Path, facts: Facts, picture: Picture, constants: Mapping[str, NDArray[Any]]) -> Graph:
    """Return the graph. constants: of the other inputs, each for a batch of one. Raises ModelError."""
    try:
        model = onnx.load(path)
    except Exception as e:  # of protobuf, of the file, of its external data
        raise ModelError(f"{path} can't be read: {' '.join(str(e).split())[:300]}") from e
    inputs = {port.name: port for port in model.graph.input}
    image = inputs[facts.image]
    batch = _batch(image) if facts.layout.startswith("N") else 1
    width, height = facts.size
    entry = helper.make_tensor_value_info(providers.IMAGE, TensorProto.UINT8, [batch or BATCH, height, width, 3])
    nodes = [*_steps(image, facts, picture)]
    for name, value in constants.items():
        is_by_image = value.ndim > 0 and _batch(inputs[name]) != 1
        if is_by_image and batch is None:
            nodes += _expanded(name, value)
        else:
            nodes += _constant(name, np.repeat(value, batch or 1, axis=0) if is_by_image else value)
    for name in (facts.image, *constants):
        model.graph.input.remove(inputs[name])
    model.graph.input.insert(0, entry)
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return Graph(model.SerializeToString(deterministic=True), path.stem, facts.size, batch)


def _batch(port: Any) -> int | None:
    """Return the length of the first axis of an input, None if it is open."""
    return port.type.tensor_type.shape.dim[0].dim_value or None


def _steps(image: Any, facts: Facts, picture: Picture) -> Iterator[Any]:
    """Return the nodes from uint8 RGB to the file's image. A cast comes first: TensorRT does nothing else to uint8."""
    kind = image.type.tensor_type.elem_type
    steps: list[tuple[str, list[NDArray[Any]], dict[str, Any]]] = []
    if kind != TensorProto.UINT8:
        steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
    if picture.channels == "BGR":
        steps.append(("Gather", [np.array([2, 1, 0])], {"axis": 3}))
    if kind != TensorProto.UINT8:
        if any(picture.mean):
            steps.append(("Sub", [np.array(picture.mean, np.float32)], {}))
        if any(value != 1 for value in picture.deviation):
            steps.append(("Div", [np.array(picture.deviation, np.float32)], {}))
    if not facts.layout.startswith("N"):
        steps.append(("Reshape", [np.array([facts.size[1], facts.size[0], 3])], {}))
    if order := _ORDER.get(facts.layout):
        steps.append(("Transpose", [], {"perm": order}))
    if kind not in (TensorProto.UINT8, TensorProto.FLOAT):
        steps.append(("Cast", [], {"to": kind}))
    came = providers.IMAGE
    for number, (operator, values, attributes) in enumerate(steps or [("Identity", [], {})], 1):
        names = [f"{_PREFIX}{operator}_{number}_{at}" for at in range(len(values))]
        for name, value in zip(names, values, strict=True):
            yield from _constant(name, value)
        after = image.name if number == max(1, len(steps)) else f"{_PREFIX}{operator}_{number}"
        yield helper.make_node(operator, [came, *names], [after], **attributes)
        came = after


def _constant(name: str, value: NDArray[Any]) -> list[Any]:
    return [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))]


def _expanded(name: str, value: NDArray[Any]) -> list[Any]:
    """Return nodes that repeat a constant for each image of an open batch."""
    one, length, batch, rest, dims = (f"{_PREFIX}{name}_{part}" for part in ("one", "shape", "batch", "rest", "dims"))
    return [
        *_constant(one, value),
        helper.make_node("Shape", [providers.IMAGE], [length]),
        *_constant(f"{batch}_at", np.array([0])),
        helper.make_node("Gather", [length, f"{batch}_at"], [batch], axis=0),
        *_constant(rest, np.array(value.shape[1:], np.int64)),
        helper.make_node("Concat", [batch, rest], [dims], axis=0),
        helper.make_node("Expand", [one, dims], [name]),
    ]
