"""The report of a run: pictures, a plot, its events, and a summary from the stored streams.

    run = await read_back(client)                  # both streams, as JetStream has them
    summary = summarise(run, observed)             # observed: phases, samples, the autoscaler's totals
    await write(js, run, summary, observed, Path("demo-output"))

Every acknowledged segment is looked up among the events by its sequence. A segment that cv has acknowledged without an
event or a dead letter is lost; one that cv has not acknowledged is waiting.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from PIL.Image import Image
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from shared.client import dlq
from shared.client.rates import quantile
from shared.contract import names, segment
from shared.contract.events import Detections, DetectionsRevision, Frame
from shared.runtime.errors import BadSegment
from shared.video import gop
from shared.video.decode import MAX_PACKETS, decode
from tidegate.demo import timeline
from tidegate.demo.timeline import Phase
from tidegate.drawing import detections as pictures
from tidegate.local.scaling.autoscaler import ScalerState
from tidegate.view.monitor import Sample, frames_wanted
from tidegate.view.screen import Screen

READ_TIMEOUT_S = 5.0
MOST_IN_OVERVIEW = 3


class StoredDetections(msgspec.Struct, frozen=True):
    """A stored detections event. at: JetStream's time of storage, Unix seconds."""

    event: Detections
    at: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """segments, dead: sequences in MEDIA. settled: the ack floor of cv.

    lines: every event, as JSON. revised: segments with a revision.
    """

    segments: frozenset[int]
    detections: list[StoredDetections]
    dead: frozenset[int]
    settled: int
    lines: list[bytes]
    revised: int = 0


class Observations(msgspec.Struct, frozen=True):
    """Data of the monitor and the autoscaler. began: wall clock of the samples' zero, Unix seconds."""

    phases: list[Phase]
    samples: list[Sample]
    began: float
    scaler: ScalerState


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Segments by outcome. duplicated: those with more than one event."""

    segments: int
    processed: int
    waiting: int
    dead_lettered: int
    lost: int
    duplicated: int


class PhaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies in seconds of the frames that were filmed in this phase; None if it has no frames."""

    name: str
    seconds: float
    cameras: int
    most_waiting: int
    workers: int
    latency_p50_s: float | None
    latency_p99_s: float | None


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """frames_later: deferred frames. revised: segments with a revision. saving: saved share of the
    replica-seconds of a static fleet for the peak. machine_limit: a sentence if more workers were needed than the
    machine has cores.
    """

    finished: str
    seconds: float
    segments: Tally
    frames_analysed: int
    frames_later: int
    revised: int
    objects: dict[str, int]
    latency_p50_s: float | None
    latency_p99_s: float | None
    peak_replicas: int
    replica_seconds: float
    replica_busy_seconds: float
    static_replica_seconds: float
    saving: float
    phases: list[PhaseSummary]
    machine_limit: str = ""


async def read_back(client: Client) -> Run:
    """Read all headers of MEDIA and all of EVENTS. The run needs its own data directory: the streams are the run."""
    js = client.jetstream()
    consumer = await js.consumer_info(names.MEDIA, "cv")
    dead = [letter async for letter in dlq.entries(client, "cv") if letter.stream == names.MEDIA]
    segments = [m.metadata.sequence.stream async for m in _stored(js, names.MEDIA, headers_only=True)]
    stored = []
    lines = []
    revised = 0
    async for message in _stored(js, names.EVENTS, headers_only=False):
        lines.append(message.data)
        if message.subject.startswith(names.event("detections", "")):
            event = msgspec.json.decode(message.data, type=Detections)
            stored.append(StoredDetections(event, message.metadata.timestamp.timestamp()))
        elif message.subject.startswith(names.event(names.revised("detections"), "")):
            revised += msgspec.json.decode(message.data, type=DetectionsRevision).lost is None
    return Run(
        segments=frozenset(segments),
        detections=stored,
        dead=frozenset(letter.stream_seq for letter in dead),
        settled=consumer.ack_floor.stream_seq if consumer.ack_floor else 0,
        lines=lines,
        revised=revised,
    )


async def _stored(js: JetStreamContext, stream: str, *, headers_only: bool) -> AsyncIterator[Msg]:
    """Yield all messages that are in the stream at the start, oldest first."""
    last = (await js.stream_info(stream)).state
    if last.messages == 0:
        return
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, headers_only=headers_only)
    subscription = await js.subscribe(">", stream=stream, ordered_consumer=True, config=config)
    try:
        while True:
            message = await subscription.next_msg(timeout=READ_TIMEOUT_S)
            yield message
            if message.metadata.sequence.stream >= last.last_seq:
                return
    finally:
        await subscription.unsubscribe()


