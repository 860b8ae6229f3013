"""A detector from an `.onnx` or OpenVINO `.xml` file. Its family says how to use it, its device what runs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from services.cv.detectors import Detection, DetectorOptions, detections, warm_up
from services.cv.detectors.exports import decoders, facts, families, trial
from services.cv.detectors.exports.decoders import Candidates, Outputs
from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.picture import STRETCH, Place, placed, with_steps
from services.cv.detectors.exports.reading import Reading
from shared.contract.names import safe_name
from shared.models import devices
from shared.models.runtimes import Runtime, choice
from shared.models.runtimes.openvino import Queue
from shared.runtime.errors import ModelError
from shared.video.decode import Image


class ExportedDetector:
    """A detector that a family reads. Images that it letterboxes come in any size, best scaled into `within`.

    facts: of the model. build: returns the model, as a reading uses it.
    """

    def __init__(self, name: str, facts: Facts, build: Callable[[Reading], Runtime], options: DetectorOptions) -> None:
        self.name, self.facts = name, facts
        reading = families.recognise(facts, options.format)
        self.runtime = build(reading)
        outputs = self.runtime.run([trial.noise(facts.size)], copied)[0]
        settled = trial.settled(reading, facts, outputs)
        if settled.picture != reading.picture:
            self.runtime = build(settled)
            outputs = self.runtime.run([trial.noise(facts.size)], copied)[0]
        trial.check(settled, facts, outputs)
        self.reading = settled
        self.labels = settled.labels.names[int(settled.background) :]
        self._min_score = options.min_score
        # COCO's ids have gaps.
        self._unused = np.flatnonzero([label == "-" for label in settled.labels.names])
        is_stretched = settled.picture.fit == STRETCH
        self.size = facts.size if is_stretched else None
        self.within = None if is_stretched else facts.size
        warm_up(self.detect, facts.size)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        # Results are read in the order of the inputs.
        places: deque[Place] = deque()

        def inputs() -> Iterator[Image]:
            for image in images:
                pixels, place = placed(image, self.facts.size, self.reading.picture.fit)
                places.append(place)
                yield pixels

        def read(outputs: Outputs) -> list[Detection]:
            boxes, scores, ids = self._read(outputs, places.popleft())
            return detections(self.reading.labels.names, ids, scores, boxes)

        # Both run while other images are inferred.
        return self.runtime.run(inputs(), read)

    def bare(self, count: int) -> None:
        """Run the network `count` times without reading it: the ceiling of `detect`."""
        self.runtime.bare(count)

    def _read(self, outputs: Outputs, place: Place) -> Candidates:
        """Return the objects of an image that lies at `place`, with boxes as shares of it."""
        reading = self.reading
        found = reading.decode(outputs, self._min_score)
        if len(self._unused):
            is_used = ~np.isin(found.ids, self._unused)
            found = Candidates(found.boxes[is_used], found.scores[is_used], found.ids[is_used])
        if not reading.in_pixels:
            found = found._replace(boxes=found.boxes * np.array([*self.facts.size, *self.facts.size]))
        boxes = place.shares(found.boxes)
        found = found._replace(boxes=np.clip(boxes, 0, 1) if reading.is_clipped else boxes)
        return decoders.without_overlaps(found, reading.iou) if reading.iou else found


def load(name: str, options: DetectorOptions) -> ExportedDetector:
    """Load a file. Raises ModelError if it is missing, of no known family, or if its device can't be used here."""
    path = Path(name)
    if not path.is_file():
        raise ModelError(f"{path} is not a file")
    choice.check(path, devices.parse(options.device), options.runtime, options.precision)
    core = ov.Core()
    known, model = read(path, core)

    def build(reading: Reading) -> Runtime:
        # The steps of a reading change the graph.
        return compiled(core, model.clone(), known, reading, options)

    return ExportedDetector(safe_name(path.stem), known, build, options)


def read(path: Path, core: ov.Core) -> tuple[Facts, ov.Model]:
    """Return (facts, model) of a file. Raises ModelError."""
    try:
        model = core.read_model(path)
    except RuntimeError as e:
        words = " ".join(str(e).split())[:300]
        raise ModelError(f"{path} can't be read: export it again, or copy all of it. OpenVINO: {words}") from e
    return facts.read(path, model), model


def compiled(core: ov.Core, model: ov.Model, known: Facts, reading: Reading, options: DetectorOptions) -> Runtime:
    """Return the file on its device, with one input: its image, in uint8. Raises ModelError."""
    device = devices.parse(options.device)
    if choice.choose(device, options.runtime) == "openvino":
        return Queue(core, prepared(model, known, reading), options.threads, device=device, hint=options.precision)
    # An extra has these.
    from services.cv.detectors.exports import onnx_graph
    from shared.models.runtimes.onnxruntime import Session

    graph = onnx_graph.build(known.path, known, reading.picture, constants(model, known, reading))
    return Session(graph, device, threads=options.threads, batch_size=options.batch_size, precision=options.precision)


def prepared(model: ov.Model, known: Facts, reading: Reading) -> ov.Model:
    """Return the model with one input: its image, in uint8. Others become constants."""
    values = constants(model, known, reading)
    for port in list(model.inputs):
        if port.names & {known.image}:
            continue
        constant = ov.opset13.constant(values[_name(port)])
        for reader in port.get_target_inputs():
            reader.replace_source_output(constant.output(0))
        model.remove_parameter(port.node)
    return with_steps(model, known, reading.picture)


def constants(model: ov.Model, known: Facts, reading: Reading) -> dict[str, NDArray[Any]]:
    """Return the values of the inputs besides the image, by name, for a batch of one. Raises ModelError."""
    found = {}
    for port in model.inputs:
        if port.names & {known.image}:
            continue
        values = reading.constants.get(_name(port))
        if values is None:
            raise ModelError(f"{known.path} has an input {_name(port)!r} that {reading.format} does not know")
        shape = [d.get_length() for d in port.partial_shape]
        filled = np.ones(shape) if not values else np.broadcast_to(np.array(values), shape)
        found[_name(port)] = filled.astype(port.element_type.to_dtype())
    return found


def _name(port: ov.Output) -> str:
    return next(iter(sorted(port.names)), "")


def copied(outputs: Outputs) -> Outputs:
    """Copy a result: its memory is used again."""
    return [np.array(output) for output in outputs]
