"""Limits of a test in the work of its process tree: a hang reaches one, and a busy machine reaches none."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
import traceback
from types import FrameType

import psutil
import pytest
import pytest_timeout

from tests.support.waiting import load, patience_s

# A tree waits if it uses less of one core.
IDLE_SHARE = 0.01
# A tree that polls for ever ends after this many timeouts of an idle machine; its CPU would last for hours.
POLLING = 5


def cpu_s() -> float:
    """CPU seconds of this process and its descendants, ended ones included, without those of the calling thread."""
    total, me = -time.thread_time(), psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def print_stacks() -> None:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        print(f"~~~ Stack of {names.get(ident, ident)}", file=sys.stderr)
        traceback.print_stack(frame)
    with contextlib.suppress(RuntimeError):
        for task in asyncio.all_tasks():
            task.print_stack()


class Watchdog(threading.Thread):
    """Fails a test whose tree uses more CPU than its timeout, or next to none for longer than any wait."""

    def __init__(self, item: pytest.Item, settings: pytest_timeout.Settings) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._item, self._settings = item, settings
        self._fixed_s = float(item.config.getini("idle_timeout") or 0)
        self._reason = ""
        self._done = threading.Event()
        self._previous = signal.signal(signal.SIGALRM, self._fail)
        self.start()

    def cancel(self) -> None:
        self._done.set()
        self.join()
        signal.signal(signal.SIGALRM, self._previous)

    def run(self) -> None:
        self._reason = self._excess()
        if self._done.is_set():
            return
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        # Foreign code delays the signal, and the failure may end a background task instead of the test.
        if not self._done.wait(min(patience_s() / 6, self._idle_s())):
            print(self._reason, file=sys.stderr)
            pytest_timeout.timeout_timer(self._item, self._settings)

    def _idle_s(self) -> float:
        """Never below the longest wait, which names what it waited for."""
        return self._fixed_s or 1.5 * patience_s()

    def _excess(self) -> str:
        """Block until the test ends or exceeds a limit; return that limit."""
        most_s, started = self._settings.timeout, time.monotonic()
        pause_s = min(most_s, self._idle_s()) / 20
        # Most tests end before the first sample, which takes milliseconds.
        if self._done.wait(pause_s):
            return ""
        began = highest = mark = cpu_s()
        since = time.monotonic()
        while not self._done.wait(pause_s):
            now, at, idle_s = cpu_s(), time.monotonic(), self._idle_s()
            highest = max(highest, now)
            # The sum falls if a process ends and its parent never collects it.
            if abs(now - mark) > IDLE_SHARE * idle_s:
                mark, since = now, at
            if highest - began > most_s:
                return f"the test used more than {most_s:.0f} s of CPU"
            if at - since > idle_s:
                return f"the test used next to no CPU for {idle_s:.0f} s"
            if at - started > POLLING * most_s * load():
                return f"the test took {at - started:.0f} s and used {highest - began:.0f} s of CPU"
        return ""

    def _fail(self, signum: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        if self._done.is_set() or pytest_timeout.is_debugging():
            return
        print_stacks()
        pytest.fail(self._reason)


WATCHDOG = pytest.StashKey[Watchdog]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("idle_timeout", "seconds without work that end a test (default: 1.5 times the patience of a wait)")


def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool | None:
    """None leaves the timer to pytest-timeout: only Linux reports the CPU time of ended children."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    pytest_timeout_cancel_timer(item)
    item.stash[WATCHDOG] = Watchdog(item, settings)
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> bool | None:
    if watchdog := item.stash.get(WATCHDOG, None):
        del item.stash[WATCHDOG]
        watchdog.cancel()
    return watchdog and True


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Watch the teardown of a failed test: pytest-timeout cancels its timer for the debugger."""
    if isinstance(node, pytest.Item) and not node.config.getoption("usepdb"):
        settings = pytest_timeout._get_item_settings(node)
        if settings.timeout:
            pytest_timeout_set_timer(node, settings)
