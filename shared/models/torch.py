"""Chooses where a torch model runs, and copies images there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from shared.runtime.errors import ModelError
from shared.video.decode import Image


def choose(name: str, threads: int) -> torch.device:
    """The device, with torch set up for it. Raises ModelError if this machine does not have it.

    name: cpu, cuda or cuda:<n>. threads: of the CPU, that torch may keep busy.
    """
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ModelError(f"device {name} is not here: torch sees {count} GPUs; cpu works everywhere")
        # cuDNN looks for the fastest kernel once for each shape, and there are few shapes.
        torch.backends.cudnn.benchmark = True
    else:
        torch.set_num_threads(threads)
    return device


def upload(images: Sequence[Image], device: torch.device) -> list[Any]:
    """The images on the device: uint8 tensors (3, height, width), which are a quarter of the bytes of float32."""
    if len({image.shape for image in images}) == 1:
        return list(upload_batch(images, device))
    return [torch.from_numpy(image).to(device, non_blocking=True).permute(2, 0, 1) for image in images]


def upload_batch(images: Sequence[Image], device: torch.device) -> Any:
    """The same for images of one size: one uint8 tensor (n, 3, height, width), with channels last in memory."""
    return torch.from_numpy(np.stack(images)).to(device, non_blocking=True).permute(0, 3, 1, 2)
