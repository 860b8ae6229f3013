"""`tidegate model add`: from a detector to its capacity, its ScaledObject, and a setting of `tidegate up`."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from services.cv import detectors, model_spec
from services.cv.detectors import Detector
from services.cv.detectors.exports.detector import ExportedDetector
from services.cv.service import SCORE_FLOOR
from services.cv.settings import CvSettings
from shared.contract.names import check_token
from shared.models import measured
from shared.models.machine import Machine, describe
from shared.models.measured import Rate, StoredModel
from shared.runtime.errors import SettingError
from shared.runtime.settings import value_of
from shared.video.pictures import jpeg
from tidegate.client import files
from tidegate.client.files import written
from tidegate.commands.model import footage as sources
from tidegate.commands.model.loading import device_options
from tidegate.commands.model.show import described
from tidegate.commands.options import COUNT, FILE, FOLDER, OVER_ZERO, SECONDS, Number, data_option
from tidegate.local.running import default_data, prepare
from tidegate.models import capacity, replica, speed, store
from tidegate.models.boxes import analysed, page
from tidegate.models.choice import Choice, choose
from tidegate.models.doubts import doubts, moving
from tidegate.models.footage import Footage
from tidegate.view.inert import echo, one_line
from tidegate.view.waiting import telling

_DEFAULTS = CvSettings()
# More threads help one replica little, and take longer to try.
_MOST_THREADS = 8


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options. threads: of the model; None: the best. min_score: None: as shipped."""

    spec: str
    name: str | None
    family: str
    device: str
    runtime: str
    precision: str
    threads: int | None
    fps: float
    price: float | None
    latency_target_s: float
    min_score: float | None
    seconds: float

    @property
    def least(self) -> float:
        """The score from which an object counts."""
        return _DEFAULTS.cv_min_score if self.min_score is None else self.min_score

    @property
    def counts(self) -> list[int]:
        """The numbers of threads to try."""
        if self.threads or self.device != "cpu":
            return [self.threads or 1]
        return capacity.thread_counts(min(_MOST_THREADS, describe().cores))

    @property
    def decoding(self) -> int:
        """The threads that decode."""
        return int(value_of("CV_THREADS", os.environ) or _DEFAULTS.cv_threads)

    def load(self, threads: int) -> Detector:
        """Load the detector as cv does. Raise ModelError."""
        return detectors.load(
            self.spec,
            format=self.family,
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=threads,
            min_score=min(self.least, SCORE_FLOOR),
            batch_size=max(speed.SIZES),
        )

    def settings(self, batch: int, threads: int) -> dict[str, str]:
        """Return the variables of cv: the chosen ones, and those that differ from the defaults."""
        optional = {
            "CV_MODEL_FORMAT": self.family,
            "CV_DEVICE": "" if self.device == _DEFAULTS.cv_device else self.device,
            "CV_RUNTIME": self.runtime,
            "CV_PRECISION": self.precision,
            "CV_THREADS": "" if self.decoding == _DEFAULTS.cv_threads else str(self.decoding),
            "CV_FPS": "" if self.fps == _DEFAULTS.cv_fps else f"{self.fps:g}",
            "CV_MIN_SCORE": "" if self.min_score is None else f"{self.min_score:g}",
        }
        chosen = {"CV_MODEL": self.spec, "CV_BATCH_SIZE": str(batch), "CV_INFER_THREADS": str(threads)}
        return chosen | {name: value for name, value in optional.items() if value}


