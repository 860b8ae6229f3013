"""Two generated detectors whose differences on any footage of 4:3 are known.

In each frame both find a red box. One box is blue for A and red for B. A alone finds a red one, which B scores 0.3,
under the minimum. B alone finds a blue one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.video.exports import Export

# By cell: centre x, y, width, height, the score of red and of blue. Of 64x64, footage of 4:3 has the rows 8 to 56.
A = {7: (16, 16, 16, 16, 0.9, 0), 20: (48, 16, 16, 16, 0, 0.6), 30: (16, 48, 16, 16, 0.5, 0)}
B = {
    7: (16, 16, 16, 16, 0.8, 0),
    20: (48, 16, 16, 16, 0.7, 0),
    30: (16, 48, 16, 16, 0.3, 0),
    40: (48, 48, 16, 16, 0, 0.55),
}


def detectors(folder: Path) -> tuple[str, str]:
    """Write both. Return their paths."""
    return export(folder, "a", A), export(folder, "b", B)


def export(folder: Path, name: str, cells: dict[int, tuple[float, ...]], labels: str = "red\nblue\n") -> str:
    """Write a detector that finds the same objects in any picture. Return its path."""
    array = np.zeros((1, 6, 84), np.float32)
    for cell, values in cells.items():
        array[0, :, cell] = values
    return Export(folder).output("output0", array).save(labels, name)
