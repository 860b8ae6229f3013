"""A detector from an `.onnx` or OpenVINO `.xml` file, on CPU.

Two layouts of outputs are supported, and each defines the input. Any other is a ModelError, not a guess.

| outputs | exported by | input image | output boxes |
|---|---|---|---|
| `boxes` (N, 4), `labels` (N,), `scores` (N,) | torchvision's detection models | RGB, 0..1 | pixels |
| one, (1, 1, N, 7): DetectionOutput | Open Model Zoo's SSDs | BGR, 0..255 | 0..1 |

The image is (1, 3, H, W), (3, H, W) or (1, H, W, 3), of a fixed size. `model.labels.txt` next to `model.onnx` has one
class per line, from id 0 on; in both layouts, id 0 is the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino.preprocess import ColorFormat, PrePostProcessor

from services.cv.detectors import Detection, DetectorOptions, detections, read_labels, warm_up
from shared.contract.names import safe_name
from shared.models.openvino import Queue
from shared.runtime.errors import ModelError
from shared.video.decode import Image

_TORCHVISION = ("boxes", "labels", "scores")
# The axis of the height in each image layout.
_LAYOUTS = {"NCHW": 2, "CHW": 1, "NHWC": 1}


class OpenVinoFile:
    """A detector from a file. `size` is that of the file's input."""

    def __init__(self, path: Path, options: DetectorOptions) -> None:
        self.name = safe_name(path.stem)
        self._classes = read_labels(path.with_suffix(".labels.txt"))
        self.labels = self._classes[1:]
        core = ov.Core()
        try:
            model = core.read_model(path)
        except RuntimeError as e:
            raise ModelError(f"{path} can't be read: {e}") from e
        layout, self.size = _image(model, path)
        self._torchvision = _torchvision(model, path)
        self._place = {name: index for index, output in enumerate(model.outputs) for name in output.names}
        self._min_score = options.min_score
        self._queue = Queue(core, _from_uint8(model, layout, unit=self._torchvision), options.threads)
        warm_up(self.detect, self.size)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return self._queue.run(images, self._read)

    def _read(self, outputs: Sequence[Any]) -> list[Detection]:
        if self._torchvision:
            boxes, ids, scores = (outputs[self._place[name]] for name in _TORCHVISION)
            boxes = boxes / np.array([*self.size, *self.size])
        else:
            rows = outputs[0].reshape(-1, 7)
            # An image id below 0 ends the list.
            rows = rows[np.cumprod(rows[:, 0] >= 0).astype(bool)]
            ids, scores, boxes = rows[:, 1], rows[:, 2], rows[:, 3:]
        keep = scores >= self._min_score
        return detections(self._classes, ids[keep], scores[keep], boxes[keep])


def load(name: str, options: DetectorOptions) -> OpenVinoFile:
    """Load a file. Raises ModelError if it is missing, of another layout, or for a GPU."""
    path = Path(name)
    if not path.is_file():
        raise ModelError(f"{path} is not a file")
    if options.device != "cpu":
        raise ModelError(f"{path.suffix} files run on cpu, not {options.device}: take torchvision:… or hf:… for a GPU")
    return OpenVinoFile(path, options)


def _image(model: ov.Model, path: Path) -> tuple[str, tuple[int, int]]:
    """Return (layout, (width, height)) of the model's one input."""
    shape = model.inputs[0].partial_shape
    dims = [d.get_length() if d.is_static else -1 for d in shape] if shape.rank.is_static else []
    for layout, at in _LAYOUTS.items():
        if len(model.inputs) == 1 and len(dims) == len(layout) and dims[layout.index("C")] == 3 and min(dims[at:]) > 0:
            if "N" in layout:
                model.reshape([1, *dims[1:]])
            return layout, (dims[at + 1], dims[at])
    raise ModelError(f"{path} takes {shape}: one image of a fixed size is expected, as {', '.join(_LAYOUTS)}")


def _torchvision(model: ov.Model, path: Path) -> bool:
    names = {name for output in model.outputs for name in output.names}
    if names >= set(_TORCHVISION):
        return True
    shape = model.outputs[0].partial_shape
    if len(model.outputs) == 1 and shape.rank.is_static and len(shape) == 4 and shape[3] == 7:
        return False
    raise ModelError(
        f"{path} gives {', '.join(sorted(names)) or 'unnamed outputs'}: either outputs named boxes, labels and scores "
        "(torchvision's) or one of shape (1, 1, N, 7) (DetectionOutput) can be read"
    )


def _from_uint8(model: ov.Model, layout: str, *, unit: bool) -> ov.Model:
    """Return the model with preprocessing steps that convert uint8 RGB, channels last, to its input."""
    steps = PrePostProcessor(model)
    image = steps.input()
    tensor = image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout(layout.replace("C", "") + "C"))
    tensor.set_color_format(ColorFormat.RGB)
    image.model().set_layout(ov.Layout(layout))
    image.preprocess().convert_element_type(ov.Type.f32)
    if unit:
        image.preprocess().scale(255.0)
    else:
        image.preprocess().convert_color(ColorFormat.BGR)
    image.preprocess().convert_element_type(model.inputs[0].element_type)
    return steps.build()
