"""Console messages of a browser about absent pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def missing(text: str) -> bool:
    """A camera without video has no picture."""
    return "Failed to load resource" in text
