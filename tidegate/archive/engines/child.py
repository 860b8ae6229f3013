"""A child process that receives work over a pipe and replies. It ends with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from shared.runtime.errors import TidegateError

_CONTEXT = multiprocessing.get_context("spawn")
_END_S = 5.0


class ChildFailed(TidegateError):
    """The child reported an error that a retry would not fix."""


class ChildExited(Exception):
    """The child has exited: killed, or out of memory."""


class Child:
    """A child process that runs `work(pipe, *arguments)`. EOFError on the pipe ends it.

    work: a module-level function. ends_s: maximum seconds to exit by itself, before SIGTERM.
    """

    def __init__(self, work: Callable[..., None], arguments: tuple[Any, ...], *, ends_s: float = 0.0) -> None:
        self._ends_s = ends_s
        self.pipe, child_end = _CONTEXT.Pipe()
        # Not a daemon: daemons may not start processes, and Ray does.
        self._process: BaseProcess = _CONTEXT.Process(target=_run, args=(child_end, work, arguments))
        with _sigint_ignored():
            self._process.start()
        child_end.close()

    def send(self, item: object) -> None:
        """Send an item. `receive` reports a child that has exited."""
        with contextlib.suppress(OSError):
            self.pipe.send(item)

    def receive(self) -> Any:
        """Wait for the next reply. Raises ChildExited and ChildFailed."""
        try:
            reply = self.pipe.recv()
        except (EOFError, ConnectionResetError) as e:
            raise ChildExited from e
        if isinstance(reply, ChildFailed):
            raise reply
        return reply

    def end(self) -> None:
        self.pipe.close()
        self._process.join(self._ends_s)
        self._process.terminate()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def _sigint_ignored() -> Iterator[None]:
    """Ignore SIGINT, for a child that is started meanwhile and inherits this: Ctrl-C is handled by the parent.

    Only the main thread can set signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _run(pipe: Connection, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            work(pipe, *arguments)
        except (EOFError, BrokenPipeError):
            raise
        except TidegateError as e:
            pipe.send(ChildFailed(str(e)))
        except Exception as e:  # from a model or a driver, such as CUDA out of memory
            pipe.send(ChildFailed(f"{type(e).__name__}: {e}"))
        finally:
            # SIGTERM must not interrupt the exit handlers of a process that is ending.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
