"""Files of exported detectors as `.onnx`, generated: graphs whose score is a mean of the picture, with any batch.

file = OnnxExport(tmp_path, batch="N").output("output0", array, score_at=(5, 7)).save()
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# The axes of a picture's sides in a layout.
_SIDES = {"NCHW": [2, 3], "NHWC": [1, 2], "CHW": [1, 2]}


class OnnxExport:
    """A graph. Each output is a constant, plus `scale` times the mean of a channel of its picture where it has a score.

    size: (width, height). batch: its length, or the name of an open axis; without such an axis (CHW) outputs have none
    either. shared: `mixed` gives each picture the mean of all, `merged` one output for all of them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: tuple[int, int] = (64, 64),
        batch: int | str = "N",
        channel: int = 0,
        scale: float = 1.0,
        layout: Literal["NCHW", "NHWC", "CHW"] = "NCHW",
        kind: int = TensorProto.FLOAT,
        shared: Literal["", "mixed", "merged"] = "",
    ) -> None:
        self._has_axis = layout != "CHW"
        sides = {"N": batch, "C": 3, "H": size[1], "W": size[0]}
        self._folder, self._batch, self._layout = folder, batch, layout
        self._inputs = [helper.make_tensor_value_info("images", kind, [sides[axis] for axis in layout])]
        self._nodes: list[Any] = []
        self._outputs: list[Any] = []
        self._metadata: dict[str, str] = {}
        self._score = "score"
        self._add("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
        self._add("ReduceMean", ["pixels"], "means", axes=_SIDES[layout], keepdims=0)
        if layout == "CHW":
            self._add("Unsqueeze", ["means", self._constant("first", np.array([0]))], "rows")
        else:
            self._add("Identity", ["means"], "rows")
        self._add("Gather", ["rows", self._constant("channel", np.array([channel]))], "score_of_one", axis=1)
        if shared:
            self._add("ReduceMean", ["score_of_one"], "of_all", axes=[0], keepdims=1)
        if shared == "mixed":
            self._add("Mul", ["score_of_one", self._constant("nothing", np.float32(0))], "zeros")
            self._add("Add", ["zeros", "of_all"], "mean")
        else:
            self._add("Identity", ["of_all" if shared else "score_of_one"], "mean")
        self._add("Mul", ["mean", self._constant("scale", np.float32(scale))], "score")

    def input(self, name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> OnnxExport:
        """Add an input of one value for each picture, which must be 1: the score is multiplied by its mean."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        self._add("Cast", [name], f"{name}_float", to=TensorProto.FLOAT)
        self._add("ReduceMean", [f"{name}_float"], f"{name}_mean", axes=list(range(1, len(shape))), keepdims=0)
        self._add("Unsqueeze", [f"{name}_mean", self._constant(f"{name}_last", np.array([1]))], f"{name}_factor")
        self._add("Mul", [self._score, f"{name}_factor"], f"{name}_product")
        self._score = f"{name}_product"
        return self

    def output(self, name: str, array: NDArray[Any], score_at: tuple[int, ...] | None = None) -> OnnxExport:
        """Add an output for each picture. array: without the axis of the batch."""
        ones = [1] * array.ndim
        shape = self._constant(f"{name}_ones", np.array([-1, *ones]))
        self._add("Reshape", [self._score, shape], f"{name}_score")
        mask = np.zeros_like(array, dtype=np.float32)
        if score_at is not None:
            mask[score_at] = 1
        self._add("Mul", [f"{name}_score", self._constant(f"{name}_mask", mask[None])], f"{name}_scores")
        floats = self._constant(f"{name}_constant", array[None].astype(np.float32))
        self._add("Add", [f"{name}_scores", floats], f"{name}_sum")
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if self._has_axis:
            self._add("Cast", [f"{name}_sum"], name, to=kind)
        else:
            self._add("Cast", [f"{name}_sum"], f"{name}_cast", to=kind)
            self._add("Squeeze", [f"{name}_cast", self._constant(f"{name}_first", np.array([0]))], name)
        dims = [*([self._batch] if self._has_axis else []), *array.shape]
        self._outputs.append(helper.make_tensor_value_info(name, kind, dims))
        return self

    def metadata(self, **values: str) -> OnnxExport:
        self._metadata |= values
        return self

    def save(self, labels: str = "red\nblue\n", name: str = "model") -> str:
        """Write the file, and its labels unless they are empty. Return its path."""
        graph = helper.make_graph(self._nodes, "m", self._inputs, self._outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, self._metadata)
        path = self._folder / f"{name}.onnx"
        onnx.save(model, path)
        if labels:
            path.with_suffix(".labels.txt").write_text(labels)
        return str(path)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def _constant(self, name: str, value: Any) -> str:
        self._nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value))))
        return name
