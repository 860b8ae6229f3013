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

from services.vlm.stretches import LONGEST_S
from shared.contract.cameras import SHORTEST_CAPTION_S
from shared.runtime.errors import SettingError, TidegateError
from tidegate.client.times import clock, length, now_here
from tidegate.commands.options import FILE, OVER_ZERO, TIME, Number, data_option, extra, screen
from tidegate.local import running
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.waiting import Tell, telling

if TYPE_CHECKING:
    from tidegate.archive.captioner import Captioner, Rate
    from tidegate.archive.chapters import Chapter
    from tidegate.archive.job import Job, Piece
    from tidegate.archive.planning import RunRequest
    from tidegate.archive.probe import ProbeResult
    from tidegate.archive.progress_publisher import ProgressPublisher
    from tidegate.archive.report import Summary
    from tidegate.archive.run import CaptionProgress, Engine, Run
    from tidegate.archive.sync_store import SyncStore

COMMANDLINE = ParameterSource.COMMANDLINE
NEEDED = ("pyarrow", "scipy", "openvino", "matplotlib", "PIL")
FPS = Number(0, 120, min_open=True)
EVERY = Number(SHORTEST_CAPTION_S, LONGEST_S)
# A Ray cluster on this machine, without setup.
HERE = "here"


class Team(NamedTuple):
    """The engine that analyses frames, and the captioner if the run has captions."""

    engine: Engine
    captioner: Captioner | None


class Speed(NamedTuple):
    """Measured rates; None if there is no such work."""

    frames: ProbeResult | None
    captions: Rate | None


class Choices(msgspec.Struct, frozen=True, kw_only=True):
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
@click.option("--caption-every", type=EVERY, help="Seconds between captions. Default: the camera's, or 60.")
@click.option("--caption-prompt", help="Prompt for captions. Default: the camera's.")
@click.option("--device", help="Device of the models: cpu, cuda or cuda:<n>. Default: CV_DEVICE.")
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
def reanalyze(data: Path | None, resume: str | None, **options: Any) -> None:
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
        # Before hours of work, and not after them.
        for name in NEEDED:
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
    from shared.runtime import telemetry

    telemetry.log_aside()
    how = Choices(**{name: options.pop(name) for name in Choices.__struct_fields__})
    home = data or running.default_data()
    if resume:
        _check_alone()
        _resumed(resume, home, how)
        return
    if options["caption"]:
        _check_captions()
    from tidegate.archive.options import request_from_options

    _begun(request_from_options(home, _aside, **options), home, how)


def _check_alone() -> None:
    """Raises SettingError for options that say what a run is, beside --resume: that was said when it was planned."""
    context = click.get_current_context()
    for option in context.command.params:
        known = ("data", "resume", *Choices.__struct_fields__)
        if option.name and option.name not in known and context.get_parameter_source(option.name) is COMMANDLINE:
            raise SettingError(f"--resume goes on as it was planned: leave out {option.opts[0]}, or begin another run")


def _check_captions() -> None:
    """Raises SettingError."""
    with extra("vlm", "--caption"):
        import tidegate.archive.captioner  # noqa: F401


def _aside(text: str) -> None:
    echo(text, err=True)


def _begun(asked: RunRequest, home: Path, how: Choices) -> None:
    """Plan a run, say what it takes, and do it. Raises TidegateError."""
    from tidegate.archive import planning
    from tidegate.archive.chapters import chapters
    from tidegate.archive.job import with_embed_size
    from tidegate.archive.run import Run, check_unused
    from tidegate.archive.sync_store import SyncStore

    job, pieces, known = asyncio.run(planning.plan(asked, home))
    now = now_here()
    if not pieces:
        raise SettingError(
            f"nothing is recorded from {clock(asked.since, now)} to {clock(asked.until, now)} in {asked.store}: see "
            "'tidegate recordings list'"
        )
    if not known.reached:
        echo("no system answers: what its running hour has is left out, and cameras' own settings and rules", err=True)
    if how.events:
        _check_events(home, job)
    with SyncStore(job.output, "--output") as results:
        check_unused(results)
        with _engine(job, home, how) as engine, _captioner(job, pieces) as captioner:
            team, todo = Team(engine, captioner), chapters(job, pieces)
            speed = _measured(team, job, pieces, todo)
            job = captioner.job if captioner else job
            _tell(job, pieces, todo, team, speed, how)
            if not how.dry_run:
                view = speed.frames.view if speed.frames else None
                _done(Run.create(with_embed_size(job, view), pieces, results), results, team, speed, home, how)


