"""Redirects our own log lines away from the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from shared.runtime import telemetry
from shared.runtime.settings import BusSettings


@contextmanager
def logs_to(path: Path, service: str) -> Iterator[None]:
    """Write log lines to a file: the terminal is for users' output."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1) as log, redirect_stderr(log):
        telemetry.configure(BusSettings(), service)
        yield
