"""`tidegate reanalyze`: analyse recordings again."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec
from click.core import ParameterSource

from shared.contract.cameras import LONGEST_CAPTION_S, SHORTEST_CAPTION_S
from shared.models import devices
from shared.runtime.errors import SettingError, TidegateError
from tidegate.client.times import clock, length, now_here
from tidegate.commands.options import FILE, OVER_ZERO, TIME, Number, data_option, extra, screen
from tidegate.local import running
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.waiting import Tell, telling

if TYPE_CHECKING:
    from tidegate.archive.captions.captioner import Captioner, Rate
    from tidegate.archive.captions.chapters import Chapter
    from tidegate.archive.frames.probe import ProbeResult
    from tidegate.archive.job import Job, Piece
    from tidegate.archive.planning import RunRequest
    from tidegate.archive.results.progress_publisher import ProgressPublisher
    from tidegate.archive.results.report import Summary
    from tidegate.archive.run import Engine, Progress, Run
    from tidegate.archive.sync_store import SyncStore

COMMANDLINE = ParameterSource.COMMANDLINE
NEEDED_MODULES = ("pyarrow", "scipy", "openvino", "matplotlib", "PIL")
FPS = Number(0, 120, min_open=True)
CAPTION_INTERVAL = Number(SHORTEST_CAPTION_S, LONGEST_CAPTION_S)
# A Ray cluster on this machine, without setup.
LOCAL_RAY = "here"


class Backends(NamedTuple):
    """The engine that analyses frames, and the captioner if the run has captions."""

    engine: Engine
    captioner: Captioner | None


class Rates(NamedTuple):
    """Measured rates; None if there is no such work."""

    frames: ProbeResult | None
    captions: Rate | None


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Execution options of a run. ray: an address, HERE, or None for local processes. price: of a worker per hour.
    events: whether to publish past events to search.
    """

    workers: int | None
    threads: int
    ray: str | None
    price: float | None
    events: bool
    dry_run: bool
    as_json: bool


@click.command()
@data_option
@click.option("--camera", "cameras", multiple=True, help="Camera to analyse. May be repeated. Default: all.")
@click.option("--since", metavar="TIME", default="1d", show_default=True, help=f"Start of the time range: {TIME}.")
@click.option("--until", metavar="TIME", help="End of the time range, in the same formats. Default: now.")
@click.option("--store", help="Location of recordings: a folder, s3://…, gs://…, az://…. Default: RECORDER_STORE.")
@click.option(
    "--output", help="Location for results: a folder, s3://…, gs://…, az://…. Default: in the data directory."
)
@click.option("--resume", metavar="OUTPUT", help="Location of an unfinished run's results; continue that run.")
@click.option("--model", help="Model for detection, in the format of CV_MODEL, its default. 'none' detects nothing.")
@click.option(
    "--embed", metavar="MODEL", help="Model for embeddings, in the format of EMBED_MODEL. Default: no embeddings."
)
@click.option("--caption", is_flag=True, help="Caption with the vision language model of the VLM_ settings.")
@click.option("--caption-every", type=CAPTION_INTERVAL, help="Seconds between captions. Default: the camera's, or 60.")
@click.option("--caption-prompt", help="Prompt for captions. Default: the camera's.")
@click.option("--device", help="Device of the models, in the format of CV_DEVICE, its default.")
@click.option("--fps", type=FPS, help="Analysed frames per second of video. Default: the camera's.")
@click.option("--min-score", type=Number(0, 1), help="Minimum score of an object, 0 to 1. Default: the camera's.")
@click.option("--tiles", metavar="CxR", help="Tiles to analyse too: columns and rows. Default: the camera's.")
@click.option("--class", "classes", multiple=True, help="Label to report. May be repeated. Default: the camera's.")
@click.option("--rules", type=FILE, help="File of rules for incidents. Default: the rules of each camera.")
@click.option("--workers", type=click.IntRange(1, 10_000), help="Number of workers. Default: one per core, or per GPU.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads per model.")
@click.option("--ray", metavar="ADDRESS", help="Address of a Ray cluster: 'auto', 'head:6379', or 'here' to start one.")
@click.option("--live", is_flag=True, help="Run on cv's live replicas, in their idle time.")
@click.option("--price", type=OVER_ZERO, help="Price of a worker-hour. The captioner counts as a worker.")
@click.option("--events", is_flag=True, help="Publish results for 'tidegate find' and 'tidegate summarize'.")
@click.option("--dry-run", is_flag=True, help="Print an estimate of time and cost, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print totals as JSON.")
def reanalyze(data: Path | None, resume: str | None, **arguments: Any) -> None:
    """Analyse recordings again: with another model, more frames or other rules.

    \b
    Estimate the cost:      tidegate reanalyze --since 7d --dry-run --price 1.2
    A better model:         tidegate reanalyze --since 7d --model hf:PekingU/rtdetr_v2_r18vd --device cuda
    Vectors for search:     tidegate reanalyze --since 7d --model none --embed openvino:efficientnet_lite3
    Captions:               VLM_URL=http://127.0.0.1:8000/v1 tidegate reanalyze --since 1d --model none --caption
    Other rules:            tidegate reanalyze --camera lobby --since 2d --rules new.yaml
    Resume a run:           tidegate reanalyze --resume ~/.tidegate/reanalyzed/20261129-130500-3f9a
    On idle replicas:       tidegate reanalyze --since 2d --rules new.yaml --live
    On a cluster:           tidegate reanalyze --ray auto --store s3://video --output s3://video-results

    The command writes detections, vectors, captions, tracks and incidents as Parquet, with a report. A resumed run does
    not repeat written results. It needs recordings: 'tidegate up --record'.
    """
    with extra("archive", "reanalyze"):
        # Check before hours of work, not after them.
        for name in NEEDED_MODULES:
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
    from shared.runtime import telemetry

    telemetry.log_aside()
    options = RunOptions(**{name: arguments.pop(name) for name in RunOptions.__struct_fields__})
    data_dir = data or running.default_data()
    if resume:
        _check_resume_options()
        _resume(resume, data_dir, options)
        return
    if arguments["caption"]:
        _check_captions()
    from tidegate.archive.planning import request_from_options

    _start(request_from_options(data_dir, _to_stderr, **arguments), data_dir, options)