def _resumed(output: str, home: Path, how: Choices) -> None:
    """Raises TidegateError."""
    from tidegate.archive.options import absolute_location, key_file
    from tidegate.archive.run import Run
    from tidegate.archive.sync_store import SyncStore

    with SyncStore(absolute_location(output), "--resume") as results:
        run = Run.load(results)
        # The file may be elsewhere by now.
        run.job = msgspec.structs.replace(run.job, key_file=key_file(None) or run.job.key_file)
        if how.events:
            _check_events(home, run.job)
        if run.todo and not how.as_json:
            echo(f"{len(run.pieces) - len(run.todo)} of {len(run.pieces)} pieces are done")
        captioning = _captioner(run.job, run.pieces) if run.to_caption else contextlib.nullcontext()
        with _engine(run.job, home, how) as engine, captioning as captioner:
            team = Team(engine, captioner)
            speed = _measured(team, run.job, run.todo, run.to_caption)
            if run.todo or run.to_caption:
                _tell(run.job, run.todo, run.to_caption, team, speed, how)
            if not how.dry_run:
                _done(run, results, team, speed, home, how)


def _done(run: Run, results: SyncStore, team: Team, speed: Speed, home: Path, how: Choices) -> None:
    """Look, follow, caption, report, and have the console show it. Raises TidegateError."""
    from tidegate.archive.progress_publisher import ProgressPublisher

    try:
        with telling() as tell, ProgressPublisher(home, run, _kind(run.job, how)) as shown:
            _look(run, team.engine, speed.frames, tell, shown)
            _follow(run, team.engine, tell, shown)
            if team.captioner:
                _caption(run, team.captioner, tell, shown)
            summary = _reported(run, results, tell, shown)
        if how.events:
            _tell_events(home, run, results)
    except (KeyboardInterrupt, TidegateError):
        also = " --events" if how.events else ""
        echo(f"stopped; go on with: tidegate reanalyze --resume {run.job.output}{also}", err=True)
        raise
    if shown.error:
        echo(f"the console does not know how this run ended: {shown.error}", err=True)
    _show(summary, run.job, how)


def _kind(job: Job, how: Choices) -> str:
    return "live" if job.is_live else "ray" if how.ray else "processes"


def _look(run: Run, engine: Engine, probed: ProbeResult | None, tell: Tell, shown: ProgressPublisher) -> None:
    """Raises TidegateError."""
    now = now_here()
    for state in run.analyze(engine, probed.size if probed else None):
        ends = now_here() + dt.timedelta(seconds=state.left_s)
        tell(f"{state.share:.0%}, {state.frames_per_s:,.0f} frames/s, ends at {clock(ends, now)}")
        shown.analyzing(state.frames_per_s, ends)


def _follow(run: Run, engine: Engine, tell: Tell, shown: ProgressPublisher) -> None:
    """Raises TidegateError."""
    shown.update(state="following", frames_per_s=0.0, ends=None)
    tracks = incidents = 0
    for camera in run.track(engine):
        tell(f"followed what was seen on {camera.camera}")
        tracks, incidents = tracks + camera.tracks, incidents + camera.incidents
        shown.update(tracks=tracks, incidents=incidents)


def _caption(run: Run, captioner: Captioner, tell: Tell, shown: ProgressPublisher) -> None:
    """Raises TidegateError."""
    now = now_here()
    shown.update(state="captioning")

    def told(state: CaptionProgress) -> None:
        ends = now_here() + dt.timedelta(seconds=state.left_s)
        tell(f"captioned {state.done:,} of {run.captions:,}, {state.per_s:,.2g} a second, ends at {clock(ends, now)}")
        shown.update(captions_done=state.done, ends=ends)

    run.caption(captioner, told)
    shown.update(ends=None)


def _reported(run: Run, results: SyncStore, tell: Tell, shown: ProgressPublisher) -> Summary:
    """Raises TidegateError."""
    from tidegate.archive import report
    from tidegate.archive.sync_store import open_recordings

    tell("writing the report")
    with open_recordings(run.job) as kept:
        summary = report.write_report(run, kept, results)
    sums = {name: sum(getattr(one, name) for one in summary.cameras) for name in ("tracks", "incidents")}
    shown.update(state="done", **sums)
    return summary


def _check_events(home: Path, job: Job) -> None:
    """Before hours of work, and not after them. Raises TidegateError."""
    from tidegate.archive.past_events import PastEventPublisher

    with PastEventPublisher(home, job):
        pass


def _tell_events(home: Path, run: Run, results: SyncStore) -> None:
    """Raises TidegateError."""
    from services.search.settings import SearchSettings
    from tidegate.archive import past_events as past

    with telling() as tell, past.PastEventPublisher(home, run.job) as teller:
        for told in past.publish_past(run.job, run.pieces, run.chapters, results, teller):
            tell(f"told {told.parts:,} of {told.of:,} parts, {told.events:,} events")
    usual = SearchSettings().search_max_age_s
    if run.job.analyzes_frames and run.job.since < now_here() - dt.timedelta(seconds=usual):
        echo(f"search forgets what is older than SEARCH_MAX_AGE_S: {length(usual)}, unless that was set", err=True)


