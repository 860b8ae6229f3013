"""Where a model runs: the values of CV_DEVICE. Pure.

Example:
    device = parse("tensorrt:1")
    device.kind, device.number
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shared.runtime.errors import ModelError

PATTERN = r"^(cpu|intel-npu|(cuda|tensorrt|rocm|intel-gpu)(:\d+)?)$"
KINDS = ("cpu", "cuda", "tensorrt", "rocm", "intel-gpu", "intel-npu")
# The kinds of which NUM_GPUS starts one process each: CUDA_VISIBLE_DEVICES selects their GPU.
_VISIBLE = ("cuda", "tensorrt", "rocm")


class Device(NamedTuple):
    """kind: of KINDS. number: of the GPU, from 0 on."""

    kind: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}" if self.number else self.kind


CPU = Device("cpu")


def parse(name: str) -> Device:
    """Return the device of a name. Raises ModelError."""
    if not re.fullmatch(PATTERN, name):
        raise ModelError(f"device {name!r} is not known: take {', '.join(KINDS)}, a GPU also with :<n>")
    kind, _, number = name.partition(":")
    return Device(kind, int(number or 0))


def is_visible_gpu(name: str) -> bool:
    """Return whether a name is of a GPU that CUDA_VISIBLE_DEVICES selects."""
    return name.partition(":")[0] in _VISIBLE


def first_visible(name: str) -> str:
    """Return the name for a process that sees one GPU: `cuda` for `cuda:2`. Other names stay."""
    return name.partition(":")[0] if is_visible_gpu(name) else name
