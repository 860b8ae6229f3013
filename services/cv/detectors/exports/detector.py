"""A detector from an `.onnx` or OpenVINO `.xml` file, on CPU. Its family says how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from services.cv.detectors import Detection, DetectorOptions, detections, warm_up
from services.cv.detectors.exports import decoders, facts, families, trial
from services.cv.detectors.exports.decoders import Candidates, Outputs
from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.picture import STRETCH, placed, with_steps
from services.cv.detectors.exports.reading import Reading
from shared.contract.names import safe_name
from shared.models.openvino import Queue
from shared.runtime.errors import ModelError
from shared.video.decode import Image


class ExportedDetector:
    """A detector from a file. Images that it letterboxes come in any size, best scaled into `within`."""

    def __init__(self, path: Path, options: DetectorOptions) -> None:
        core = ov.Core()
        self.name = safe_name(path.stem)
        self.facts, model = read(path, core)
        reading = families.recognise(self.facts, options.format)
        self._queue = Queue(core, prepared(model, self.facts, reading), options.threads)
        outputs = self._queue.run([trial.noise(self.facts.size)], copied)[0]
        settled = trial.settled(reading, self.facts, outputs)
        if settled.picture != reading.picture:
            self._queue = Queue(core, prepared(read(path, core)[1], self.facts, settled), options.threads)
            outputs = self._queue.run([trial.noise(self.facts.size)], copied)[0]
        trial.check(settled, self.facts, outputs)
        self.reading = settled
        self.labels = settled.labels.names[int(settled.background) :]
        self._min_score = options.min_score
        # COCO's ids have gaps.
        self._unused = np.flatnonzero([label == "-" for label in settled.labels.names])
        is_stretched = settled.picture.fit == STRETCH
        self.size = self.facts.size if is_stretched else None
        self.within = None if is_stretched else self.facts.size
        warm_up(self.detect, self.facts.size)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        inputs, places = (
            zip(*(placed(image, self.facts.size, self.reading.picture.fit) for image in images), strict=True)
            if len(images)
            else ((), ())
        )
        found = self._queue.run(inputs, self._read)
        return [
            detections(self.reading.labels.names, ids, scores, place.shares(boxes))
            for (boxes, scores, ids), place in zip(found, places, strict=True)
        ]

    def bare(self, count: int) -> None:
        """Run the network `count` times without reading it: the ceiling of `detect`."""
        self._queue.bare(count)

    def _read(self, outputs: Outputs) -> Candidates:
        """Return the objects, with boxes in pixels of the input."""
        reading = self.reading
        found = reading.decode(outputs, self._min_score)
        if len(self._unused):
            is_used = ~np.isin(found.ids, self._unused)
            found = Candidates(found.boxes[is_used], found.scores[is_used], found.ids[is_used])
        if not reading.in_pixels:
            found = found._replace(boxes=found.boxes * np.array([*self.facts.size, *self.facts.size]))
        return decoders.without_overlaps(found, reading.iou) if reading.iou else found


def load(name: str, options: DetectorOptions) -> ExportedDetector:
    """Load a file. Raises ModelError if it is missing, of no known family, or for a GPU."""
    path = Path(name)
    if not path.is_file():
        raise ModelError(f"{path} is not a file")
    if options.device != "cpu":
        raise ModelError(f"{path.suffix} files run on cpu, not {options.device}: take torchvision:… or hf:… for a GPU")
    return ExportedDetector(path, options)


def read(path: Path, core: ov.Core) -> tuple[Facts, ov.Model]:
    """Return (facts, model) of a file. Raises ModelError."""
    try:
        model = core.read_model(path)
    except RuntimeError as e:
        raise ModelError(f"{path} can't be read: {' '.join(str(e).split())[:300]}") from e
    return facts.read(path, model), model


def prepared(model: ov.Model, known: Facts, reading: Reading) -> ov.Model:
    """Return the model with one input: its image, in uint8. Others become constants."""
    for port in list(model.inputs):
        if port.names & {known.image}:
            continue
        name = next(iter(sorted(port.names)), "")
        values = reading.constants.get(name)
        if values is None:
            raise ModelError(f"{known.path} has an input {name!r} that {reading.format} does not know")
        shape = [d.get_length() for d in port.partial_shape]
        filled = np.ones(shape) if not values else np.broadcast_to(np.array(values), shape)
        constant = ov.opset13.constant(filled.astype(port.element_type.to_dtype()))
        for reader in port.get_target_inputs():
            reader.replace_source_output(constant.output(0))
        model.remove_parameter(port.node)
    return with_steps(model, known, reading.picture)


def copied(outputs: Outputs) -> Outputs:
    """Copy a result: its memory is used again."""
    return [np.array(output) for output in outputs]
