"""A detector on an inference server: recognised as a file is, and used by the same families."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.cv import remote
from services.cv.detectors import DetectorOptions
from services.cv.detectors.exports import trial
from services.cv.detectors.exports.detector import ExportedDetector
from services.cv.detectors.exports.reading import Reading
from services.cv.detectors.kserve import signature, tensors
from services.cv.detectors.kserve.client import Client
from services.cv.detectors.kserve.signature import Signature
from shared.contract.names import safe_name
from shared.models.runtimes import batches
from shared.runtime.errors import ModelError
from shared.video.decode import Image

T = TypeVar("T")


class RemoteModel:
    """A model on a server, as a runtime. Batches go as one tensor if the model takes them."""

    def __init__(self, client: Client, known: Signature, reading: Reading, batch_size: int) -> None:
        self._client, self._known, self._reading = client, known, reading
        self._batch_size = batch_size if known.batches else 1
        if self._batch_size > 1 and not self._keeps_apart():
            self._batch_size = 1

    @property
    def description(self) -> str:
        size = self._batch_size
        return f"on a server, {f'batches of up to {size}' if size > 1 else 'one image at a time'}"

    def run(self, images: Iterable[Image], read: Callable[[Sequence[Any]], T]) -> list[T]:
        """Return `read` of the arrays of each image, with a batch of one. Raises ModelError, Away."""
        found: list[T] = []
        for batch in batches.of(images, self._batch_size):
            arrays = self._infer(batch)
            if len(batch) == 1:
                found.append(read(arrays))
            else:
                found += [read([array[n : n + 1] for array in arrays]) for n in range(len(batch))]
        return found

    def bare(self, count: int) -> None:
        """Infer `count` images of noise in full batches, and read no output."""
        batch = [trial.noise(self._known.facts.size)] * self._batch_size
        for _ in range(0, count, self._batch_size):
            self._infer(batch)

    def _infer(self, batch: Sequence[Image]) -> list[NDArray[Any]]:
        known, reading = self._known, self._reading
        inputs = {known.facts.image: tensors.pixels(batch, known.facts, reading.picture, known.datatype)}
        for name, shape in known.shapes.items():
            values = reading.constants.get(name)
            if values is None:
                raise ModelError(f"{known.facts.path} has an input {name!r} that {reading.format} does not know")
            full = (len(batch), *shape[1:]) if shape and shape[0] == 1 else shape
            filled = np.ones(full) if not values else np.broadcast_to(np.array(values), full)
            inputs[name] = filled.astype(tensors.dtype(known.datatypes[name]))
        return self._client.infer(inputs, known.outputs)

    def _keeps_apart(self) -> bool:
        try:
            return batches.keep_apart(lambda images: self.run(images, list), self._known.facts.size)
        except ModelError:
            return False


def load(name: str, options: DetectorOptions) -> ExportedDetector:
    """Load the model at an address. Raises ModelError, or Away if its server is away."""
    at = remote.parse(f"triton:{name}")
    client = Client(at)
    known = signature.of(client.metadata(), at)
    unfilled = [f"{input} {list(shape)}" for input, shape in known.shapes.items() if -1 in shape]
    if unfilled:
        raise ModelError(f"{at.model} at {at.target} has inputs of any shape: {', '.join(unfilled)}")

    def build(reading: Reading) -> RemoteModel:
        return RemoteModel(client, known, reading, options.batch_size)

    label = f"{at.model}-{at.version}" if at.version else at.model
    return ExportedDetector(safe_name(label), known.facts, build, options)


def missing(name: str) -> str | None:
    """Return why the model can't be used yet, None if it can. Raises ModelError."""
    client = Client(remote.parse(f"triton:{name}"))
    try:
        return client.missing()
    finally:
        client.close()