def tally(segments: Iterable[int], events: Iterable[int], dead: frozenset[int], settled: int) -> Tally:
    """Count segments by outcome; pure. events: the MEDIA sequence of each stored event, with repeats."""
    acknowledged = set(segments)
    results = Counter(seq for seq in events if seq in acknowledged)
    without = acknowledged - results.keys()
    return Tally(
        segments=len(acknowledged),
        processed=len(results),
        waiting=sum(seq > settled and seq not in dead for seq in without),
        dead_lettered=len(without & dead),
        lost=sum(seq <= settled and seq not in dead for seq in without),
        duplicated=sum(n > 1 for n in results.values()),
    )


def summarise(run: Run, observed: Observations) -> RunSummary:
    """Return the summary of a run; pure."""
    phases, scaler = observed.phases, observed.scaler
    seconds = phases[-1].end - phases[0].start if phases else 0.0
    frames = [(f, s.at) for s in run.detections for f in s.event.frames]
    latencies = [(f.time.timestamp() - observed.began, at - f.time.timestamp()) for f, at in frames]
    latencies_s = [latency for _, latency in latencies]
    static = scaler.peak_replicas * seconds
    return RunSummary(
        finished=segment.rfc3339(dt.datetime.now(dt.UTC)),
        seconds=round(seconds, 1),
        segments=tally(run.segments, (s.event.segment.seq for s in run.detections), run.dead, run.settled),
        frames_analysed=len(frames),
        frames_later=sum(frames_wanted(s.event) - len(s.event.frames) for s in run.detections),
        revised=run.revised,
        objects=dict(Counter(o.label for f, _ in frames for o in f.objects).most_common()),
        latency_p50_s=_rounded(quantile(latencies_s, 0.50)),
        latency_p99_s=_rounded(quantile(latencies_s, 0.99)),
        peak_replicas=scaler.peak_replicas,
        replica_seconds=round(scaler.replica_seconds, 1),
        replica_busy_seconds=round(scaler.busy_seconds, 1),
        static_replica_seconds=round(static, 1),
        saving=round(1 - scaler.replica_seconds / static, 3) if static else 0.0,
        machine_limit=machine_limit(max((s.needed for s in observed.samples), default=0), os.cpu_count() or 1),
        phases=[_of_phase(p, observed.samples, latencies) for p in phases],
    )


def machine_limit(needed: int, cores: int) -> str:
    """Return a sentence if the machine prevented workers from following the load; else an empty one."""
    if needed <= cores:
        return ""
    return f"this machine is the limit: the surge needed {needed} workers, and it has {cores} cores"


def _of_phase(phase: Phase, samples: Sequence[Sample], latencies: Sequence[tuple[float, float]]) -> PhaseSummary:
    phase_samples = [s for s in samples if phase.start <= s.at < phase.end]
    phase_latencies = [latency for at, latency in latencies if phase.start <= at < phase.end]
    return PhaseSummary(
        name=phase.name,
        seconds=round(phase.end - phase.start, 1),
        # The number at the end of the phase: cameras are added and removed one by one.
        cameras=phase_samples[-1].cameras_online if phase_samples else 0,
        most_waiting=max(((s.pending or 0) + (s.ack_pending or 0) for s in phase_samples), default=0),
        workers=max((s.desired for s in phase_samples), default=0),
        latency_p50_s=_rounded(quantile(phase_latencies, 0.50)),
        latency_p99_s=_rounded(quantile(phase_latencies, 0.99)),
    )


