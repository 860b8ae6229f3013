"""Chooses the device of a torch model, and copies images there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from shared.models.devices import parse
from shared.runtime.errors import ModelError
from shared.video.decode import Image


def choose(name: str, threads: int) -> torch.device:
    """Return the device, with torch configured for it. Raises ModelError if this machine does not have it.

    name: cpu, cuda or cuda:<n>. threads: of the CPU, that torch may occupy.
    """
    if parse(name).kind not in ("cpu", "cuda"):
        raise ModelError(f"torch has no device {name}: take cpu or cuda")
    device = torch.device(name)
    if device.type == "cuda":
        reason = why_no_gpu()
        count = 0 if reason else torch.cuda.device_count()
        if (device.index or 0) >= count:
            because = f" ({reason})" if reason else ""
            raise ModelError(f"device {name} is not here: torch sees {count} GPUs; cpu works everywhere{because}")
    else:
        torch.set_num_threads(threads)
    return device


def why_no_gpu() -> str:
    """Return why torch can use no GPU here, in its own words; empty if it can.

    Its count of GPUs is not enough: it is the driver's, even if torch is built for a newer driver.
    """
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as e:
        return f"torch {torch.__version__}: {str(e).strip().splitlines()[0].rstrip('.')}"
    return ""


def upload(images: Sequence[Image], device: torch.device) -> list[Any]:
    """Copy images to the device: uint8 tensors (3, height, width), a quarter of the bytes of float32."""
    if len({image.shape for image in images}) == 1:
        return list(upload_batch(images, device))
    return [torch.from_numpy(image).to(device, non_blocking=True).permute(2, 0, 1) for image in images]


def upload_batch(images: Sequence[Image], device: torch.device) -> Any:
    """Copy images of one size: one uint8 tensor (n, 3, height, width), with channels last in memory."""
    # From pinned memory the GPU copies asynchronously. torch reuses it once the copy is done.
    batch = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=device.type == "cuda")
    np.stack(images, out=batch.numpy())
    return batch.to(device, non_blocking=True).permute(0, 3, 1, 2)
