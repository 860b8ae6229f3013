"""Lets long work say that it goes on, to whoever would otherwise take it for a hang.

with progress.heard_by(message.goes_on):       # around a coroutine and the tasks that it starts
    await prepare(message)

goes_on = progress.listener()                  # inside, before the work moves to a thread
goes_on()                                      # in the thread, again and again
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def _nobody() -> None:
    pass


_listener: ContextVar[Callable[[], None]] = ContextVar("listener", default=_nobody)


@contextmanager
def heard_by(listener: Callable[[], None]) -> Iterator[None]:
    """Have `listener` called, from any thread, by the work of this block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Callable[[], None]:
    """Whom the work at hand tells that it goes on."""
    return _listener.get()
