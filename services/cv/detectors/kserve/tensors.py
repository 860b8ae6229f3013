"""Tensors of the Open Inference Protocol from pictures, and arrays from tensors. Pure, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.picture import Picture
from services.cv.detectors.kserve.inference_pb2 import InferTensorContents
from shared.runtime.errors import ModelError
from shared.video.decode import Image

# Little-endian, whatever this machine is.
TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


def dtype(datatype: str) -> np.dtype[Any]:
    """Return the type of a tensor's elements. Raises ModelError if it has none of numbers."""
    if datatype not in TYPES:
        raise ModelError(f"a tensor of {datatype} is no array of numbers: there are {', '.join(TYPES)}")
    return np.dtype(TYPES[datatype])


def pixels(images: Sequence[Image], facts: Facts, picture: Picture, datatype: str) -> NDArray[Any]:
    """Return the input of a batch: uint8 RGB images of the model's size, as the model wants them."""
    batch: NDArray[Any] = np.stack(images)
    if picture.channels == "BGR":
        batch = batch[..., ::-1]
    if not facts.is_uint8:
        batch = (batch - np.array(picture.mean, np.float32)) / np.array(picture.deviation, np.float32)
    if facts.layout.index("C") < facts.layout.index("H"):
        batch = batch.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(batch, dtype(datatype))


def array(shape: Sequence[int], datatype: str, raw: bytes | None, contents: InferTensorContents) -> NDArray[Any]:
    """Return a tensor of an answer. Raises ModelError if its values do not fill its shape."""
    kind = dtype(datatype)
    if min(shape, default=0) < 0:
        raise ModelError(f"a tensor has the shape {tuple(shape)}")
    count = int(np.prod(shape, dtype=np.int64))
    fields = contents.ListFields()
    size = len(raw) / kind.itemsize if raw is not None else len(fields[0][1]) if fields else 0
    if size != count:
        raise ModelError(f"a tensor of the shape {tuple(shape)} has {size:g} values")
    values = np.frombuffer(raw, kind) if raw is not None else np.array(fields[0][1] if fields else [], kind)
    return values.reshape(tuple(shape))
