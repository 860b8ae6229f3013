"""The wall clock of processes, which may be stepped while they run: by libfaketime, where it is installed.

clock = Clock(folder)
child.spawn(command, log=log, env={**os.environ, **clock.environment})
clock.step(45)              # a second later they are 45 s ahead; 0: as all others
"""

from __future__ import annotations

from pathlib import Path

# Where Debian, Fedora and Homebrew on Linux put it.
_LIBRARIES = ("/usr/lib/*/faketime", "/usr/lib*/faketime", "/usr/local/lib/faketime")
_NAME = "libfaketimeMT.so.1"
# A process looks at the file so often.
SEEN_S = 1


class Clock:
    """See the module. environment: empty where there is no libfaketime, and a step does nothing."""

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
                # A step of the wall clock moves no other.
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                # Each process would leave a file in /dev/shm, and one that gets its pid later would not start.
                "FAKETIME_DISABLE_SHM": "1",
            }

    def step(self, seconds: float) -> None:
        """Never half of it: they read it at any time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+g}\n")
        new.replace(self._file)


def _library() -> Path | None:
    return next((f for pattern in _LIBRARIES for f in Path("/").glob(f"{pattern[1:]}/{_NAME}")), None)
