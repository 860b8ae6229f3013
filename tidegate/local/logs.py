"""Limits the logs of one machine's processes: the size of each file, and the number of older ones next to it.

    await limit(load(LogSettings), data / "logs", data / "nats.log")   # until cancelled
    since(log, offset)      # the text after `offset`, also if the file was cut

A process appends to its file by itself, and waits for nobody. It holds the file open, so the file can't be renamed: its
content is copied to `<name>.1`, and the file is cut. Lines between the copy's end and the cut are lost: microseconds.
"""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger
from shared.runtime.ticks import tick

LOOK_S = 1.0
BLOCK = 1 << 20
# With fewer bytes, one error with its traceback would push everything before it out of the log.
MIN_BYTES = 1 << 16


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the logs of `tidegate up`."""

    log_max_bytes: Annotated[
        int,
        Meta(ge=0, description="maximum bytes of a log file in the data directory, at least 65536; 0: no limit"),
    ] = 10_000_000
    log_files: Annotated[
        int, Meta(ge=1, le=100, description="maximum log files of one process: the current one, and older ones")
    ] = 3

    def __post_init__(self) -> None:
        if 0 < self.log_max_bytes < MIN_BYTES:
            raise SettingError(
                f"LOG_MAX_BYTES={self.log_max_bytes} can't be used: give at least {MIN_BYTES}, or 0 for no limit"
            )


async def limit(settings: LogSettings, folder: Path, *files: Path) -> None:
    """Limit the logs in a folder, and these files, until cancelled."""
    error = ""
    while settings.log_max_bytes:
        last, error = error, await asyncio.to_thread(_limit_all, [*sorted(folder.glob("*.log")), *files], settings)
        if error and error != last:
            logger("stack").warning("older lines of a log are lost", error=error)
        await tick(LOOK_S)


def since(log: Path, offset: int) -> str:
    """Return the text after `offset` bytes, with the end of the older file if the log was cut since then."""
    if log.stat().st_size >= offset:
        return _read(log, offset)
    return _read(_older(log, 1), offset) + _read(log, 0)


def _limit_all(logs: list[Path], settings: LogSettings) -> str:
    """Rotate the logs that need it. Return the first error."""
    errors = []
    # Below the size that is copied, so that a log which is only a little longer loses nothing.
    most = settings.log_max_bytes * 8 // 10
    for log in logs:
        try:
            if log.exists() and log.stat().st_size > most:
                _rotate(log, settings)
        except OSError as e:
            errors.append(str(e))
    return errors[0] if errors else ""


def _rotate(log: Path, settings: LogSettings) -> None:
    """Move the content to the next file. On a full disk it is lost, which makes room. Raises OSError."""
    older = [_older(log, n) for n in range(1, settings.log_files)]
    try:
        for newer, oldest in reversed(list(pairwise(older))):
            if newer.exists():
                newer.replace(oldest)
        if older:
            _copy_end(log, older[0], settings.log_max_bytes)
    finally:
        os.truncate(log, 0)


def _copy_end(log: Path, copy: Path, most: int) -> None:
    """Copy the end, at most `most` bytes. Raises OSError, and leaves no copy then.

    A tenth is room for what comes during the copy.
    """
    try:
        with log.open("rb") as source, copy.open("wb") as target:
            source.seek(max(0, log.stat().st_size - most * 9 // 10))
            while most and (block := source.read(min(BLOCK, most))):
                target.write(block)
                # No write may be left between the last read and the cut.
                target.flush()
                most -= len(block)
    except OSError:
        copy.unlink(missing_ok=True)
        raise


def _older(log: Path, n: int) -> Path:
    return log.with_name(f"{log.name}.{n}")


def _read(path: Path, offset: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
