"""Files of exported detectors, generated: graphs with the shapes of each family, whose score is a mean of the picture.

file = Export(tmp_path, size=(64, 64)).output("output0", array, score_at=(0, 4, 3)).save()
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops


class Export:
    """A graph. Each output is a constant, plus `scale` times the mean of a channel of the picture where it has a score.

    size: (width, height). channel: of the picture as the model gets it. layout: NCHW or NHWC.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: tuple[int, int] = (64, 64),
        channel: int = 0,
        scale: float = 1.0,
        layout: str = "NCHW",
        image: str = "images",
        kind: Any = np.float32,
    ) -> None:
        width, height = size
        self._folder = folder
        self._image = ops.parameter([1, 3, height, width] if layout == "NCHW" else [1, height, width, 3], kind, image)
        self._image.output(0).set_names({image})
        pixels = ops.convert(self._image, "f32")
        means = ops.reduce_mean(pixels, np.array([0, 2, 3] if layout == "NCHW" else [0, 1, 2]), False)
        self._score = ops.multiply(ops.gather(means, np.array([channel]), np.array(0)), np.float32(scale))
        self._inputs = [self._image]
        self._outputs: list[tuple[str, Any]] = []
        self._metadata: dict[str, str] = {}

    def input(self, name: str, shape: list[int], kind: Any = np.float32) -> Export:
        """Add an input that no output needs but by its sum times 0."""
        parameter = ops.parameter(shape, kind, name)
        parameter.output(0).set_names({name})
        self._inputs.append(parameter)
        nothing = ops.multiply(
            ops.reduce_sum(ops.convert(parameter, "f32"), np.arange(len(shape)), False), np.float32(0)
        )
        self._score = ops.add(self._score, nothing)
        return self

    def output(
        self, name: str, array: NDArray[Any], score_at: tuple[int, ...] | None = None, *, logit: bool = False
    ) -> Export:
        """Add an output. logit: the score goes through the inverse of a sigmoid."""
        node: Any = ops.constant(array)
        if score_at is not None:
            mask = np.zeros_like(array)
            mask[score_at] = 1
            score = ops.log(ops.divide(self._score, ops.subtract(np.float32(1), self._score))) if logit else self._score
            node = ops.add(node, ops.multiply(ops.constant(mask), score))
        self._outputs.append((name, node))
        return self

    def metadata(self, **values: str) -> Export:
        self._metadata |= values
        return self

    def save(self, labels: str = "red\nblue\n", name: str = "model") -> str:
        """Write the file, and its labels unless they are empty. Return its path."""
        model = ov.Model([node.output(0) for _, node in self._outputs], self._inputs, "m")
        for output, (called, _) in zip(model.outputs, self._outputs, strict=True):
            output.set_names({called})
        for key, value in self._metadata.items():
            model.set_rt_info(value, ["framework", key])
        path = self._folder / f"{name}.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        if labels:
            path.with_suffix(".labels.txt").write_text(labels)
        return str(path)
