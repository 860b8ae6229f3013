"""What to run from now on, and why. Pure.

A simulation decides millions of times, so a cause keeps its values and becomes a sentence only where somebody reads it.
"""

from __future__ import annotations

import msgspec


class Decision(msgspec.Struct, frozen=True):
    """Replicas to run from now on. cause: a text, or an object whose `str` is one."""

    desired: int
    cause: object

    @property
    def reason(self) -> str:
        """The cause in words, for a log line."""
        return str(self.cause)


class TriggerUnread(msgspec.Struct, frozen=True):
    """A cause: a trigger or the formula gives no number, so the count stays as it is."""

    error: Exception

    def __str__(self) -> str:
        return f"held, as a trigger can't be read: {words(self.error)}"


# A metric that the HPA saw: label, value and target in thousandths, whether the target is of one replica.
Seen = tuple[str, int, int, bool]


class HpaWanted(msgspec.Struct, frozen=True):
    """A cause: what the HPA made of its metrics.

    proposed: ceil(metric / target), the most of all metrics. stable: after stabilisation. desired: within the rate
    policies and the bounds.
    """

    seen: tuple[Seen, ...]
    proposed: int
    stable: int
    desired: int
    fallback_for: Exception | None

    def __str__(self) -> str:
        text = ", ".join(
            f"{label} {value / 1000:g} of {target / 1000:g} {'a replica' if per_replica else 'in all'}"
            for label, value, target, per_replica in self.seen
        )
        text = f"{because_of_fallback(self.fallback_for)}{text}: {self.proposed} wanted"
        if self.stable != self.proposed:
            text += f", {self.stable} after stabilisation"
        if self.desired != self.stable:
            text += f", {self.desired} within policies and bounds"
        return text


def because_of_fallback(error: Exception | None) -> str:
    """The beginning of a reason that a fallback decided: it names the error that the fallback stands in for."""
    return f"fallback, as {words(error)}: " if error else ""


def words(error: Exception) -> str:
    """An error's message, or the name of its type where it has none."""
    return str(error) or type(error).__name__
