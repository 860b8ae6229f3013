"""An entry of a bucket of leases: the holder of a thing, and its handover. Pure.

    Entry("host-17-ab12", 5).encode()            # b"host-17-ab12/5"

A handover from one process to another, and back:

    host-17-ab12/offered/5                       # an overloaded holder works on it, and offers it
    host-18-cd34/after-host-17-ab12/5            # the new holder has not begun: host-17 still works on it
    host-18-cd34/after-host-17-ab12/since-1764250662104/5
                                                 # it has begun at that time, in Unix milliseconds: host-17 stops
    host-18-cd34/offered/after-host-17-ab12/5    # or it gave up before that: host-17 may take it back
    host-17-ab12/again/5                         # host-17 took it back, and never stopped working on it

A process that is present may state facts about itself:

    gpu-1/most-2/total-3/5
    host-17-ab12/session/5                       # as long as it renews this entry, its leases last
    host-17-ab12/session/withdrawn/5             # it gives up all that it has, and wants no more
    /ended/5                                     # another process ended that session, and may take those things

A thing may have several parts, such as the two streams of a camera, on which work begins at different times:

    host-18-cd34/after-host-17-ab12/since-1764250662104/also-1764250662417/5
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shared.runtime.settings import MOST_LEASE_S

# Facts of a process.
SESSION, WITHDRAWN, ENDED = "session", "withdrawn", "ended"

_OFFERED, _AFTER, _SINCE, _ALSO, _AGAIN = "offered", "after-", "since-", "also-", "again"
_OUR_STATES = (_OFFERED, _AFTER, _SINCE, _ALSO, _AGAIN)


class Entry(NamedTuple):
    """process: the holder. lease_s: how long the lease lasts without renewal; 0 if the entry has no valid duration.
    offered: another process may take it. after: the previous holder of a handed-over thing, or "". since: when the
    holder began to work on it, in Unix milliseconds; also: on its other parts. again: taken back from a holder that had
    not begun. facts: what a process says about itself.
    """

    process: str
    lease_s: float
    offered: bool = False
    after: str = ""
    since: int | None = None
    again: bool = False
    facts: tuple[str, ...] = ()
    also: tuple[int, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether the previous holder still works on it, as the holder has not begun."""
        return bool(self.after) and self.since is None

    def is_of_another(self, process: str) -> bool:
        """Whether another process holds the thing, or held it last."""
        return self.process not in ("", process)

    def encode(self) -> bytes:
        states = [
            _OFFERED if self.offered else "",
            _AFTER + self.after if self.after else "",
            f"{_SINCE}{self.since}" if self.since is not None else "",
            *(f"{_ALSO}{at}" for at in self.also),
            _AGAIN if self.again else "",
            *self.facts,
        ]
        return "/".join([self.process, *filter(None, states), f"{self.lease_s:g}"]).encode()


def decode(value: bytes) -> Entry:
    """Decode `value`, from any writer: unknown parts are ignored."""
    process, *rest = value.decode(errors="replace").split("/")
    states, lease = rest[:-1], rest[-1] if rest else ""
    since = next(iter(_times(states, _SINCE)), None)
    return Entry(
        process,
        _seconds(lease),
        _OFFERED in states,
        next((s.removeprefix(_AFTER) for s in states if s.startswith(_AFTER)), ""),
        since,
        _AGAIN in states,
        tuple(s for s in states if not s.startswith(_OUR_STATES)),
        _times(states, _ALSO),
    )


def _times(states: list[str], prefix: str) -> tuple[int, ...]:
    texts = [s.removeprefix(prefix) for s in states if s.startswith(prefix)]
    return tuple(int(text) for text in texts if re.fullmatch("[0-9]{1,15}", text))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= MOST_LEASE_S else 0.0