@contextlib.contextmanager
def _engine(job: Job, home: Path, how: Choices) -> Iterator[Engine]:
    """Raises TidegateError."""
    from tidegate.archive.live_engine import LiveEngine
    from tidegate.archive.local_engine import LocalEngine

    if job.is_live:
        if how.ray:
            raise SettingError("this run is for cv's replicas: leave out --ray, or begin another run without --live")
        with LiveEngine(home, how.workers or os.cpu_count() or 1, _aside) as live:
            yield live
        return
    if not how.ray or not job.analyzes_frames:
        usual = 1 if job.device.startswith("cuda") else max(1, (os.cpu_count() or 1) // how.threads)
        yield LocalEngine(how.workers or usual, how.threads)
        return
    with extra("archive", "--ray"):
        import ray  # noqa: F401
    from tidegate.archive.ray_engine import cluster

    address = None if how.ray == HERE else how.ray
    with cluster(address, device=job.device, threads=how.threads, max_workers=how.workers) as engine:
        yield engine


@contextlib.contextmanager
def _captioner(job: Job, pieces: Sequence[Piece]) -> Iterator[Captioner | None]:
    """Raises TidegateError."""
    if job.caption is None:
        yield None
        return
    _check_captions()
    from tidegate.archive.captioner import Captioner, load_vlm_settings

    settings = load_vlm_settings(job.caption)
    with contextlib.ExitStack() as opened:
        with telling() as tell:
            tell(f"waiting for {settings.vlm_model or 'the model that captions'}")
            captioner = opened.enter_context(Captioner(job, pieces, settings))
        yield captioner


def _measured(team: Team, job: Job, pieces: Sequence[Piece], chapters: Sequence[Chapter]) -> Speed:
    """Raises TidegateError."""
    frames = _looked_at_some(team.engine, job, pieces) if pieces and job.analyzes_frames else None
    captions = _captioned_some(team.captioner, chapters) if team.captioner and chapters else None
    return Speed(frames, captions)


def _captioned_some(captioner: Captioner, chapters: Sequence[Chapter]) -> Rate:
    """Raises TidegateError."""
    with telling() as tell:
        tell(f"captioning some, to measure {captioner.model}")
        return captioner.probe(chapters)


def _looked_at_some(engine: Engine, job: Job, pieces: Sequence[Piece]) -> ProbeResult:
    """Raises TidegateError."""
    from services.cv.looking import unknown
    from tidegate.archive.probe import sample

    with telling() as tell:
        tell(f"loading {job.vision_models}, and measuring")
        found = engine.probe(job, sample(pieces))
    asked = (label for look in job.looks.values() for label in look.classes if found.labels)
    for label, remedy in unknown(asked, found.labels):
        echo(f"{job.model} has no label {label!r}: {remedy}", err=True)
    return found


def _tell(
    job: Job, pieces: Sequence[Piece], chapters: Sequence[Chapter], team: Team, speed: Speed, how: Choices
) -> None:
    """What it will take."""
    from tidegate.archive.estimate import estimate_run
    from tidegate.archive.run import count_stretches
    from tidegate.archive.summary_text import estimate_lines

    frames, captions = speed
    found = estimate_run(
        job,
        pieces,
        frames_per_s=frames.frames_per_s if frames else 1.0,
        workers=team.engine.workers,
        captions=count_stretches(chapters),
        captions_per_s=captions.per_s if captions else 1.0,
        cost_per_hour=how.price,
    )
    if how.as_json and how.dry_run:
        rates: dict[str, Any] = {"frames_per_s": round(frames.frames_per_s, 2)} if frames else {}
        rates |= {"captions_per_s": round(captions.per_s, 3), "captioner": captions.model} if captions else {}
        echo(json.dumps(found._asdict() | {"model": job.model} | rates))
    elif not how.as_json:
        echo("\n".join(estimate_lines(found, job, team.engine.workers, frames, captions)))


def _show(summary: Summary, job: Job, how: Choices) -> None:
    from tidegate.archive import summary_text
    from tidegate.archive.report import PAGE

    if how.as_json:
        echo(msgspec.json.encode(summary).decode())
        return
    records.show(screen(), summary_text.FIELDS, summary_text.summary_rows(summary), "nothing was looked at")
    for line in summary_text.summary_notes(summary):
        echo(line)
    echo(f"report: {job.output}/{PAGE}")
