"""How many examples a property tries: at the gate at most GATE, at night the number in its test."""

from __future__ import annotations

GATE = 20
# Set by the option `--examples`, before any test is collected.
most = GATE


def examples(n: int) -> int:
    """Return the value for `@settings(max_examples=...)` of a property that wants `n`."""
    return min(n, most) if most else n
