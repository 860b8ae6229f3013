"""Functions that are called after each answer."""

from __future__ import annotations

from collections.abc import Callable

from shared.runtime.telemetry import logger


class Listeners(set[Callable[[], None]]):
    """A listener that fails keeps the answer from no other."""

    def notify(self, **source: str) -> None:
        """Call each. source: of the answer, for the log."""
        for listener in list(self):
            try:
                listener()
            except Exception:
                logger("scaler").exception("a listener failed on a new state: the others were called", **source)


def nothing() -> None:
    """Do nothing: as a listener, keep a reader polling whose state alone is read."""
