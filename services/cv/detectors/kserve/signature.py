"""What an inference server says of a model, as the facts that families recognise. Pure, but for files of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from services.cv.detectors.exports import labels
from services.cv.detectors.exports.facts import Facts, Output
from services.cv.detectors.kserve import tensors
from services.cv.detectors.kserve.inference_pb2 import ModelMetadataResponse
from services.cv.remote import Address
from shared.runtime.errors import ModelError

_LAYOUTS = {"NCHW": 1, "NHWC": 3}


class Signature(NamedTuple):
    """facts: of a batch of one. datatype: of the image. datatypes, shapes: of the other inputs, for one image.

    outputs: their names, in order. batches: whether the model takes a batch of any length.
    """

    facts: Facts
    datatype: str
    datatypes: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    outputs: list[str]
    batches: bool


def of(metadata: ModelMetadataResponse, address: Address) -> Signature:
    """Return the signature of a model. Raises ModelError if it takes no image of a fixed size."""
    where = f"{address.model} at {address.target}"
    images = [(tensor, layout) for tensor in metadata.inputs if (layout := _layout(tuple(tensor.shape)))]
    if len(images) != 1:
        shapes = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in metadata.inputs)
        raise ModelError(f"{where} takes {shapes or 'nothing'}: one image is expected, as {' or '.join(_LAYOUTS)}")
    image, layout = images[0]
    tensors.dtype(image.datatype)
    height, width = (image.shape[layout.index(axis)] for axis in "HW")
    others = [tensor for tensor in metadata.inputs if tensor.name != image.name]
    path = address.file or Path(f"triton://{address.target}/{address.model}")
    facts = Facts(
        path=path,
        layout=layout,
        size=(width, height),
        is_uint8=image.datatype == "UINT8",
        image=image.name,
        inputs=frozenset(tensor.name for tensor in others),
        outputs=tuple(Output(frozenset({tensor.name}), _one(tensor.shape)) for tensor in metadata.outputs),
        metadata=dict(metadata.properties),
        labels=labels.find(path, metadata.properties),
    )
    return Signature(
        facts,
        image.datatype,
        {tensor.name: tensor.datatype for tensor in others},
        {tensor.name: _one(tensor.shape) for tensor in others},
        [tensor.name for tensor in metadata.outputs],
        image.shape[0] == -1,
    )


def _layout(shape: tuple[int, ...]) -> str | None:
    """Return the layout of an image in a batch of one or of any length; None if it is none, or has no fixed size."""
    if len(shape) != 4 or shape[0] not in (-1, 1):
        return None
    found = [layout for layout, at in _LAYOUTS.items() if shape[at] == 3 and min(s for s in shape[1:]) > 0]
    return found[0] if found else None


def _one(shape: Any) -> tuple[int, ...]:
    """Return a shape with a batch of one."""
    return tuple(1 if axis == 0 and length == -1 else int(length) for axis, length in enumerate(shape))
