"""`tidegate model compare`: where two detectors differ, before one replaces the other."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from nats.aio.client import Client

from services.cv.settings import CvSettings
from shared.client import registry
from shared.contract import names
from shared.models import measured
from shared.models.machine import describe
from shared.runtime.errors import SettingError, TidegateError
from shared.video.pictures import jpeg
from tidegate.client import files
from tidegate.commands.model import footage as sources
from tidegate.commands.options import COUNT, FILE, FOLDER, SECONDS, Number, combined, data_option, with_admin
from tidegate.local.running import default_data, prepare
from tidegate.models import arriving, candidate, store, verdict
from tidegate.models.agreement import Count
from tidegate.models.candidate import Candidate
from tidegate.models.comparison import Comparison, Side
from tidegate.models.differences import differences
from tidegate.models.footage import Footage
from tidegate.models.verdict import Compared, Verdict
from tidegate.view import records
from tidegate.view.inert import echo, echo_json, one_line
from tidegate.view.screen import Screen
from tidegate.view.waiting import Tell, telling

_FIELDS = ("objects", *map(records.Right, ("both", "only A", "only B", "other class", "mean IoU", "score of B")))
# Classes of a table; --json has all of them.
_MOST_ROWS = 12


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options. Those of None are as each detector has them. live: seconds; None: stored video."""

    video: Path | None
    cameras: tuple[str, ...]
    live: float | None
    fps: float
    min_score: float | None
    device: str | None
    threads: int | None
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    aliases: tuple[str, ...]
    classes: str

    def candidates(self, home: Path, a: str, b: str) -> tuple[Candidate, Candidate]:
        """Return the detectors that A and B name. Raises SettingError and ModelError."""
        common = {
            "CV_DEVICE": self.device or "",
            "CV_MIN_SCORE": "" if self.min_score is None else f"{self.min_score:g}",
            "CV_INFER_THREADS": "" if self.threads is None else str(self.threads),
        }
        common = {name: value for name, value in common.items() if value}
        own_a, own_b = _pairs(self.only_a, "--a"), _pairs(self.only_b, "--b")
        return candidate.find(home, a, common | own_a), candidate.find(home, b, common | own_b)

    def comparison(self, a: Candidate, b: Candidate, tell: Tell) -> Comparison:
        """Load both detectors."""
        sides = []
        for found in (a, b):
            tell(f"loading {found.words}")
            sides.append(Side(found.load(), found.least))
        wanted = frozenset(label.strip() for label in self.classes.split(",") if label.strip())
        return Comparison(*sides, fps=self.fps, aliases=_pairs(self.aliases, "--alias"), wanted=wanted or None)


_source_options = combined(
    click.option("--video", type=FILE, help="Video file to compare on. Default: scenes of the demo."),
    click.option(
        "--camera",
        "cameras",
        multiple=True,
        help="Camera of the running system to compare on: its last segments. May be repeated.",
    ),
    click.option(
        "--live",
        type=SECONDS,
        metavar="SECONDS",
        help="Compare on the segments that arrive from now on, for SECONDS: of each --camera, or of all cameras.",
    ),
    click.option(
        "--fps",
        type=Number(0, 120, min_open=True),
        default=CvSettings().cv_fps,
        show_default=True,
        help="Frames analysed per second of video.",
    ),
)
_detector_options = combined(
    click.option("--min-score", type=Number(0, 1), help="Minimum score of an object. Default: 0.4, or as stored."),
    click.option("--device", help="Device of both, as CV_DEVICE. Default: cpu, or as stored."),
    click.option("--threads", type=COUNT, help="Threads of each model on a CPU. Default: 1, or as stored."),
    click.option(
        "--a",
        "only_a",
        multiple=True,
        metavar="NAME=VALUE",
        help="Setting of cv for A alone: CV_PRECISION=f32, CV_MODEL_FORMAT=yolox, … May be repeated.",
    ),
    click.option("--b", "only_b", multiple=True, metavar="NAME=VALUE", help="Setting of cv for B alone."),
    click.option(
        "--alias",
        "aliases",
        multiple=True,
        metavar="LABEL=LABEL",
        help="Two labels of one class, such as bike=bicycle. May be repeated. Darknet's names of COCO are known.",
    ),
    click.option("--classes", default="", help="Labels to compare, with commas between them. Default: all."),
)


