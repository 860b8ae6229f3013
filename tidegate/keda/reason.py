"""A decision, and its cause. Pure.

A simulation decides millions of times, so a cause stores its values and is formatted only when it is read.
"""

from __future__ import annotations

import msgspec


class Decision(msgspec.Struct, frozen=True):
    """Replicas to run from now on. cause: a text, or an object whose `str` is one."""

    desired: int
    cause: object

    @property
    def reason(self) -> str:
        """The cause as text, for a log line."""
        return str(self.cause)


class TriggerUnread(msgspec.Struct, frozen=True):
    """A cause: a trigger or the formula gives no number, so the count stays as it is."""

    error: Exception

    def __str__(self) -> str:
        return f"held, as a trigger can't be read: {words(self.error)}"


# A metric served to the HPA: label, value and target in thousandths.
Seen = tuple[str, int, int]


class HpaWanted(msgspec.Struct, frozen=True):
    """A cause: the HPA's result from its metrics.

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
            f"{label} {value / 1000:g} of {target / 1000:g} a replica" for label, value, target in self.seen
        )
        text = f"{because_of_fallback(self.fallback_for)}{text}: {self.proposed} wanted"
        if self.stable != self.proposed:
            text += f", {self.stable} after stabilisation"
        if self.desired != self.stable:
            text += f", {self.desired} within policies and bounds"
        return text


def because_of_fallback(error: Exception | None) -> str:
    """Return the prefix of a fallback's reason, which names the error behind it."""
    return f"fallback, as {words(error)}: " if error else ""


def words(error: Exception) -> str:
    """Return an error's message, or the name of its type if it has none."""
    return str(error) or type(error).__name__