@click.command()
@data_option
@click.argument("spec", metavar="MODEL")
@click.option("--format", "family", default="", help="Family of a file, as CV_MODEL_FORMAT. Default: recognised.")
@click.option("--video", type=FILE, help="Video file to measure on. Default: scenes of the demo.")
@click.option("--camera", help="Camera of the running system to measure on: its last segments.")
@click.option("--name", help="Name to store it by. Default: the detector's.")
@device_options
@click.option("--threads", type=COUNT, help="Threads of the model on a CPU. Default: the fewest near the best rate.")
@click.option(
    "--fps",
    type=Number(0, 120, min_open=True),
    default=_DEFAULTS.cv_fps,
    show_default=True,
    help="Frames analysed per second of video.",
)
@click.option("--price", type=Number(0), help="Price of a replica-hour, to print costs as money.")
@click.option(
    "--latency-target",
    "latency_target_s",
    type=SECONDS,
    default=2.0,
    show_default=True,
    help="Maximum seconds from a segment's arrival to its event.",
)
@click.option("--min-score", type=Number(0, 1), help="Minimum score of an object. Default: 0.4, as of CV_MIN_SCORE.")
@click.option("--seconds", type=OVER_ZERO, default=10.0, show_default=True, help="Seconds to measure.")
@click.option("--out", type=FOLDER, help="Folder for pictures, ScaledObject and settings. Default: models in --data.")
def add(data: Path | None, video: Path | None, camera: str | None, out: Path | None, **options: object) -> None:
    """Measure what MODEL costs, and store it for 'tidegate up'. MODEL is a file, or another value of CV_MODEL.

    \b
    An exported file:       tidegate model add yolo11n.onnx
    On a camera's video:    tidegate model add yolo11n.onnx --camera lobby --fps 2 --price 0.4
    Run it:                 tidegate model use yolo11n && tidegate up

    It draws boxes on frames, and warns if they can't be right. It measures one replica alone on this machine, which
    decodes and detects like a worker. It writes the ScaledObject for that rate and the latency target.
    """
    if video and camera:
        raise SettingError("--video and --camera exclude each other: give one")
    request = msgspec.convert(options | {"spec": _absolute(str(options["spec"]))}, Request)
    if request.name:
        check_token(request.name, "--name")
    model_spec.check(request.spec, request.device, request.runtime, request.precision)
    home = prepare(data or default_data())
    models = store.folder(home)
    measured.prepare(models)
    folder = files.folder(out, "--out") if out else models
    with telling() as tell:
        tell(f"loading {request.spec}")
        detector = request.load(request.threads or 1)
    for row in rows(detector):
        _line(*row)
    footage = _footage(data, video, camera)
    name = request.name or re.sub(r"[^A-Za-z0-9_-]", "-", detector.name)[:64]
    _draw(folder / f"{name}.jpg", detector, footage, request)
    machine = describe()
    choice, rate = _measured(request, footage)
    model = _stored(request, name, choice, rate, footage, machine)
    for row in (*_capacity(request, choice, model), *_files(request, choice, model, folder)):
        _line(*row)
    measured.save(models, model)
    _line("next", f"tidegate model use {name}")


def rows(detector: Detector) -> list[tuple[str, str]]:
    """Return what a detector is, as rows of a name and words."""
    if isinstance(detector, ExportedDetector):
        return described(detector)
    size = "{}x{}, stretched".format(*detector.size) if detector.size else "any size"
    some = ", ".join(detector.labels[:8]) + (", …" if len(detector.labels) > 8 else "")
    return [("picture", size), ("labels", f"{len(detector.labels)}: {some}")]


def _footage(data: Path | None, video: Path | None, camera: str | None) -> Footage:
    with telling() as tell:
        if camera:
            found = sources.of_camera(data, camera)
        else:
            found = sources.of_file(video, tell) if video else sources.scenes(tell)
    _line("footage", f"{found.source}; {len(found.parts)} segments of {found.segment_s:.2g} s")
    return found


def _draw(path: Path, detector: Detector, footage: Footage, request: Request) -> None:
    """Write the contact sheet, and print what looks wrong."""
    with telling() as tell:
        tell("detecting in frames")
        frames = analysed(detector, footage, request.fps)
    least = request.least
    with written(path, "--out") as part:
        part.write_bytes(jpeg(page(frames, least)))
    count = sum(o.score >= least for frame in frames for o in frame.objects)
    _line("boxes", f"{path}: {count} objects in {len(frames)} frames, from a score of {least:g} on")
    motion = moving([frame.shown for frame in frames])
    for sentence in doubts([frame.objects for frame in frames], motion=motion, least=least):
        _line("warning", f"{sentence}. See {path}")


def _measured(request: Request, footage: Footage) -> tuple[Choice, Rate]:
    """Choose the settings, and measure a replica with them."""
    fps, decoding, seconds = request.fps, request.decoding, request.seconds / 2
    with telling() as tell:
        choice = choose(
            request.load,
            footage,
            fps=fps,
            counts=request.counts,
            decoding=decoding,
            latency_s=request.latency_target_s,
            seconds=seconds,
            tell=tell,
        )
        rate = replica.measure(
            choice.detector, footage, fps=fps, batch=choice.batch, threads=decoding, seconds=seconds, tell=tell
        )
    return choice, rate