@click.command()
@data_option
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@_source_options
@_detector_options
@click.option("--out", type=FOLDER, help="Folder for the pictures. Default: models in --data.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(data: Path | None, a: str, b: str, out: Path | None, as_json: bool, **options: object) -> None:
    """Compare what detectors A and B find in the same frames, before B replaces A.

    \b
    With the default:       tidegate model compare openvino:ssd_mobilenet_v2_coco yolo11n.onnx
    On a camera's video:    tidegate model compare street yolo11n.onnx --camera lobby
    On all cameras, live:   tidegate model compare street yard --live 120 --fps 1
    Two precisions:         tidegate model compare yard.xml yard.xml --a CV_PRECISION=f32 --b CV_PRECISION=bf16

    A and B are values of CV_MODEL, or models of 'tidegate model add', with their stored settings. Boxes of one class
    agree from an IoU of 0.5 on. Pictures show the frames where they differ most. With --live it reads with a consumer
    of its own and publishes nothing: workers and events are not affected. Ctrl-C prints the result so far.
    """
    request = msgspec.convert(options, Request)
    if request.video and (request.cameras or request.live):
        raise SettingError("--video excludes --camera and --live: give one source")
    for camera in request.cameras:
        names.check_camera(camera)
    home = prepare(data or default_data())
    models = store.folder(home)
    measured.prepare(models)
    folder = files.folder(out, "--out") if out else models
    found, machine = request.candidates(home, a, b), describe()
    with telling() as tell:
        comparison = request.comparison(*found, tell)
        source, error = _run(data, request, comparison, tell)
    if not comparison.tally.frames:
        raise error or TidegateError(_nothing(request, comparison))
    result = verdict.judge(comparison, *found, source, machine)
    result = msgspec.structs.replace(result, pictures=_draw(folder, comparison, found))
    echo_json(result) if as_json else _print(result, comparison, is_file=request.video is not None)
    if error:
        raise error


def _run(data: Path | None, request: Request, comparison: Comparison, tell: Tell) -> tuple[str, TidegateError | None]:
    """Compare on the chosen video. Return (its source in words, what ended a live comparison early)."""
    if request.live is None:
        read = []
        for found in _stored(data, request, tell):
            for n, part in enumerate(found.parts, 1):
                tell(f"{found.source}: segment {n} of {len(found.parts)}")
                comparison.add(part)
            read.append(found.source)
        return "; ".join(read), None
    cameras = f"cameras {', '.join(request.cameras)}" if request.cameras else "all cameras"
    began, error = time.monotonic(), None
    try:
        with_admin(data, _live(request, comparison, tell))
    except TidegateError as e:
        error = e
    passed = min(request.live, time.monotonic() - began)
    return f"{cameras}, live for {passed:.0f} s{' until an error' if error else ''}", error


def _stored(data: Path | None, request: Request, tell: Tell) -> Iterator[Footage]:
    """Yield the video of one source at a time: a camera's may be 64 MB."""
    for camera in request.cameras:
        tell(f"reading the last segments of {camera}")
        yield sources.of_camera(data, camera)
    if not request.cameras:
        yield sources.of_file(request.video, tell) if request.video else sources.scenes(tell)


def _live(request: Request, comparison: Comparison, tell: Tell) -> Callable[[Client], Coroutine[Any, Any, None]]:
    async def work(client: Client) -> None:
        for camera in request.cameras:
            if sentence := await registry.missing(client.jetstream(), camera):
                echo(f"{sentence}\nwaiting for its video all the same", err=True)
        try:
            await arriving.follow(client, request.cameras, request.live or 0.0, comparison, tell)
        except asyncio.CancelledError:
            # Ctrl-C is a normal end: the result so far is printed.
            echo("interrupted: this is the result so far", err=True)

    return work


def _nothing(request: Request, comparison: Comparison) -> str:
    if skipped := "; ".join(comparison.reasons):
        return f"no segment could be compared: {skipped}"
    return (
        f"no segment arrived in {request.live or 0:g} s: 'tidegate camera list' shows the cameras and their state; "
        "without --live, --camera compares on stored video"
    )


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return the values of NAME=VALUE. Raise SettingError."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (sign and name.strip() and value.strip()):
            raise SettingError(f"{option} {text!r} can't be used: give a name and a value with = between them")
        found[name.strip()] = value.strip()
    return found


def _draw(folder: Path, comparison: Comparison, found: tuple[Candidate, Candidate]) -> str:
    """Write the contact sheet for its owner alone: it shows people's video. Return its path; empty if none differs."""
    if not comparison.worst:
        return ""
    called = (each.name or side.detector.name for each, side in zip(found, (comparison.a, comparison.b), strict=True))
    stem = "-".join(re.sub(r"[^A-Za-z0-9_-]", "-", name)[:60] for name in ("compare", *called))
    path = folder / f"{stem}.jpg"
    with files.written(path, "--out") as part:
        if part != path:
            part.touch(mode=0o600)
        part.write_bytes(jpeg(differences([(worst.shown, worst.agreement) for worst in comparison.worst])))
    return str(path)


def _print(result: Verdict, comparison: Comparison, *, is_file: bool) -> None:
    _line("A", _described(result.a))
    _line("B", _described(result.b))
    _line("video", f"{result.footage}; {result.segments} segments, {result.frames} frames")
    for reason in comparison.reasons:
        _line("skipped", f"{reason}")
    rows = [_row("all", result.total), *_class_rows(result), *(_row(n, c) for n, c in result.sizes.items())]
    echo("")
    records.show_table(Screen(), _FIELDS, rows)
    echo("")
    for a, b, number in result.confusions[:_MOST_ROWS]:
        _line("other class", f"{number} x {a} of A is {b} of B")
    _line("result", result.conclusion)
    _line("time", result.pace)
    for warning in result.warnings:
        _line("warning", warning)
    for number, worst in enumerate(result.worst, 1):
        clock = f"{worst.time.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]
        where = f"at {worst.offset_s:.1f} s" if is_file else f"{worst.camera} {clock}"
        _line(f"frame {number}", f"{where}: {worst.words}")
    legend = "A's boxes are blue, B's orange; thick where they differ"
    _line("pictures", f"{result.pictures}: {legend}" if result.pictures else "none: they differ in no frame")
    _line("next", f"{result.b.candidate.next_step}; go back by '{result.a.candidate.way_back}'")


def _class_rows(result: Verdict) -> Iterator[tuple[str, ...]]:
    for n, (label, count) in enumerate(result.classes.items()):
        if n == _MOST_ROWS:
            yield (f"{len(result.classes) - n} more: --json", *[""] * (len(_FIELDS) - 1))
            return
        yield _row(label, count)


def _row(name: str, count: Count) -> tuple[str, ...]:
    numbers = (count.agreed, count.only_a, count.only_b, count.other_class)
    overlap = "" if count.iou is None else f"{count.iou:.2f}"
    change = "" if count.score_change is None else f"{count.score_change:+.3f}"
    return (name, *map(str, numbers), overlap, change)


def _described(found: Compared) -> str:
    size = "any size" if found.size is None else "{}x{}".format(*found.size)
    return f"{found.candidate.words}; {size}, {found.labels} labels, from a score of {found.min_score:g} on"


def _line(name: str, value: str) -> None:
    echo(f"{name:<14}{one_line(value)}")
