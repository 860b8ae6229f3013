"""Reports that long work still runs, to a listener that would otherwise assume a hang.

Example:
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
    """Have the work of this block call `listener`, from any thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Callable[[], None]:
    """Return the listener of the present work."""
    return _listener.get()
