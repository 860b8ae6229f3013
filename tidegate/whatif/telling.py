"""Lines of progress, at least twice a second, whatever else goes on."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO

import msgspec

from shared.contract.whatif import Failed, Progress, WhatIfAnswer

EVERY_S = 0.4


class Telling:
    """A context manager, which tells from a thread until `end`. Where nobody reads any more, the process ends."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._doing, self._share = "beginning", 0.0
        self._thread = threading.Thread(target=self._tell, name="telling", daemon=True)

    def __enter__(self) -> Telling:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def doing(self, what: str) -> None:
        self._doing = what

    def done(self, share: float) -> None:
        self._share = min(1.0, share)

    def end(self, said: WhatIfAnswer | Failed) -> None:
        """The last line."""
        self.__exit__()
        self._write(said)

    def _tell(self) -> None:
        while not self._ended.is_set():
            self._write(Progress(progress=round(self._share, 4), doing=self._doing))
            self._ended.wait(EVERY_S)

    def _write(self, said: Progress | WhatIfAnswer | Failed) -> None:
        try:
            with self._lock:
                self._out.write(msgspec.json.encode(said) + b"\n")
                self._out.flush()
        except OSError:
            # What simulates for this process ends with it.
            os._exit(1)