def _check_resume_options() -> None:
    """Raise SettingError for options that define a run: --resume continues it as it was planned."""
    context = click.get_current_context()
    for option in context.command.params:
        allowed = ("data", "resume", *RunOptions.__struct_fields__)
        if option.name and option.name not in allowed and context.get_parameter_source(option.name) is COMMANDLINE:
            raise SettingError(f"--resume goes on as it was planned: leave out {option.opts[0]}, or begin another run")


def _check_captions() -> None:
    """Raise SettingError if the extra for captions is missing."""
    with extra("vlm", "--caption"):
        import tidegate.archive.captions.captioner  # noqa: F401


def _to_stderr(text: str) -> None:
    echo(text, err=True)


def _start(request: RunRequest, data_dir: Path, options: RunOptions) -> None:
    """Plan a run, print the estimate, and run it. Raise TidegateError."""
    from tidegate.archive import planning
    from tidegate.archive.captions.chapters import chapters
    from tidegate.archive.job import with_embed_size
    from tidegate.archive.run import Run, check_unused
    from tidegate.archive.sync_store import SyncStore

    job, pieces, site = asyncio.run(planning.plan(request, data_dir))
    now = now_here()
    if not pieces:
        raise SettingError(
            f"nothing is recorded from {clock(request.since, now)} to {clock(request.until, now)} in {request.store}: "
            "see 'tidegate recordings list'"
        )
    if not site.reached:
        echo(
            "no system answers: the run is without the current hour, and uses defaults instead of cameras' own "
            "settings and rules",
            err=True,
        )
    if options.events:
        _check_events(data_dir, job)
    with SyncStore(job.output, "--output") as results:
        check_unused(results)
        with _engine(job, data_dir, options) as engine, _captioner(job, pieces) as captioner:
            backends, todo = Backends(engine, captioner), chapters(job, pieces)
            rates = _measure(backends, job, pieces, todo)
            job = captioner.job if captioner else job
            _print_estimate(job, pieces, todo, backends, rates, options)
            if not options.dry_run:
                view = rates.frames.view if rates.frames else None
                _run(
                    Run.create(with_embed_size(job, view), pieces, results),
                    results,
                    backends,
                    rates,
                    data_dir,
                    options,
                )


def _resume(output: str, data_dir: Path, options: RunOptions) -> None:
    """Load an unfinished run and continue it. Raise TidegateError."""
    from tidegate.archive.planning import absolute_location, key_file
    from tidegate.archive.run import Run
    from tidegate.archive.sync_store import SyncStore

    with SyncStore(absolute_location(output), "--resume") as results:
        run = Run.load(results)
        # The key file may have moved since.
        run.job = msgspec.structs.replace(run.job, key_file=key_file(None) or run.job.key_file)
        if options.events:
            _check_events(data_dir, run.job)
        if run.todo and not options.as_json:
            echo(f"{len(run.pieces) - len(run.todo)} of {len(run.pieces)} pieces are done")
        captioning = _captioner(run.job, run.pieces) if run.to_caption else contextlib.nullcontext()
        with _engine(run.job, data_dir, options) as engine, captioning as captioner:
            backends = Backends(engine, captioner)
            rates = _measure(backends, run.job, run.todo, run.to_caption)
            if run.todo or run.to_caption:
                _print_estimate(run.job, run.todo, run.to_caption, backends, rates, options)
            if not options.dry_run:
                _run(run, results, backends, rates, data_dir, options)


