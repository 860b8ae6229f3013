"""State of a camera's second passes, to restore after a restart. Plain data."""

from __future__ import annotations

import msgspec

from services.analytics.camera.state import CameraState
from services.analytics.incidents.state import PendingVerification
from shared.contract.events import Counts, Incident, Verdict

# Chosen by hand.

# A pass ends this long after the last event with deferred frames: earlier incidents are over by then, or both sides
# follow them.
TAIL_S = 300.0
# Incidents are the same if their times differ by at most this. At a frame a second, an object is reported two or three
# frames after it came.
NEAR_S = 5.0
# The same for a rule with a long `hold_s`: more would let a pass end before its incidents are judged.
MAX_NEAR_S = 60.0
# At most this many incidents of each side are compared at a time; further ones are not published.
MAX_COMPARED = 200
# At most this many passes of a camera wait: they are five minutes apart, and revisions come within
# ANALYTICS_SECOND_PASS_WAIT_S.
MAX_EPISODES = 16
# A pass stores at most this many changes of its camera's rules, the last ones.
MAX_BOOKS = 16
# At most this many verdicts wait for their incident, which may be published after them following a restart.
MAX_EARLY_VERDICTS = 50


class FoundIncident(msgspec.Struct):
    """An incident of one side. seen_at: when it came up, by its video's clock. until: when it ended; infinity while it
    lasts.

    same: ids of the matching incidents of the other side. judged: whether these are known. is_unmatched: whether there
    were none. pending_events: its events until it is judged.
    """

    incident: Incident
    seen_at: float = msgspec.field(name="seen")
    until: float = float("inf")
    same: list[str] = []
    judged: bool = False
    is_unmatched: bool = msgspec.field(default=False, name="alone")
    pending_events: list[Incident] = msgspec.field(default_factory=list, name="held")


class FoundPart(msgspec.Struct):
    """A part of a minute's counts, and the id of its event. seen_at: when, by its video's clock."""

    counts: Counts
    id: str
    seen_at: float = msgspec.field(name="seen")


class FoundMinute(msgspec.Struct):
    """The live and the revised parts of a minute; they are compared one by one."""

    live: list[FoundPart] = []
    second_pass: list[FoundPart] = msgspec.field(default_factory=list, name="settled")


class ComparisonState(msgspec.Struct):
    """Incidents by id and minutes by number that are not judged yet. now: the video's clock."""

    live: dict[str, FoundIncident] = {}
    second_pass: dict[str, FoundIncident] = msgspec.field(default_factory=dict, name="settled")
    minutes: dict[int, FoundMinute] = {}
    now: float | None = None


class Book(msgspec.Struct):
    """Rules, as KV has them, in force after a sequence in EVENTS."""

    after: int
    rules: bytes


class EpisodeState(msgspec.Struct):
    """A pass. Sequences are of EVENTS, times by the log's clock.

    next, verdicts: the sequences of the next events to read. last: when the last event with `quality` was stored.
    newest: the last event of it that was read live. waiting: number of events with `quality` to be read. live,
    second_pass: the camera by original and by revised events.
    """

    next: int
    verdicts: int
    last: float
    newest: int
    live: CameraState
    second_pass: CameraState = msgspec.field(name="settled")
    books: list[Book]
    comparison: ComparisonState = msgspec.field(default_factory=ComparisonState)
    waiting: int = 1

    def ends_at(self) -> float:
        """Return when the pass ends, unless more frames are deferred before."""
        return self.last + TAIL_S

    def needs_verdicts(self) -> bool:
        """Whether verdicts may concern its live incidents."""
        return any(b'"verify":"' in book.rules for book in self.books)


class LateState(msgspec.Struct):
    """Late incidents: those that wait for a verdict, those that last, and verdicts that came before."""

    pending: dict[str, PendingVerification] = msgspec.field(default_factory=dict, name="asked")
    lasting: dict[str, Incident] = {}
    early: dict[str, Verdict] = {}


class SecondPassState(msgspec.Struct):
    """All of a camera's passes, the oldest first."""

    episodes: list[EpisodeState] = []
    late: LateState = msgspec.field(default_factory=LateState)


def second_pass_id(id: str) -> str:
    """Return the second pass's id for an event that live analytics publishes as `id`."""
    return f"settled/{id.removeprefix('analytics/')}"


def is_second_pass(id: str) -> bool:
    """Whether an id belongs to the second pass."""
    return id.startswith("settled/")
