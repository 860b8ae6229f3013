"""Static scenes, for the service: a check of each segment, and its consequences.

Example:
    watched = await scenes.begin(message, head, wants, detector.name)
    decoded = await segments.decode(..., probe=watched.probe)
    scenes.record_result(watched, frames, images)       # once its result is stored
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import NamedTuple

from nats.aio.client import Client
from prometheus_client import Counter

from services.cv.looking import Wants
from services.cv.static_scene import deferring, earlier
from services.cv.static_scene.earlier import Earlier
from services.cv.static_scene.entry import BadScene
from services.cv.static_scene.gate import Gate, SceneKey
from services.cv.static_scene.scene import Match, Scene
from services.cv.static_scene.scene_check import SceneCheck
from services.cv.static_scene.shared_scenes import SharedScenes
from shared.contract.events import DetectedObject
from shared.contract.segment import Segment
from shared.runtime.errors import BadSegment, OverBudget
from shared.runtime.telemetry import logger
from shared.static_scene.picture import SIZE
from shared.video.decode import FrameProbe
from shared.video.segments import SegmentDecoder
from shared.worker import Message
from shared.worker.service import id_of

SEGMENTS = Counter("tidegate_static_scene_segments_total", "segments of a static scene, published without inference")
IMAGES = Counter("tidegate_static_scene_images_total", "images of such segments that skipped inference")
AGAIN = Counter("tidegate_static_scene_backfills_total", "such segments that are backfilled, as the next one has news")
RESTLESS = Counter(
    "tidegate_static_scene_restless_segments_total",
    "segments analysed in full, as too much of their picture changes by itself",
)
REFUSED = Counter("tidegate_static_scene_bad_entries_total", "entries of the bucket scenes that can't be used")

# Number of remembered segments per camera, to know whether the previous one was analysed here.
_REMEMBERED = 4
_MOST_CAMERAS = 2000
# Wanted frames per second of a segment that is judged once more: drops have left by the next one.
_FPS = 5.0


class Watched(NamedTuple):
    """A segment and its scene check. model: that would analyse it, as in events."""

    key: SceneKey
    model: str
    segment: Earlier
    check: SceneCheck

    @property
    def probe(self) -> FrameProbe:
        return self.check.probe

    @property
    def match(self) -> Match | None:
        """The reference that it matches, if nothing else is to be analysed."""
        return self.check.match

    @property
    def start(self) -> float:
        return self.segment.head.start.timestamp()


class _Result(NamedTuple):
    segment: Earlier
    is_unchanged: bool


class StaticScenes:
    """One per process, used in its event loop. watch_s: the interval of full inferences of a camera, in seconds of its
    time. check_s: as of SceneCheck. model: in the ids of events.
    """

    def __init__(self, client: Client, decoder: SegmentDecoder, *, model: str, watch_s: float, check_s: float) -> None:
        self._client = client
        self._model = model
        self._decoder = decoder
        self._gate = Gate(watch_s)
        self._check_s = check_s
        self._shared = SharedScenes(client.jetstream())
        self._results: dict[str, deque[_Result]] = {}
        self._restless: set[str] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._log = logger("static_scene")

    async def begin(self, message: Message, head: Segment, wants: Wants, model: str) -> Watched:
        """Begin the check of a segment."""
        key, start = SceneKey(head.camera, fingerprint_of(model, wants, head)), head.start.timestamp()
        if self._gate.must_read(key, start):
            entry = await self._shared.read(key.camera)
            self._adopt(key, entry.data if entry else None, start)
        watch = self._gate.is_full_inference_due(key, start, head.duration)
        check = self._check(self._gate.scene(key), head, watch=watch)
        return Watched(key, model, Earlier(head, message.seq, message.origin, b""), check)

    def record_result(self, watched: Watched, frames: list[list[DetectedObject]], images: int) -> None:
        """Learn from a stored result. Other replicas are informed concurrently with the loop.

        frames: the objects in each of its frames. images: the number of the detector's inputs for them.
        """
        if watched.match:
            self._gate.record_match(watched.key, watched.match)
            self._remember(watched, is_unchanged=True)
            SEGMENTS.inc()
            IMAGES.inc(images)
            return
        self._remember(watched, is_unchanged=False)
        if watched.check.scene.is_restless:
            self._report_restless(watched.key.camera)
        task = asyncio.create_task(self._follow(watched, frames))
        self._following.add(task)
        task.add_done_callback(self._followed)

    async def _follow(self, watched: Watched, frames: list[list[DetectedObject]]) -> None:
        """Learn from it, defer the previous segment if that may hold the news, share the scene."""
        pictures = watched.check.pictures
        if not pictures or not frames:
            return
        has_news = self._gate.learn(watched.key, pictures, watched.start, frames)
        may_be_late = has_news and watched.check.begins_differently
        if may_be_late and (before := await self._unchanged_before(watched)):
            AGAIN.inc(
                await deferring.defer(self._client, before, id_of("cv", self._model, before.origin), watched.model)
            )
        if self._gate.may_share(watched.key):
            await self._share(watched.key, watched.start)

    def _followed(self, task: asyncio.Task[None]) -> None:
        self._following.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._log.warning("what was learned of a static scene is neither shared nor backfilled", error=repr(error))

    async def _unchanged_before(self, watched: Watched) -> Earlier | None:
        """Return the previous segment, if it was published as unchanged."""
        head = watched.segment.head
        for result in self._results.get(head.camera, ()):
            if (result.segment.head.epoch, result.segment.head.n) == (head.epoch, head.n - 1):
                return result.segment if result.is_unchanged else None
        found = await earlier.before(self._client, head, watched.segment.seq)
        return found if found and await self._was_unchanged(watched, found) else None

    async def _was_unchanged(self, watched: Watched, found: Earlier) -> bool:
        """Whether another replica has likely published it as unchanged, judged by the scene until now."""
        head = found.head
        if self._gate.is_full_inference_due(watched.key, head.start.timestamp(), head.duration):
            return False
        check = self._check(watched.check.scene, head, watch=False)
        try:
            await self._decoder.decode(
                head, found.payload, lambda _: None, fps=_FPS, size=SIZE, frames=head.frames, probe=check.probe
            )
        except (BadSegment, OverBudget):
            return False
        return check.match is not None

    def _check(self, known_scene: Scene, head: Segment, *, watch: bool) -> SceneCheck:
        start = head.start.timestamp()
        return SceneCheck(known_scene, watch=watch, start=start, duration=head.duration, check_s=self._check_s)

    async def _share(self, key: SceneKey, start: float) -> None:
        entry = await self._shared.read(key.camera)
        if entry is None:
            return
        self._adopt(key, entry.data, start)
        if self._gate.may_share(key):
            await self._shared.write(key.camera, self._gate.share(key), entry.revision)

    def _adopt(self, key: SceneKey, data: bytes | None, start: float) -> None:
        try:
            self._gate.adopt(key, data, start)
        except BadScene as e:
            REFUSED.inc()
            self._log.warning("a shared scene is not used, and learned again", camera=key.camera, reason=str(e))

    def _report_restless(self, camera: str) -> None:
        """Count a segment of a restless scene; log its camera once."""
        RESTLESS.inc()
        if camera not in self._restless and len(self._restless) < _MOST_CAMERAS:
            self._restless.add(camera)
            self._log.warning(
                "too much of a camera's picture changes by itself: each segment is analysed in full", camera=camera
            )

    def _remember(self, watched: Watched, *, is_unchanged: bool) -> None:
        results = self._results.pop(watched.key.camera, None) or deque(maxlen=_REMEMBERED)
        results.append(_Result(watched.segment, is_unchanged))
        self._results[watched.key.camera] = results
        if len(self._results) > _MOST_CAMERAS:
            del self._results[next(iter(self._results))]


def fingerprint_of(model: str, wants: Wants, head: Segment) -> str:
    """Return a digest of all that a camera's references depend on: with other settings, none matches."""
    grid, least, classes = wants
    text = repr((model, *grid, least, sorted(classes) if classes is not None else None, head.width, head.height))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
