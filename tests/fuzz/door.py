"""The description of a door."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz import spoil

CORPUS = Path(__file__).parent / "corpus"
MB = 2**20


class Door(NamedTuple):
    """name: also of its folder in the corpus. seeds: gives good inputs. call: takes an input, as the product would.

    refuses: exceptions that are a clean refusal. spoil: makes another input of one, and of the others. share: of all
    inputs, relative to other doors: slow ones have less. most_bytes: by which one input may raise the process's memory.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    call: Callable[[bytes], Any]
    refuses: tuple[type[BaseException], ...] = ()
    spoil: Callable[[random.Random, bytes, Sequence[bytes]], bytes] = spoil.any_bytes
    share: float = 1.0
    most_bytes: int = 256 * MB

    def corpus(self) -> list[bytes]:
        """Inputs that once were findings, or that lead to rare code."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


_loop: asyncio.AbstractEventLoop | None = None


def wait(work: Coroutine[Any, Any, Any]) -> Any:
    """Return a coroutine's result; all inputs of a process share one loop."""
    global _loop
    _loop = _loop or asyncio.new_event_loop()
    return _loop.run_until_complete(work)