def _run(run: Run, results: SyncStore, backends: Backends, rates: Rates, data_dir: Path, options: RunOptions) -> None:
    """Analyse, track, caption and report, with progress in the console. Raise TidegateError."""
    from tidegate.archive.results.progress_publisher import ProgressPublisher

    try:
        with telling() as tell, ProgressPublisher(data_dir, run, _engine_name(run.job, options)) as publisher:
            _analyze(run, backends.engine, rates.frames, tell, publisher)
            _follow(run, backends.engine, tell, publisher)
            if backends.captioner:
                _caption(run, backends.captioner, tell, publisher)
            summary = _write_report(run, results, tell, publisher)
        if options.events:
            _publish_events(data_dir, run, results)
    except (KeyboardInterrupt, TidegateError):
        also = " --events" if options.events else ""
        echo(f"stopped; go on with: tidegate reanalyze --resume {run.job.output}{also}", err=True)
        raise
    if publisher.error:
        echo(f"the console does not know how this run ended: {publisher.error}", err=True)
    _print_summary(summary, run.job, options)


def _engine_name(job: Job, options: RunOptions) -> str:
    return "live" if job.is_live else "ray" if options.ray else "processes"


def _analyze(
    run: Run, engine: Engine, probe_result: ProbeResult | None, tell: Tell, publisher: ProgressPublisher
) -> None:
    """Analyse frames and show the progress. Raise TidegateError."""
    now = now_here()
    for state in run.analyze(engine, probe_result.size if probe_result else None):
        ends = now_here() + dt.timedelta(seconds=state.left_s)
        tell(f"{state.done / run.frames:.0%}, {state.per_s:,.0f} frames/s, ends at {clock(ends, now)}")
        publisher.analyzing(state.per_s, ends)


def _follow(run: Run, engine: Engine, tell: Tell, publisher: ProgressPublisher) -> None:
    """Compute tracks and incidents. Raise TidegateError."""
    publisher.update(state="following", frames_per_s=0.0, ends=None)
    tracks = incidents = 0
    for camera in run.track(engine):
        tell(f"tracked {camera.camera}")
        tracks, incidents = tracks + camera.tracks, incidents + camera.incidents
        publisher.update(tracks=tracks, incidents=incidents)


def _caption(run: Run, captioner: Captioner, tell: Tell, publisher: ProgressPublisher) -> None:
    """Caption and show the progress. Raise TidegateError."""
    now = now_here()
    publisher.update(state="captioning")

    def report_progress(state: Progress) -> None:
        ends = now_here() + dt.timedelta(seconds=state.left_s)
        tell(f"captioned {state.done:,} of {run.captions:,}, {state.per_s:,.2g} a second, ends at {clock(ends, now)}")
        publisher.update(captions_done=state.done, ends=ends)

    run.caption(captioner, report_progress)
    publisher.update(ends=None)


def _write_report(run: Run, results: SyncStore, tell: Tell, publisher: ProgressPublisher) -> Summary:
    """Write the report and return its summary. Raise TidegateError."""
    from tidegate.archive.results import report
    from tidegate.archive.sync_store import open_recordings

    tell("writing the report")
    with open_recordings(run.job) as recordings:
        summary = report.write_report(run, recordings, results)
    sums = {name: sum(getattr(camera, name) for camera in summary.cameras) for name in ("tracks", "incidents")}
    publisher.update(state="done", **sums)
    return summary


def _check_events(data_dir: Path, job: Job) -> None:
    """Check before hours of work that events can be published. Raise TidegateError."""
    from tidegate.archive.results.past_events import PastEventPublisher

    with PastEventPublisher(data_dir, job):
        pass


def _publish_events(data_dir: Path, run: Run, results: SyncStore) -> None:
    """Publish the results to search, as past events. Raise TidegateError."""
    from services.search.settings import SearchSettings
    from tidegate.archive.results import past_events as past

    with telling() as tell, past.PastEventPublisher(data_dir, run.job) as event_publisher:
        for progress in past.publish_past(run.job, run.pieces, run.chapters, results, event_publisher):
            tell(f"published {progress.parts:,} of {progress.of:,} parts, {progress.events:,} events")
    max_age_s = SearchSettings().search_max_age_s
    if run.job.analyzes_frames and run.job.since < now_here() - dt.timedelta(seconds=max_age_s):
        echo(f"search forgets what is older than SEARCH_MAX_AGE_S: {length(max_age_s)}, unless that was set", err=True)


