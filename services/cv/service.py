"""cv's functions for the worker loop: pictures of a segment, objects in batches of these, and the event."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nats.aio.client import Client

from services.cv.detectors import Detector
from services.cv.looking import Wants, frames_of, images_of, joined, unknown
from services.cv.models import Models
from services.cv.settings import CvSettings
from services.cv.skipping import Check, Match, SkipPolicy
from services.cv.tiles import Grid
from shared.contract import segment
from shared.contract.cameras import Camera, CameraDirectory
from shared.contract.events import DetectedObject, Detections, Event, SegmentRef, Unchanged
from shared.contract.work.reanalysis import Seen, Task
from shared.elastic.costs import DecodeWork, RelativeCosts
from shared.elastic.levels import LEVELS, Level
from shared.elastic.sampling_plan import SamplingPlan
from shared.runtime.telemetry import logger
from shared.video.decode import Decoded, Image
from shared.video.segments import SegmentDecoder
from shared.worker import Message
from shared.worker.extension import Extension

# The detector's minimum score: a camera's own min_score may be below the service's.
SCORE_FLOOR = 0.1
_NO_WISHES = Camera(url="")


@dataclass(frozen=True, slots=True)
class Pictures:
    """A segment's sampled frames, and the filters of their objects.

    detector: of its camera. size: (width, height) of the upright video. offsets: the frames' times, in seconds from the
    segment's first. images: of the grid of `wants`, frame by frame. plan: its sampling plan. decoded: the cost of
    decoding. check: whether it needs an inference; if it has a match, there are no images.
    """

    segment: segment.Segment
    detector: Detector
    size: tuple[int, int]
    offsets: list[float]
    images: list[Image]
    wants: Wants
    plan: SamplingPlan
    decoded: DecodeWork
    check: Check | None

    @property
    def weight(self) -> int:
        return len(self.images)

    @property
    def match(self) -> Match | None:
        """The former inference that answers for it."""
        return self.check.match if self.check else None


class Learning(Extension[Pictures]):
    """Lets a skip policy learn from each stored result: one that could not be published is computed again."""

    def __init__(self, policy: SkipPolicy) -> None:
        self._policy = policy

    def stored(self, prepared: Pictures, event: Event) -> None:
        if prepared.check and isinstance(event, Detections):
            frames = [frame.objects for frame in event.frames]
            self._policy.record_result(prepared.check, frames, images=len(frames) * prepared.wants.grid.views)


class CvService:
    """One per process. Only the loop's device thread uses detectors. skip: None if each segment has an inference.

    model: the default one. It is part of the ids of all events: a segment has one event, also if its camera's model
    changes between two deliveries.
    """

    name = "cv"
    skip: SkipPolicy | None = None

    def __init__(self, client: Client, models: Models, settings: CvSettings) -> None:
        js = client.jetstream()
        self.model = models.default.name
        self._models = models
        self._costs = RelativeCosts()
        self._settings = settings
        self._classes = settings.classes()
        self._cameras = CameraDirectory(js)
        budget, device = settings.budget(), settings.decoding_device()
        self.segments = SegmentDecoder(js, threads=settings.cv_threads, budget=budget, service="cv", device=device)
        # For recorded video: its cost must not count against the live camera.
        self._recorded = SegmentDecoder(
            js, threads=settings.cv_threads, budget=budget, service="cv-second", device=device
        )
        self._log = logger("cv")
        for label, remedy in unknown(self._classes or (), models.labels):
            self._log.warning("CV_CLASSES has a label that no model has", label=label, remedy=remedy)

    @property
    def extensions(self) -> list[Extension[Pictures]]:
        """The worker's extensions that it needs."""
        return [Learning(self.skip)] if self.skip else []

    async def prepare(self, message: Message) -> Pictures:
        """Decode the frames to analyse. Raises BadSegment for no segment, or one that can't be decoded."""
        head = segment.from_message(message.subject, message.headers)
        camera = await self._cameras.get(head.camera) or _NO_WISHES
        detector, grid = self._models.of(head.camera, camera.model), Grid.of(camera.tiles or self._settings.cv_tiles)
        size, within = detector.size, detector.within
        level, wanted = message.level(high=camera.priority == "high"), camera.fps or self._settings.cv_fps
        images_a_frame = grid.views * self._costs.of(detector.name)
        plan = _plan(head, level, images_a_frame, wanted=wanted, floor=self._settings.cv_fps_floor)
        least = self._settings.cv_min_score if camera.min_score is None else camera.min_score
        classes = frozenset(camera.classes) if camera.classes else self._classes
        wants, check = Wants(grid, least, classes), None
        # A backfill is always analysed in full.
        if self.skip and not camera.always and not message.revises:
            check = await self.skip.begin(message, head, wants, detector.name)

        def cut(decoded: Decoded) -> tuple[Decoded, list[Image]]:
            return decoded, images_of(decoded, grid, size)

        decoded, images = await self.segments.decode(
            head,
            message.data,
            cut,
            fps=plan.fps,
            size=grid.canvas(size),
            within=grid.canvas(within),
            frames=head.frames,
            probe=check.probe if check else None,
        )
        if decoded.damaged:
            self._log.warning("segment is damaged", camera=head.camera, origin=message.origin, reason=decoded.damaged)
        offsets = [picture.offset for picture in decoded.pictures]
        if check and check.match:
            # Nothing is deferred: the offsets are those of a full inference.
            offsets, images, plan = spread(head.duration, plan.wanted), [], plan.first_frame_only()
        return Pictures(head, detector, decoded.size, offsets, images, wants, plan, decoded.work, check)

    async def prepare_reanalysis(self, task: Task, segments: list[bytes]) -> Pictures:
        """Decode all wanted frames of recorded video, for the default model.

        Raises BadSegment if it can't be decoded.
        """
        head, grid, detector = task.segment, Grid.of(task.tiles), self._models.default
        size, within = detector.size, detector.within
        decoded, images = await self._recorded.decode_alone(
            head.camera,
            segments[-1],
            lambda decoded: (decoded, images_of(decoded, grid, size)),
            before=segments[:-1],
            fps=task.fps,
            size=grid.canvas(size),
            within=grid.canvas(within),
            frames=head.frames,
        )
        wants = Wants(grid, task.min_score, frozenset(task.classes) or None)
        offsets = [picture.offset for picture in decoded.pictures]
        plan = _plan(head, LEVELS[0], grid.views, wanted=task.fps, floor=task.fps)
        return Pictures(head, detector, decoded.size, offsets, images, wants, plan, decoded.work, None)

    def seen(self, task: Task, prepared: Pictures, result: list[list[DetectedObject]]) -> Seen:
        """Return the answer for recorded video."""
        width, height = prepared.size
        objects = tuple(tuple(prepared.wants.of(found)) for found in result)
        return Seen(id=task.id, width=width, height=height, offsets=tuple(prepared.offsets), objects=objects)

    def infer(self, batch: Sequence[Pictures]) -> list[list[list[DetectedObject]]]:
        """Return objects by segment and frame. Each detector has one call, across segments."""
        views: dict[str, Iterator[list[DetectedObject]]] = {}
        for name, detector in {item.detector.name: item.detector for item in batch}.items():
            images = [image for item in batch if item.detector is detector for image in item.images]
            began = time.perf_counter()
            views[name] = iter(detector.detect(images))
            self._costs.record(name, len(images), time.perf_counter() - began)
        return [
            item.match.objects(len(item.offsets))
            if item.match
            else joined(views[item.detector.name], item.wants.grid, len(item.offsets))
            for item in batch
        ]

    def event(self, message: Message, prepared: Pictures, result: list[list[DetectedObject]]) -> Detections:
        head, match = prepared.segment, prepared.match
        wanted = [prepared.wants.of(found) for found in result]
        return Detections(
            camera=head.camera,
            segment=SegmentRef(stream=message.stream, seq=message.seq, epoch=head.epoch, n=head.n),
            start=head.start,
            duration=head.duration,
            width=prepared.size[0],
            height=prepared.size[1],
            model=prepared.detector.name,
            frames=frames_of(head, prepared.offsets, wanted),
            timing=message.timing,
            quality=prepared.plan.quality,
            unchanged=Unchanged(since=dt.datetime.fromtimestamp(match.since, dt.UTC)) if match else None,
        )

    def frame_times(self, prepared: Pictures) -> list[float]:
        start = prepared.segment.start.timestamp()
        return [start + offset for offset in prepared.offsets]


def _plan(head: segment.Segment, level: Level, images: float, *, wanted: float, floor: float) -> SamplingPlan:
    return SamplingPlan.of(
        level,
        wanted=wanted,
        floor=floor,
        duration=head.duration,
        frames=head.frames,
        megapixels=head.width * head.height / 1e6,
        images=images,
    )


def spread(duration: float, count: int) -> list[float]:
    """Return the offsets of `count` frames of a segment, as `sample` chooses them, in seconds."""
    return [k * duration / count for k in range(count)]
