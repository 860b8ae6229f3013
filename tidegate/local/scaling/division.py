"""How machines divide the replicas of a service among them. Pure.

    divide(3, {"gpu-1": 2, "gpu-2": 2})       # {"gpu-1": 2, "gpu-2": 1}

Every machine computes the same division from the same entries, so the parts add up to the total. One replica more or
less changes one machine's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

# The maximum replicas of one machine, and of all together: heartbeats are counted of that many.
MOST = 1000
_MOST, _TOTAL = "most-", "total-"


class Machine(NamedTuple):
    """What a machine states. most: how many replicas it may run. total: how many all machines shall run, as it last
    knew.
    """

    most: int
    total: int

    def facts(self) -> tuple[str, str]:
        """Return its facts for its entry."""
        return f"{_MOST}{self.most}", f"{_TOTAL}{self.total}"


def machine_of(facts: Sequence[str]) -> Machine:
    """Return a machine from the facts of its entry. What can't be read is 0."""
    return Machine(_number(facts, _MOST), _number(facts, _TOTAL))


def divide(total: int, most: Mapping[str, int]) -> dict[str, int]:
    """Return each machine's part of `total`. most: how many replicas each may run, by its name.

    Each next replica is for the machine that it fills the least; of equals, for the one that runs fewer. Replicas
    beyond the sum of `most` are nobody's.
    """
    parts = dict.fromkeys(most, 0)
    for _ in range(min(total, sum(most.values()))):
        free = (name for name in parts if parts[name] < most[name])
        parts[min(free, key=lambda name: ((parts[name] + 1) / most[name], parts[name], name))] += 1
    return parts


def _number(facts: Sequence[str], prefix: str) -> int:
    text = next((fact.removeprefix(prefix) for fact in facts if fact.startswith(prefix)), "")
    return min(MOST, int(text)) if text.isascii() and text.isdecimal() and len(text) <= len(str(MOST)) else 0
