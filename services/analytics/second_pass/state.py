"""What a restart must find of a camera's second passes. Plain data."""

from __future__ import annotations

import msgspec

from services.analytics.incidents import AskedIncident
from services.analytics.state import CameraState
from services.analytics.statements import Out
from shared.contract.events import Counts, Incident, Verdict


class SecondPassTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Chosen by hand."""

    tail_s: float = 300.0
    """A pass ends so long after the last event of which frames were left out: what began before it is over by then, or
    is followed live as well as here."""

    near_s: float = 5.0
    """Incidents whose times are so near are the same: at a frame a second, an object is told two or three frames after
    it came."""

    most_near_s: float = 60.0
    """The same of a rule with a long `hold_s`: more would let a pass end before it has judged."""

    most_compared: int = 200
    """So many incidents of each side are compared at once; what comes up beyond is told by neither."""

    most_episodes: int = 16
    """So many passes of a camera wait at most: they are five minutes apart, and what they wait for comes within
    ANALYTICS_SETTLE_S."""

    most_books: int = 16
    """A pass knows of so many changes of its camera's rules, the last ones."""

    most_early: int = 50
    """So many verdicts wait for their incident, which a restart may tell after them."""


TUNING = SecondPassTuning()


class FoundIncident(msgspec.Struct):
    """An incident of one side. seen: when it came up, by its video's clock. until: when it had ended; infinity while it
    lasts.

    same: ids of those of the other side that it is. judged: whether that is known. alone: whether there was none then.
    held: what is said of it once that is known.
    """

    incident: Incident
    seen: float
    until: float = float("inf")
    same: list[str] = []
    judged: bool = False
    alone: bool = False
    held: list[Incident] = []


class FoundPart(msgspec.Struct):
    """A part of a minute's counts, and under which id it was said. seen: when, by its video's clock."""

    counts: Counts
    id: str
    seen: float


class FoundMinute(msgspec.Struct):
    """The parts of a minute that were said live, and those that are so; those of both are compared one by one."""

    live: list[FoundPart] = []
    settled: list[FoundPart] = []


class ComparisonState(msgspec.Struct):
    """What came up and is not settled yet: incidents by id, minutes by number. now: the video's clock."""

    live: dict[str, FoundIncident] = {}
    settled: dict[str, FoundIncident] = {}
    minutes: dict[int, FoundMinute] = {}
    now: float | None = None


class Book(msgspec.Struct):
    """Rules, as KV has them, that hold after a sequence in EVENTS."""

    after: int
    rules: bytes


class EpisodeState(msgspec.Struct):
    """A pass. Sequences are of EVENTS, times by the log's clock.

    next, verdicts: from which it reads on. last: when the last event with `quality` was stored. newest: the last event
    of it that was read live. waiting: how many of those with `quality` are to be read. live, settled: the camera as it
    was said, and as it is.
    """

    next: int
    verdicts: int
    last: float
    newest: int
    live: CameraState
    settled: CameraState
    books: list[Book]
    comparison: ComparisonState = msgspec.field(default_factory=ComparisonState)
    waiting: int = 1


class LateState(msgspec.Struct):
    """Incidents that were found late: those that wait for a verdict, those that last, verdicts that came before."""

    asked: dict[str, AskedIncident] = {}
    lasting: dict[str, Incident] = {}
    early: dict[str, Verdict] = {}


class SecondPassState(msgspec.Struct):
    """All of a camera's passes, the oldest first."""

    episodes: list[EpisodeState] = []
    late: LateState = msgspec.field(default_factory=LateState)


def second_pass_id(id: str) -> str:
    """The id under which the second pass says what live analytics says under `id`."""
    return f"settled/{id.removeprefix('analytics/')}"


def is_second_pass(id: str) -> bool:
    """Whether the second pass says something under an id."""
    return id.startswith("settled/")


def second_pass_out(out: Out) -> Out:
    return Out(out.what, second_pass_id(out.id))
