"""The fault that tests put into analytics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from services.analytics.tracker import Tracker


@pytest.fixture
def stumble(monkeypatch: pytest.MonkeyPatch) -> Callable[[dt.datetime], None]:
    """Make analytics fail at the frame of a time: the error stands for any that no test foresees."""

    def at(frame: dt.datetime) -> None:
        whole = Tracker.match

        def match(self: Tracker, time: float, *rest: Any) -> Any:
            if time == frame.timestamp():
                raise ZeroDivisionError
            return whole(self, time, *rest)

        monkeypatch.setattr(Tracker, "match", match)

    return at
