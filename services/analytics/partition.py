"""A fixed part of all cameras, by their ids: what one process has at a time. Pure.

    partition = Partition(7, limits, rules_of)
    outs = partition.read(stored)
    for camera, outs in partition.due(at): ...

Time is the log's: when what is read was stored. A camera's deadlines before that come first, each at its own time, so
that what comes out is the same whoever reads, and whenever.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import msgspec

from services.analytics import metrics
from services.analytics.camera import Camera, Limits, Outs, State
from services.analytics.rules import Rules
from shared.direct import Stored
from shared.events import Detections, Verdict
from shared.telemetry import logger

# What Python and JSON can both say, with room to reckon.
FIRST_YEAR, LAST_YEAR = 1971, 9999


def partition_of(camera: str, count: int) -> int:
    """Which of `count` partitions a camera belongs to."""
    return zlib.crc32(camera.encode()) % count


def camera_of(subject: str) -> str:
    """The camera of an event's subject."""
    return subject.rpartition(".")[2]


class Partition:
    """See the module. changed: cameras not yet stored.

    position: the sequence in EVENTS from which it reads on. verdicts: the same, of verdicts.
    """

    def __init__(self, number: int, limits: Limits, rules_of: Callable[[str], Rules]) -> None:
        self.number = number
        self.position = self.verdicts = 0
        self.cameras: dict[str, Camera] = {}
        self.changed: set[str] = set()
        self._limits = limits
        self._rules_of = rules_of
        self._log = logger("analytics")

    def restore(self, camera: str, state: State) -> None:
        """Go on with a camera where its checkpoint is."""
        self.cameras[camera] = Camera(camera, self._limits, self._rules_of(camera), state)

    def use(self, camera: str, rules: Rules) -> Outs:
        """A camera's rules have changed."""
        known = self.cameras.get(camera)
        if known is None:
            return []
        self.changed.add(camera)
        return known.use(rules)

    def read(self, stored: Stored) -> Outs:
        """A message of `events.detections.*`."""
        name = camera_of(stored.subject)
        try:
            event = msgspec.json.decode(stored.data, type=Detections)
            if event.camera != name:
                raise msgspec.ValidationError(f"its camera is {event.camera!r}")
            if not all(FIRST_YEAR <= t.year < LAST_YEAR for t in (event.start, *(f.time for f in event.frames))):
                raise msgspec.ValidationError("its times are out of any clock's range")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            metrics.READ.labels("unreadable").inc()
            self._log.warning("not an event of detections", subject=stored.subject, seq=stored.seq, error=str(e))
            return []
        camera = self.cameras.get(name)
        if camera is None:
            camera = self.cameras[name] = Camera(name, self._limits, self._rules_of(name))
        at = stored.time.timestamp()
        self.changed.add(name)
        metrics.READ.labels("taken").inc()
        return _counted(camera, lambda: camera.read(stored.seq, event, at))

    def verdict(self, said: Verdict) -> Outs:
        """A vision language model has answered about one of its cameras."""
        camera = self.cameras.get(said.camera)
        if camera is None:
            return []
        self.changed.add(said.camera)
        return camera.verdict(said)

    def due(self, at: float) -> Iterator[tuple[str, Outs]]:
        """All has been read that was stored until `at`: what was waited for until then."""
        for name, camera in self.cameras.items():
            if (deadline := camera.deadline()) is not None and deadline <= at:
                self.changed.add(name)
                yield name, _counted(camera, lambda c=camera: c.due(at))  # type: ignore[misc]

    def first_needed(self) -> int:
        """The sequence from which a successor must read, once all states are stored."""
        held = (min(state.held) for c in self.cameras.values() if (state := c.state()).held)
        return min([self.position, *held])


def _counted(camera: Camera, work: Callable[[], Outs]) -> Outs:
    """What counts of it has moved, in metrics."""
    order, incidents = camera.order, camera.incidents
    before = order.late, order.repeated, order.gaps, camera.objects, incidents.suppressed
    outs = work()
    after = order.late, order.repeated, order.gaps, camera.objects, incidents.suppressed
    late, repeated, gaps, objects, suppressed = (b - a for a, b in zip(before, after, strict=True))
    metrics.READ.labels("late").inc(late)
    metrics.READ.labels("repeated").inc(repeated)
    metrics.GAPS.inc(gaps)
    metrics.OBJECTS.inc(objects)
    metrics.SUPPRESSED.inc(suppressed)
    return outs
