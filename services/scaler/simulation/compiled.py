"""numba's compiler, where it is installed; the same functions, and slow, where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`function` as machine code, kept on disk for the next process."""
    try:
        from numba import njit
    except ImportError:
        return function
    result: F = njit(cache=True)(function)
    return result
