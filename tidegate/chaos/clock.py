"""The wall clock of processes, which can be stepped while they run: by libfaketime, if it is installed.

Example:
    clock = Clock(folder)
    child.spawn(command, log=log, env={**os.environ, **clock.environment})
    clock.step(45)              # a second later they are 45 s ahead; 0: real time
"""

from __future__ import annotations

from pathlib import Path

# The folders of Debian, Fedora and Homebrew on Linux.
_LIBRARIES = ("/usr/lib/*/faketime", "/usr/lib*/faketime", "/usr/local/lib/faketime")
_NAME = "libfaketimeMT.so.1"
# How often a process reads the file.
SEEN_S = 1


class Clock:
    """See the module. environment: empty without libfaketime; then a step has no effect."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        folder.mkdir(parents=True, exist_ok=True)
        self.step(0)
        self.environment = {}
        if library := _library():
            self.environment = {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self._file),
                "FAKETIME_CACHE_DURATION": str(SEEN_S),
                # A step of the wall clock moves no other clock.
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                # Otherwise each process leaves a file in /dev/shm, and a later one with its pid does not start.
                "FAKETIME_DISABLE_SHM": "1",
            }

    def step(self, seconds: float) -> None:
        """Write atomically: processes read it at any time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+g}\n")
        new.replace(self._file)


def _library() -> Path | None:
    return next((f for pattern in _LIBRARIES for f in Path("/").glob(f"{pattern[1:]}/{_NAME}")), None)
