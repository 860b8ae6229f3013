"""numba's compiler, where it is installed. Where it is not, the same functions run, slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def compiled(function: Function) -> Function:
    """`function` as machine code, kept on disk for the next process where there is a place for it."""
    try:
        from numba import njit
    except ImportError:
        return function
    try:
        result: Function = njit(cache=True)(function)
    except RuntimeError:  # neither beside the source nor at home: as in a container that is read-only
        result = njit(function)
    return result
