"""An exported detector to measure on: a network of convolutions with the output of YOLOv8, of random weights.

    path = write(folder)              # 320x320, 80 classes, 2100 cells

Its boxes are constant, one a cell, and few scores count: as in footage, most cells are of no object. It computes about
as much as YOLOv8n at this size, 1.9 of 2.2 GFLOPs. At a minimum score of 0.1 it finds 31 objects in a frame of the
embedded footage, where the embedded detector finds 28.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

SIDE, CLASSES = 320, 80
STRIDES = (8, 16, 32)
# Channels of the convolutions, each of which halves the side.
_CHANNELS = (24, 48, 96, 192, 384)
# Scores are around this logit, and a few count.
_RARE, _GAIN = -9.5, 8.0


def write(folder: Path) -> str:
    """Write the file and its labels. Return its path."""
    rng = np.random.default_rng(1)
    image = ops.parameter([1, 3, SIDE, SIDE], np.float32, "images")
    image.output(0).set_names({"images"})
    pixels: Any = image
    heads, cells = [], []
    for n, channels in enumerate(_CHANNELS):
        pixels = ops.relu(_convolution(rng, pixels, channels, 3, 2))
        pixels = ops.relu(_convolution(rng, pixels, channels, 3, 1))
        stride = 2 ** (n + 1)
        if stride in STRIDES:
            head = ops.add(_convolution(rng, ops.multiply(pixels, np.float32(_GAIN)), CLASSES, 1, 1), np.float32(_RARE))
            heads.append(ops.reshape(head, np.array([1, CLASSES, -1]), False))
            cells.append(_cells(stride))
    scores = ops.sigmoid(ops.concat(heads, 2))
    boxes = ops.constant(np.concatenate(cells, axis=1)[None].astype(np.float32))
    output = ops.concat([boxes, scores], 1)
    model = ov.Model([output.output(0)], [image], "exported")
    model.outputs[0].set_names({"output0"})
    path = folder / "exported.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    path.with_suffix(".labels.txt").write_text("".join(f"class-{n}\n" for n in range(CLASSES)))
    return str(path)


def _convolution(rng: np.random.Generator, pixels: Any, channels: int, side: int, stride: int) -> Any:
    depth = pixels.output(0).get_partial_shape()[1].get_length()
    deviation = (2 / (depth * side * side)) ** 0.5
    weights = rng.normal(0, deviation, (channels, depth, side, side)).astype(np.float32)
    pad = [side // 2] * 2
    return ops.convolution(pixels, weights, [stride] * 2, pad, pad, [1, 1])


def _cells(stride: int) -> Any:
    """Return boxes of centre and size in pixels, (4, cells)."""
    centres = (np.arange(SIDE // stride) + 0.5) * stride
    x, y = np.meshgrid(centres, centres)
    size = np.full(x.size, float(stride))
    return np.stack([x.ravel(), y.ravel(), size, size])
