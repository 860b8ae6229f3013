"""The answer to a refused request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.bus.requests import _line
from shared.runtime.errors import Refusal
from shared.runtime.plain import plain


def refused(call: Callable[[bytes], Any]) -> Callable[[bytes], None]:
    """A refusal becomes a header of the answer, in one line."""

    def tried(data: bytes) -> None:
        try:
            call(data)
        except Refusal as e:
            line = _line(str(e))
            assert plain(line) == line
            raise

    return tried
