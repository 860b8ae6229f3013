"""numba's compiler, where it is installed. Where it is not, the same functions run, slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def compiled(function: Function) -> Function:
    """`function` as machine code, kept on disk for the next process."""
    try:
        from numba import njit
    except ImportError:
        return function
    result: Function = njit(cache=True)(function)
    return result
