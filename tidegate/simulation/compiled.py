"""numba's compiler, if it is installed. Otherwise the same functions run slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def compiled(function: Function) -> Function:
    """Return `function` as machine code, cached on disk for the next process if possible."""
    try:
        from numba import njit
    except ImportError:
        return function
    try:
        result: Function = njit(cache=True)(function)
    except RuntimeError:  # no writable cache next to the source or at home, as in a read-only container
        result = njit(function)
    return result
