"""Weights without training whose scores and boxes differ from one another, and a picture.

An untrained network gives nearly the same score everywhere, so rounding would choose the objects. `spread` normalises
what each layer gets and gives, in one run on the picture: no trained weight is needed, and seeds are fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch

# The mean and the deviation of logits, for scores of which the best of 100,000 are near 0.8 and most near 0.
SCORES = (-5.0, 1.5)
BOXES = (0.0, 1.0)
# Of the corrections to a query's box, by each of several layers.
CORRECTIONS = (0.0, 0.1)
# Of logarithms of sizes, in cells.
SIZES = (1.0, 0.5)
# Of distances to a box's sides, in cells.
DISTANCES = (4.0, 0.5)


def picture(width: int, height: int) -> np.ndarray[Any, Any]:
    """Return a picture of coloured squares with noise, always the same one: (height, width, 3), uint8, RGB."""
    random = np.random.default_rng(0)
    squares = random.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3))
    coarse = np.kron(squares, np.ones((20, 20, 1)))[:height, :width]
    noisy = coarse + random.normal(0, 20, coarse.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def noise(width: int, height: int) -> np.ndarray[Any, Any]:
    """Return a picture of noise, as a trial of a file has it: (height, width, 3), uint8."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def layers(model: torch.nn.Module, names: str) -> list[torch.nn.Module]:
    """Return the modules whose name ends in `names`, a regular expression."""
    found = [module for name, module in model.named_modules() if re.search(rf"(^|\.)({names})$", name)]
    return [module for module in found if hasattr(module, "weight")]


def spread(
    model: torch.nn.Module,
    run: Callable[[], object],
    *,
    scores: Iterable[torch.nn.Module],
    boxes: Iterable[torch.nn.Module] = (),
    score: tuple[float, float] = SCORES,
    box: tuple[float, float] = BOXES,
    apart: bool = False,
) -> None:
    """Set the statistics of the batch norms, and scale the last layers to a mean and a deviation, while `run` runs.

    run: the network on the picture and on noise, as a batch: a trial on noise must not overflow.
    scores, boxes: the last layers, each a convolution or linear. score, box: (mean, deviation) of what they give.
    apart: each of their values is scaled by itself, where all queries give nearly the same.
    """
    for parameter in model.parameters():
        # Queries that begin as zeros would all be the same.
        if parameter.dim() > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            _once(module.register_forward_pre_hook, _normalised)
    for modules, wanted in ((scores, score), (boxes, box)):
        for module in modules:
            torch.nn.init.normal_(module.weight, std=0.1)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias, std=0.1)
            _once(module.register_forward_hook, partial(_scaled, *wanted, apart))
    with torch.no_grad():
        run()


def _once(register: Callable[..., Any], hook: Callable[..., Any]) -> None:
    """Register a hook for the module's first call: some modules are shared by the levels of a pyramid."""

    def first(*arguments: Any) -> Any:
        handle.remove()
        return hook(*arguments)

    handle = register(first)


def _normalised(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Set a batch norm's mean and variance to those of its input."""
    axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
    module.running_mean.copy_(inputs[0].mean(axes))
    module.running_var.copy_(inputs[0].var(axes, unbiased=False) + 1e-3)


def _scaled(
    mean: float, deviation: float, apart: bool, module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
) -> torch.Tensor:
    """Scale a layer's weights by what it gives for the picture, and return its output as these give it."""
    of_picture = output[0].flatten(0, -2) if apart else output[0].flatten()
    factor = deviation / of_picture.std(0)
    shift = mean - factor * of_picture.mean(0)
    module.weight.mul_(factor[:, None] if apart else factor)
    if module.bias is None:
        return factor * output
    module.bias.mul_(factor).add_(shift)
    return factor * output + shift
