"""A process that is given work and answers, as long as we are there."""

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


class GaveUp(TidegateError):
    """It said what is wrong, and it is nothing that another could do better."""


class Ended(Exception):
    """It is gone: killed, or out of memory."""


class Child:
    """work: a function at the top of a module, that is called with our pipe and the arguments. It ends by EOFError.

    ends_s: so long it may take to end by itself, before it is told to.
    """

    def __init__(self, work: Callable[..., None], arguments: tuple[Any, ...], *, ends_s: float = 0.0) -> None:
        self._ends_s = ends_s
        self.pipe, theirs = _CONTEXT.Pipe()
        # Not as a daemon: those may not have processes of their own, such as Ray's.
        self._process: BaseProcess = _CONTEXT.Process(target=_served, args=(theirs, work, arguments))
        with _deaf():
            self._process.start()
        theirs.close()

    def give(self, part: object) -> None:
        """That it is gone is heard where it should answer."""
        with contextlib.suppress(OSError):
            self.pipe.send(part)

    def answer(self) -> Any:
        """Raises Ended and GaveUp."""
        try:
            found = self.pipe.recv()
        except (EOFError, ConnectionResetError) as e:
            raise Ended from e
        if isinstance(found, GaveUp):
            raise found
        return found

    def end(self) -> None:
        self.pipe.close()
        self._process.join(self._ends_s)
        self._process.terminate()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C is heard by us, and not by what we start here: it inherits this. Only a main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _served(pipe: Connection, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            work(pipe, *arguments)
        except (EOFError, BrokenPipeError):
            raise
        except TidegateError as e:
            pipe.send(GaveUp(str(e)))
        except Exception as e:  # of a model or a driver: CUDA has no memory left, and the like
            pipe.send(GaveUp(f"{type(e).__name__}: {e}"))
        finally:
            # It ends, and is told to: what runs at the end of a process is not to be broken off.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