def _stored(request: Request, name: str, choice: Choice, rate: Rate, footage: Footage, machine: Machine) -> StoredModel:
    rounded = float(capacity.rounded(rate.segments_s))
    paths = model_spec.paths(request.spec)
    return StoredModel(
        name=name,
        spec=request.spec,
        settings=request.settings(choice.batch, choice.threads),
        detector=choice.detector.name,
        files=[str(path) for path in paths],
        fingerprint=measured.fingerprint(paths),
        service_rate=rounded,
        rate=rate,
        fps=request.fps,
        cameras=capacity.cameras(rounded, rate.segment_s, capacity.LOAD),
        load=capacity.LOAD,
        latency_target_s=request.latency_target_s,
        footage=footage.source,
        added=dt.datetime.now(dt.UTC).replace(microsecond=0),
        machine=machine,
    )


def _capacity(request: Request, choice: Choice, model: StoredModel) -> Iterator[tuple[str, str]]:
    """Yield the rows of speed, capacity and cost."""
    pace = next(pace for pace in choice.speed.paces if pace.batch == choice.batch)
    share = "" if pace.share is None else f", {pace.share:.2f} of the runtime alone"
    threads = f"{choice.threads} thread{'s' * (choice.threads > 1)}"
    yield "detector", f"{pace.ms:.1f} ms a picture in batches of {pace.batch}, {threads}{share}"
    rate = model.rate
    yield (
        "replica",
        (
            f"{model.service_rate:g} segments/s, each of {rate.segment_s:.2g} s at {model.fps:g} frames/s, with "
            f"{rate.cores:.1f} of {model.machine.cores} cores; limited by {rate.bottleneck}"
        ),
    )
    streams = model.service_rate * rate.segment_s * model.load
    fewer = "" if model.cameras else f"; one camera needs {1 / streams:.1f} replicas"
    yield "cameras", f"{model.cameras} a replica at {model.load:.0%} of that rate{fewer}"
    if model.machine.was_busy:
        yield (
            "warning",
            (
                f"the machine was busy (load {model.machine.load:g} on {model.machine.cores} cores): measure again "
                "when it is idle"
            ),
        )
    if request.price is not None:
        cost = capacity.camera_day(request.price, model.service_rate, rate.segment_s)
        yield "cost", f"{cost:.3g} a camera and day, at {request.price:g} a replica-hour"


def _files(request: Request, choice: Choice, model: StoredModel, folder: Path) -> Iterator[tuple[str, str]]:
    """Write the ScaledObject and the settings. Yield their rows."""
    # It imports the simulator, which other commands for detectors do not need.
    from tidegate.models import scaling

    in_flight = replica.hold(choice.batch, request.decoding)
    text, threshold = scaling.manifest(capacity.rounded(model.rate.segments_s), request.latency_target_s, in_flight)
    settings = "".join(f"{name}={value}\n" for name, value in model.settings.items())
    for suffix, content in ((".yaml", text), (".env", settings)):
        with written(folder / f"{model.name}{suffix}", "--out") as part:
            part.write_text(content)
    target = f"lagThreshold {threshold.value} for {threshold.latency_s:g} s"
    yield "ScaledObject", f"{folder / model.name}.yaml: {target}"
    if threshold.stays_s > threshold.latency_s:
        yield (
            "warning",
            (
                f"a backlog of {threshold.stays_s:.2g} s can stay, over the target: allow more by --latency-target, or "
                "take a smaller model"
            ),
        )
    yield "settings", f"{folder / model.name}.env: {' '.join(settings.split())}"


def _absolute(spec: str) -> str:
    """Return the spec with an absolute path, as workers run in any folder. Raise SettingError."""
    if Path(spec).is_file():
        return str(Path(spec).resolve())
    if any(not path.is_absolute() for path in model_spec.paths(spec)):
        raise SettingError(f"{spec} has a relative path, or one that is missing: give the absolute path of a file")
    return spec


def _line(name: str, value: str) -> None:
    echo(f"{name:<14}{one_line(value)}")
