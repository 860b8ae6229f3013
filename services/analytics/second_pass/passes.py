"""The second passes of a camera, one after the other, and of a partition's cameras, as its `Extension`. No I/O.

    passes = Passes(limits, partition.cameras, rules_of)
    passes.read("lobby", stored, event)             # before live analytics reads it
    outs = passes.advance_camera(page, now)

A failure ends the passes of that camera, and harms nothing that is live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from services.analytics import metrics
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.partitions.extension import Extension
from services.analytics.partitions.reading import StoredVerdict
from services.analytics.second_pass.episode import Episode, start_episode
from services.analytics.second_pass.late import LateIncidents
from services.analytics.second_pass.state import (
    MAX_BOOKS,
    MAX_EPISODES,
    Book,
    EpisodeState,
    SecondPassState,
    is_second_pass,
)
from services.analytics.second_pass.versions import BestVersion, First
from shared.bus.direct import Stored
from shared.contract import rules
from shared.contract.events import Detections, Verdict
from shared.contract.rules import Rules
from shared.runtime.telemetry import logger

# It begins a pass, or joins the last one; it was read before, or too many passes wait.
Deferral: TypeAlias = Literal["begun", "joined", "known", "refused"]


class SecondPassCamera:
    """The passes of one camera, one after the other; falsy once nothing is left. late: its late incidents."""

    def __init__(self, name: str, limits: Limits, state: SecondPassState | None = None) -> None:
        self.name = name
        self._limits = limits
        self._s = state or SecondPassState()
        self.late = LateIncidents(name, limits.verify_s, self._s.late)
        self._head: Episode | None = None
        for episode in self._s.episodes:
            # Segments that waited for a missing one are read again.
            episode.next = min([episode.next, *episode.live.waiting, *episode.second_pass.waiting])

    def __bool__(self) -> bool:
        """Whether there is anything to do or to remember."""
        return bool(self._s.episodes) or bool(self.late)

    def state(self) -> SecondPassState:
        """Return the current state."""
        if self._head is not None:
            self._s.episodes[0] = self._head.state()
        return self._s

    # ---- what happens live

    def defer(self, live: CameraAnalytics, book: Rules, first: First) -> Deferral:
        """Assign an event with `quality`, before live analytics reads it; return the outcome."""
        last = self._last(first.at)
        if last is not None:
            last.last = max(last.last, first.at)
            last.waiting += first.seq > last.newest
            return "joined"
        if first.seq <= live.reached:
            return "known"
        if len(self._s.episodes) >= MAX_EPISODES:
            return "refused"
        self._s.episodes.append(start_episode(live.state(), book, first))
        return "begun"

    def read_live(self, seq: int, at: float) -> None:
        """Note that live analytics has read an event."""
        if last := self._last(at):
            last.newest = max(last.newest, seq)

    def use(self, book: Rules, after: int) -> Outs:
        """Schedule the rules that live analytics uses after a sequence; no results follow yet."""
        data = rules.encode(book)
        for episode in self._s.episodes:
            if episode.books[-1].rules != data:
                # The first rules are in force and stay; the oldest scheduled ones may be dropped.
                episode.books = [episode.books[0], *episode.books[1:][1 - MAX_BOOKS :], Book(after, data)]
        return []

    def verdict(self, verdict: Verdict) -> Outs:
        """Apply a verdict about an incident that live analytics does not know."""
        return self.late.verdict(verdict, wait=bool(self._s.episodes))

    def waiting(self) -> int:
        """Return the number of segments with deferred frames to be read."""
        return sum(episode.waiting for episode in self._s.episodes)

    # ---- the second pass

    @property
    def place(self) -> EpisodeState | None:
        """The reading position of the first pass; None if there is none."""
        return self._s.episodes[0] if self._s.episodes else None

    @property
    def head(self) -> Episode:
        """The first pass. Raises IndexError if there is none."""
        if self._head is None:
            self._head = Episode(self.name, self._limits, self._s.episodes[0], self.late)
        return self._head

    def end(self, now: float) -> Outs:
        """End the first pass."""
        outs = self.head.end(now)
        del self._s.episodes[0]
        self._head = None
        if not self._s.episodes:
            self._s.late.early.clear()
        return outs

    def give_up(self) -> Outs:
        """Give up all passes. Their lasting incidents end, and pending verdicts are dropped."""
        outs = self.late.end_all()
        self._s = SecondPassState()
        self.late = LateIncidents(self.name, self._limits.verify_s, self._s.late)
        self._head = None
        return outs

    def resume(self, book: Rules, after: int) -> Outs:
        """Resume from the checkpoint, by the current rules. Raises any error that the checkpoint causes."""
        if self._s.episodes:
            _ = self.head
        return self.use(book, after)

    def is_due(self, until: float) -> bool:
        """Whether the first pass yields results if nothing more was stored until then."""
        deadline = self._head.deadline() if self._head else None
        return deadline is not None and deadline <= until

    def _last(self, at: float) -> EpisodeState | None:
        """Return the last pass, if an event that was stored at a time belongs to it."""
        last = self._s.episodes[-1] if self._s.episodes else None
        return last if last and at <= last.ends_at() else None


class Page(NamedTuple):
    """What a camera's first pass reads next, and the sequence after it.

    until: nothing else was stored until then, by the log's clock; 0 if that is not known. over: whether the pass is
    complete.
    """

    camera: str
    read: Sequence[BestVersion | StoredVerdict]
    next: int
    until: float
    over: bool


class Passes(Extension):
    """See the module. by_camera: the passes of each camera that has any."""

    kind = "settled"
    state_type = SecondPassState

    def __init__(
        self, limits: Limits, cameras: Mapping[str, CameraAnalytics], rules_of: Callable[[str], Rules]
    ) -> None:
        super().__init__(limits, cameras, rules_of)
        self.by_camera: dict[str, SecondPassCamera] = {}
        self._log = logger("analytics")

    # ---- the seam

    def state(self, camera: str) -> SecondPassState | None:
        return self.by_camera[camera].state() if camera in self.by_camera else None

    def restore(self, camera: str, state: SecondPassState) -> None:
        self.changed.add(camera)
        if live := self._live.get(camera):
            self.by_camera[camera] = SecondPassCamera(camera, self._limits, state)
            self._work(camera, lambda c: c.resume(self._rules_of(camera), live.reached))

    def restart(self, camera: str, problem: Exception | None = None) -> None:
        if problem:
            self._log.error("a second pass can't be written: it is given up", camera=camera, problem=repr(problem))
            metrics.PASSES.labels("failed").inc()
        metrics.DROPPED.labels("passes").inc()
        self._forget(camera)

    def owns(self, id: str) -> bool:
        return is_second_pass(id)

    def has(self, camera: str) -> bool:
        return camera in self.by_camera

    def read(self, camera: str, stored: Stored, event: Detections) -> None:
        at = stored.time.timestamp()
        if event.quality and self._limits.settle_s:
            passes = self.by_camera.get(camera) or SecondPassCamera(camera, self._limits)
            first = First(stored.seq, stored.headers.get("ce-id", ""), at, event)
            outcome = passes.defer(self._live[camera], self._rules_of(camera), first)
            if outcome in ("begun", "refused"):
                metrics.PASSES.labels(outcome).inc()
            if outcome in ("begun", "joined"):
                self.by_camera[camera] = passes
        if camera in self.by_camera:
            self.changed.add(camera)
            self.by_camera[camera].read_live(stored.seq, at)

    def use(self, camera: str, rules: Rules) -> None:
        self._work(camera, lambda c: c.use(rules, self._live[camera].reached))

    def verdict(self, verdict: Verdict) -> Outs:
        return self._work(verdict.camera, lambda c: c.verdict(verdict))

    def refused(self, camera: str, incident: str) -> Outs | None:
        if camera in self.by_camera and self.by_camera[camera].late.has(incident):
            return self._work(camera, lambda c: c.late.refused(incident))
        return None

    def due(self, at: float) -> Iterator[tuple[str, Outs]]:
        for name, camera in list(self.by_camera.items()):
            if (deadline := camera.late.deadline()) is not None and deadline <= at:
                yield name, self._work(name, lambda c: c.late.due(at))

    def advance(self, position: int) -> None:
        # A pass may still publish the ids of its camera.
        self.published.forget(position, keep=self.by_camera)

    # ---- the second pass

    def advance_camera(self, page: Page, now: float) -> Outs:
        """Process what a camera's first pass reads next. now: by the log's clock."""
        return self._work(page.camera, lambda c: _advance(c, page, now))

    def _forget(self, camera: str) -> None:
        """Remove a camera's passes, ended or given up."""
        self.by_camera.pop(camera, None)
        self.published.drop(camera)
        self.changed.add(camera)

    def _work(self, name: str, work: Callable[[SecondPassCamera], Outs]) -> Outs:
        camera = self.by_camera.get(name)
        if camera is None:
            return []
        self.changed.add(name)
        try:
            outs = work(camera)
        except Exception as e:
            self._log.error("a camera's second passes are given up", camera=name, exc_info=e)
            metrics.PASSES.labels("failed").inc()
            outs = camera.give_up()
        if not camera:
            self._forget(name)
        return outs


_AMENDED = tuple(metrics.AMENDED.labels(what) for what in ("late_incident", "false_alarm", "minute"))


def _advance(camera: SecondPassCamera, page: Page, now: float) -> Outs:
    outs: Outs = []
    head, place = camera.head, camera.place
    assert place
    for item in page.read:
        if isinstance(item, StoredVerdict):
            outs += head.verdict(item.verdict, item.at, now)
            continue
        outs += head.read(item.first, item.better, now)
        if item.outcome != "whole":
            place.waiting = max(0, place.waiting - 1)
            metrics.DEFERRED.labels(item.outcome).inc()
    place.next, place.verdicts = max(place.next, page.next), max(place.verdicts, page.next)
    outs += head.due(page.until, now)
    if page.over:
        outs += camera.end(now)
        metrics.PASSES.labels("ended").inc()
    for counter, more in zip(_AMENDED, head.take_counts(), strict=True):
        counter.inc(more)
    return outs
