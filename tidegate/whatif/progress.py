"""Lines of progress, at least twice a second, from a thread."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO

import msgspec

from shared.contract.questions.whatif import Failed, Progress, WhatIfAnswer

EVERY_S = 0.4


class ProgressWriter:
    """A context manager that writes progress from a thread until `end`. If the reader is gone, the process exits."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._step, self._share = "beginning", 0.0
        self._thread = threading.Thread(target=self._report_loop, name="progress", daemon=True)

    def __enter__(self) -> ProgressWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def set_step(self, step: str) -> None:
        self._step = step

    def set_share(self, share: float) -> None:
        self._share = min(1.0, share)

    def end(self, message: WhatIfAnswer | Failed) -> None:
        """Write the last line."""
        self.__exit__()
        self._write(message)

    def _report_loop(self) -> None:
        while not self._ended.is_set():
            self._write(Progress(progress=round(self._share, 4), doing=self._step))
            self._ended.wait(EVERY_S)

    def _write(self, message: Progress | WhatIfAnswer | Failed) -> None:
        try:
            with self._lock:
                self._out.write(msgspec.json.encode(message) + b"\n")
                self._out.flush()
        except OSError:
            # The simulating processes end with this one.
            os._exit(1)