@contextlib.contextmanager
def _engine(job: Job, data_dir: Path, options: RunOptions) -> Iterator[Engine]:
    """Yield the engine of the run: live replicas, local processes or Ray. Raise TidegateError."""
    from tidegate.archive.engines.live_engine import LiveEngine
    from tidegate.archive.engines.local_engine import LocalEngine

    if job.is_live:
        if options.ray:
            raise SettingError("this run is for cv's replicas: leave out --ray, or begin another run without --live")
        with LiveEngine(data_dir, options.workers or os.cpu_count() or 1, _to_stderr) as live:
            yield live
        return
    if not options.ray or not job.analyzes_frames:
        default_workers = 1 if devices.is_visible_gpu(job.device) else max(1, (os.cpu_count() or 1) // options.threads)
        yield LocalEngine(options.workers or default_workers, options.threads)
        return
    with extra("archive", "--ray"):
        import ray  # noqa: F401
    from tidegate.archive.engines.ray_engine import cluster

    address = None if options.ray == LOCAL_RAY else options.ray
    with cluster(address, device=job.device, threads=options.threads, max_workers=options.workers) as engine:
        yield engine


@contextlib.contextmanager
def _captioner(job: Job, pieces: Sequence[Piece]) -> Iterator[Captioner | None]:
    """Yield the captioner, or None if the run has no captions. Raise TidegateError."""
    if job.caption is None:
        yield None
        return
    _check_captions()
    from tidegate.archive.captions.captioner import Captioner, load_vlm_settings

    settings = load_vlm_settings(job.caption)
    with contextlib.ExitStack() as stack:
        with telling() as tell:
            tell(f"waiting for {settings.vlm_model or 'the model that captions'}")
            captioner = stack.enter_context(Captioner(job, pieces, settings))
        yield captioner


def _measure(backends: Backends, job: Job, pieces: Sequence[Piece], chapters: Sequence[Chapter]) -> Rates:
    """Measure the rates of both backends. Raise TidegateError."""
    frames = _probe_frames(backends.engine, job, pieces) if pieces and job.analyzes_frames else None
    captions = _probe_captions(backends.captioner, chapters) if backends.captioner and chapters else None
    return Rates(frames, captions)


def _probe_captions(captioner: Captioner, chapters: Sequence[Chapter]) -> Rate:
    """Measure the rate of the captioner on a sample. Raise TidegateError."""
    with telling() as tell:
        tell(f"captioning some, to measure {captioner.model}")
        return captioner.probe(chapters)


def _probe_frames(engine: Engine, job: Job, pieces: Sequence[Piece]) -> ProbeResult:
    """Measure the rate of the engine on a sample, and warn about unknown labels. Raise TidegateError."""
    from services.cv.looking import unknown
    from tidegate.archive.frames.probe import sample

    with telling() as tell:
        tell(f"loading {job.vision_models}, and measuring")
        probe_result = engine.probe(job, sample(pieces))
    labels = (label for look in job.looks.values() for label in look.classes if probe_result.labels)
    for label, remedy in unknown(labels, probe_result.labels):
        echo(f"{job.model} has no label {label!r}: {remedy}", err=True)
    return probe_result


def _print_estimate(
    job: Job,
    pieces: Sequence[Piece],
    chapters: Sequence[Chapter],
    backends: Backends,
    rates: Rates,
    options: RunOptions,
) -> None:
    """Print the estimate of time and cost."""
    from tidegate.archive.estimate import estimate_lines, estimate_run
    from tidegate.archive.run import count_stretches

    frames, captions = rates
    estimate = estimate_run(
        job,
        pieces,
        frames_per_s=frames.frames_per_s if frames else 1.0,
        workers=backends.engine.workers,
        captions=count_stretches(chapters),
        captions_per_s=captions.per_s if captions else 1.0,
        cost_per_hour=options.price,
    )
    if options.as_json and options.dry_run:
        measured: dict[str, Any] = {"frames_per_s": round(frames.frames_per_s, 2)} if frames else {}
        measured |= {"captions_per_s": round(captions.per_s, 3), "captioner": captions.model} if captions else {}
        echo(json.dumps(estimate._asdict() | {"model": job.model} | measured))
    elif not options.as_json:
        echo("\n".join(estimate_lines(estimate, job, backends.engine.workers, frames, captions)))


def _print_summary(summary: Summary, job: Job, options: RunOptions) -> None:
    from tidegate.archive.results import report

    if options.as_json:
        echo(msgspec.json.encode(summary).decode())
        return
    records.show(screen(), report.FIELDS, report.summary_rows(summary), "nothing was analysed")
    for line in report.summary_notes(summary):
        echo(line)
    echo(f"report: {job.output}/{report.PAGE}")