async def write(js: JetStreamContext, run: Run, summary: RunSummary, observed: Observations, folder: Path) -> None:
    """Write the report into `folder`, over that of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("camera-*.png"), folder / "overview.png"):
        old.unlink(missing_ok=True)
    (folder / "events.jsonl").write_bytes(b"".join(line + b"\n" for line in run.lines))
    (folder / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    with (folder / "summary.txt").open("w") as f:
        Screen(file=f, width=100, highlight=True).print(table(summary))
    best = best_frames(run.detections)
    drawn = {camera: image for camera, (stored, frame) in best.items() if (image := await _draw(js, stored, frame))}
    for camera, image in drawn.items():
        image.save(folder / f"camera-{camera}.png", compress_level=3)
    plot = folder / "timeline.png"
    timeline.plot(observed.samples, observed.phases, plot, "Workers follow the video")
    chosen = different({camera: frame for camera, (_, frame) in best.items() if camera in drawn}, MOST_IN_OVERVIEW)
    pictures.overview([drawn[camera] for camera in chosen], plot, folder / "overview.png")


def best_frames(detections: Iterable[StoredDetections]) -> dict[str, tuple[StoredDetections, Frame]]:
    """Return the most informative frame of each camera; pure. Cameras without detections are omitted."""
    best: dict[str, tuple[StoredDetections, Frame]] = {}
    for stored in detections:
        camera = stored.event.camera
        for frame in stored.event.frames:
            if frame.objects and (camera not in best or _frame_score(frame) > _frame_score(best[camera][1])):
                best[camera] = stored, frame
    return best


def different(frames: Mapping[str, Frame], count: int) -> list[str]:
    """Return up to `count` cameras, best first; those with new labels come before repeats. Pure."""
    best = sorted(frames, key=lambda camera: -_frame_score(frames[camera]))
    shown: set[frozenset[str]] = set()
    unique: list[str] = []
    repeats: list[str] = []
    for camera in best:
        labels = frozenset(o.label for o in frames[camera].objects)
        (repeats if labels in shown else unique).append(camera)
        shown.add(labels)
    return (unique + repeats)[:count]


def _frame_score(frame: Frame) -> float:
    """Rate a frame: high scores count, and distinct labels count more than many of one kind."""
    best: dict[str, float] = {}
    for o in frame.objects:
        best[o.label] = max(best.get(o.label, 0.0), o.score)
    return sum(score**2 for score in best.values()) + 0.05 * len(frame.objects)


async def _draw(js: JetStreamContext, stored: StoredDetections, frame: Frame) -> Image | None:
    """Decode and annotate the frame from the event's segment; return None if the segment has expired."""
    event = stored.event
    try:
        raw = await js.get_msg(names.MEDIA, event.segment.seq, direct=True)
        before = await gop.earlier(js, segment.from_headers(raw.headers))
        latencies_s = decode(raw.data or b"", fps=MAX_PACKETS, before=before).pictures
    except (NotFoundError, BadSegment):
        return None
    offset = (frame.time - event.start).total_seconds()
    picture = min(latencies_s, key=lambda p: abs(p.offset - offset))
    when = frame.time.strftime("%H:%M:%S.%f")[:-5]
    late = stored.at - frame.time.timestamp()
    caption = f"{event.camera}    {when} UTC    segment {event.segment.seq} of MEDIA    event stored {late:.1f} s later"
    return pictures.annotated(picture.pixels, frame.objects, caption)


def table(summary: RunSummary) -> RenderableType:
    """Return the summary for a terminal of 80 columns."""
    s = summary.segments
    phases = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("phase", "seconds", "cameras", "most waiting", "workers", "p50", "p99"):
        phases.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
    for p in summary.phases:
        numbers = (f"{p.seconds:.0f}", f"{p.cameras}", f"{p.most_waiting}", f"{p.workers}")
        phases.add_row(p.name, *numbers, _seconds(p.latency_p50_s), _seconds(p.latency_p99_s))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    is_exact = not (s.lost or s.duplicated)
    counts = f"{s.segments} stored by JetStream, {s.processed} processed"
    others = [f"{n} {what}" for n, what in ((s.waiting, "still waiting"), (s.dead_lettered, "dead-lettered")) if n]
    facts.add_row("segments", ", ".join([counts, *others]))
    facts.add_row(
        "promise", Text(f"{s.lost} lost, {s.duplicated} duplicated", style="bold green" if is_exact else "bold red")
    )
    facts.add_row("latency", f"p50 {_seconds(summary.latency_p50_s)}, p99 {_seconds(summary.latency_p99_s)}, "
                  "from a frame's wall clock to its stored event")  # fmt: skip
    objects = ", ".join(f"{label} {n}" for label, n in list(summary.objects.items())[:5])
    facts.add_row("seen", f"{objects or 'nothing'}, in {summary.frames_analysed} frames")
    if summary.frames_later:
        facts.add_row(
            "deferred",
            f"{summary.frames_later} frames, while workers started; segments revised later: {summary.revised}",
        )
    facts.add_row(
        "workers",
        f"{summary.replica_seconds:.0f} replica-seconds used, {summary.replica_busy_seconds:.0f} of them busy; a fleet "
        f"that always has the peak's {summary.peak_replicas}: {summary.static_replica_seconds:.0f}",
    )
    if summary.machine_limit:
        facts.add_row("limit", Text(summary.machine_limit, style="yellow"))
    facts.add_row("saved", Text(f"{summary.saving:.0%}", style="bold green" if summary.saving > 0 else ""))
    return Group(phases, Text(), facts)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
