"""The search for the cheapest candidate that holds a stated service and a stated loss, with few simulations. Pure.

Each family of candidates is tried at its first number of replicas. Bisection then finds the fewest that hold. It
assumes that more replicas cost more, serve more and lose less. A minimum that alone costs more than the cheapest
candidate found is not tried. All families are tried together, a round at a time.

Example:
    rows = search(families, trial, Goal(enough=0.99, loss=0.02), hours=24)
    rows[best([row.result for row in rows], goal)].candidate.text
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from tidegate.audit.candidates import Candidate, Family
from tidegate.simulation.engine import Result

ORACLE = "bound"
ORACLE_SETTINGS = "the lowest cost if every arrival is known in advance, with 1 % of the work late"


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """enough: share of minutes that has to be served. loss: share of frames that may never be analysed."""

    enough: float
    loss: float = 1.0

    def holds(self, result: Result) -> bool:
        """Return whether a result serves enough and loses little enough, compared as it is shown."""
        return result.window_attainment >= self.enough and round(result.never_share, 3) <= self.loss


class Row(msgspec.Struct, frozen=True):
    """A candidate and its simulation. candidate: None for the oracle, which no ScaledObject reaches."""

    candidate: Candidate | None
    result: Result

    @property
    def name(self) -> str:
        return self.candidate.name if self.candidate else ORACLE

    @property
    def label(self) -> str:
        """Its name on screen; `name` is its key in JSON."""
        return self.candidate.label if self.candidate else "oracle"

    @property
    def settings(self) -> str:
        """Its settings, in words."""
        return self.candidate.settings if self.candidate else ORACLE_SETTINGS


# Simulate candidates, and return their results in order.
Trial = Callable[[Sequence[Candidate]], Sequence[Result]]


def best(results: Sequence[Result], goal: Goal) -> int:
    """Return the index of the cheapest result that holds, else of the one that serves most."""

    def rank(result: Result) -> tuple[bool, float]:
        is_missed = not goal.holds(result)
        return is_missed, -result.window_attainment if is_missed else result.replica_hours

    return min(range(len(results)), key=lambda i: rank(results[i]))


class _Bisection:
    """The replicas of a family that are left to try: from `low` to `high`."""

    def __init__(self, family: Family) -> None:
        self.family, self.low, self.high = family, family.least, family.most
        self.rows: list[Row] = []

    def next(self, most: float) -> int | None:
        """Return the replicas to try now; None at the end. most: a minimum of this many or more is too dear."""
        if not self.rows:
            return self.family.first
        high = math.ceil(min(self.high + 1, most)) - 1 if self.family.is_minimum else self.high
        return (self.low + high) // 2 if self.low <= high else None

    def take(self, replicas: int, row: Row, *, holds: bool) -> None:
        """Halve what is left to try."""
        self.rows.append(row)
        self.low, self.high = (self.low, replicas - 1) if holds else (replicas + 1, self.high)

    @property
    def most_left(self) -> int:
        """Return the most simulations that it may still take."""
        return max(0, self.high - self.low + 1).bit_length()


def search(
    families: Sequence[Family], trial: Trial, goal: Goal, *, hours: float, left: Callable[[int], None] = lambda n: None
) -> list[Row]:
    """Return the best row of each family, in their order. hours: of the trace, which a minimum of one replica costs.
    left: receives the most simulations that may follow, before each round.
    """
    searches = [_Bisection(family) for family in families]
    while True:
        rows = [row for each in searches for row in each.rows]
        most = min((row.result.replica_hours for row in rows if goal.holds(row.result)), default=math.inf) / hours
        tried = [(each, n) for each in searches if (n := each.next(most)) is not None]
        if not tried:
            return [each.rows[best([row.result for row in each.rows], goal)] for each in searches]
        left(sum(each.most_left for each, _ in tried))
        candidates = [each.family.at(n) for each, n in tried]
        for (each, n), candidate, result in zip(tried, candidates, trial(candidates), strict=True):
            each.take(n, Row(candidate, result), holds=goal.holds(result))
