"""What an entry of a bucket of leases says: who holds a thing, and how it changes hands. Pure.

    Entry("host-17-ab12", 5).encode()            # b"host-17-ab12/5"

How it goes from one process to another, and back:

    host-17-ab12/offered/5                       # who has too many works on, and lets another take it
    host-18-cd34/after-host-17-ab12/5            # who has taken it has not begun, so host-17 works on
    host-18-cd34/after-host-17-ab12/since-1764250662104/5
                                                 # it works on it since then, in Unix milliseconds: host-17 stops
    host-18-cd34/offered/after-host-17-ab12/5    # or it has given up before that: host-17 may have it back
    host-17-ab12/again/5                         # which it has, and has worked on it all the time
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shared.runtime.settings import MOST_LEASE_S

_OFFERED, _AFTER, _SINCE, _AGAIN = "offered", "after-", "since-", "again"


class Entry(NamedTuple):
    """process: the holder. lease_s: for how long it holds without another word; 0 where it does not say so in a way
    that may be. offered: another may take it. after: who had it before, of a thing that is handed over, or "". since:
    from when on the holder works on it, in Unix milliseconds. again: it has it back from who had not begun.
    """

    process: str
    lease_s: float
    offered: bool = False
    after: str = ""
    since: int | None = None
    again: bool = False

    @property
    def waits(self) -> bool:
        """Whether the one before works on it, as the holder has not begun."""
        return bool(self.after) and self.since is None

    def encode(self) -> bytes:
        states = [
            _OFFERED if self.offered else "",
            _AFTER + self.after if self.after else "",
            f"{_SINCE}{self.since}" if self.since is not None else "",
            _AGAIN if self.again else "",
        ]
        return "/".join([self.process, *filter(None, states), f"{self.lease_s:g}"]).encode()


def decode(value: bytes) -> Entry:
    """What `value` says, whoever wrote it: what is not known is passed over."""
    process, *rest = value.decode(errors="replace").split("/")
    states, lease = rest[:-1], rest[-1] if rest else ""
    since = next((s for s in states if re.fullmatch(_SINCE + "[0-9]{1,15}", s)), None)
    return Entry(
        process,
        _seconds(lease),
        _OFFERED in states,
        next((s.removeprefix(_AFTER) for s in states if s.startswith(_AFTER)), ""),
        int(since.removeprefix(_SINCE)) if since else None,
        _AGAIN in states,
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= MOST_LEASE_S else 0.0
