"""`tidegate model bench`: detectors by their speed on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from services.cv import detectors, model_spec
from services.cv.service import SCORE_FLOOR
from services.cv.settings import CvSettings
from shared.models.machine import Machine, describe
from shared.runtime.errors import SettingError
from tidegate.commands.model import footage
from tidegate.commands.model.loading import device_options
from tidegate.commands.options import COUNT, FILE, OVER_ZERO
from tidegate.models import speed
from tidegate.models.footage import Footage, pictures
from tidegate.models.speed import Pace, Speed
from tidegate.models.variants import Variant, unusable, variants
from tidegate.view import records
from tidegate.view.inert import echo, echo_json, one_line
from tidegate.view.screen import Screen
from tidegate.view.waiting import Tell, telling

_FPS = CvSettings().cv_fps
_NUMBERS = ("batch", "ms a picture", "pictures/s", "runtime alone", "share")
_FIELDS = ("detector", "input", *map(records.Right, _NUMBERS))
_FIELDS_OF_VARIANTS = ("detector", "runs on", *map(records.Right, _NUMBERS))


class Benched(msgspec.Struct, frozen=True, kw_only=True):
    """A measured detector. size: (width, height) of its pictures; None: any."""

    spec: str
    name: str
    variant: Variant
    size: tuple[int, int] | None
    speed: Speed


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """detectors: the fastest first. unusable: why a device can't be used here, by device."""

    detectors: tuple[Benched, ...]
    unusable: dict[str, str]
    threads: int
    footage: str
    machine: Machine


@click.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@device_options
@click.option("--all-devices", is_flag=True, help="Every device, runtime and precision that can be used here.")
@click.option(
    "--threads",
    type=COUNT,
    default=CvSettings().cv_infer_threads,
    show_default=True,
    help="Threads of the model on a CPU, as CV_INFER_THREADS.",
)
@click.option("--seconds", type=OVER_ZERO, default=10.0, show_default=True, help="Seconds to measure each detector.")
@click.option("--video", type=FILE, help="Video file to measure on. Default: scenes of the demo.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(
    specs: tuple[str, ...],
    all_devices: bool,
    threads: int,
    seconds: float,
    video: Path | None,
    as_json: bool,
    **device: str,
) -> None:
    """Measure the speed of detectors on decoded frames. SPEC is a value of CV_MODEL.

    \b
    One detector:           tidegate model bench yolo11n.onnx
    Several, by speed:      tidegate model bench openvino:ssd_mobilenet_v2_coco yolo11n.onnx --threads 2
    The fastest device:     tidegate model bench yolo11n.onnx --all-devices

    Next to each rate is that of the runtime alone, which runs the same network without reading its outputs, and the
    share of it that the detector reaches. Rounds of both alternate.
    """
    chosen = Variant(**device)
    if all_devices and chosen != Variant():
        raise SettingError("--all-devices excludes --device, --runtime and --precision: leave them out")
    for spec in specs:
        model_spec.check(spec, *chosen)
    machine = describe()
    cases = [(spec, each) for spec in dict.fromkeys(specs) for each in (variants(spec) if all_devices else [chosen])]
    with telling() as tell:
        video_parts = footage.of_file(video, tell) if video else footage.scenes(tell)
        found = [_benched(spec, variant, video_parts, threads, seconds, tell) for spec, variant in cases]
    found.sort(key=lambda each: -each.speed.best.pictures_s)
    report = Report(
        detectors=tuple(found),
        unusable=unusable() if all_devices else {},
        threads=threads,
        footage=video_parts.source,
        machine=machine,
    )
    if as_json:
        echo_json(report)
        return
    _print(report, all_devices)
    if all_devices:
        _advise(report)


def _benched(spec: str, variant: Variant, video: Footage, threads: int, seconds: float, tell: Tell) -> Benched:
    tell(f"loading {spec} on {variant}")
    options: dict[str, Any] = {"threads": threads, "batch_size": max(speed.SIZES), **variant._asdict()}
    detector = detectors.load(spec, min_score=SCORE_FLOOR, **options)
    images = [image for part in video.parts for image in pictures(part, detector, _FPS)]
    found = speed.measure(detector, images, seconds=seconds, tell=lambda text: tell(f"{spec} on {variant}: {text}"))
    size = detector.size or detector.within
    return Benched(spec=spec, name=detector.name, variant=variant, size=size, speed=found)


def _print(report: Report, of_variants: bool) -> None:
    several = len(report.detectors) > 1
    fields = _FIELDS_OF_VARIANTS if of_variants else _FIELDS
    rows = [
        (each.name, str(each.variant) if of_variants else _size(each), *_cells(each, pace))
        for each in report.detectors
        for pace in ([each.speed.best] if several else each.speed.paces)
    ]
    records.show_table(Screen(), fields, rows)
    threads = f"{report.threads} thread{'s' * (report.threads > 1)}"
    where = "" if of_variants else f"{report.detectors[0].variant}, "
    echo(f"{where}{threads}; {report.machine.cpu}, {report.machine.cores} cores; {report.footage}")
    if any(each.speed.bare_s is None for each in report.detectors):
        echo("the runtime alone is measured for exported files, servers and the embedded detector")


def _advise(report: Report) -> None:
    """Print the settings of the fastest, and the devices that can't be used."""
    first = report.detectors[0]
    values = {
        "CV_MODEL": first.spec,
        **{f"CV_{name.upper()}": value for name, value in first.variant._asdict().items()},
    }
    settings = " ".join(f"{name}={value}" for name, value in values.items() if value)
    echo(f"fastest: {one_line(settings)}")
    for device, reason in report.unusable.items():
        echo(f"not {device}: {one_line(reason)}")


def _size(each: Benched) -> str:
    return "any" if each.size is None else "{}x{}".format(*each.size)


def _cells(each: Benched, pace: Pace) -> tuple[str, ...]:
    bare = "" if each.speed.bare_s is None else f"{each.speed.bare_s:.1f}"
    share = "" if pace.share is None else f"{pace.share:.2f}"
    return (str(pace.batch), f"{pace.ms:.1f}", f"{pace.pictures_s:.1f}", bare, share)
