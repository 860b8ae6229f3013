"""`tidegate model show`: how a detector's file is used, before a camera depends on it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from services.cv.detectors.exports.detector import ExportedDetector
from services.cv.detectors.exports.trial import noise
from shared.runtime.errors import SettingError
from shared.video import pictures
from shared.video.decode import Image
from tidegate.client.files import written
from tidegate.commands.model.loading import device_options, loaded
from tidegate.commands.options import COUNT, FILE, NEW_FILE
from tidegate.view.inert import echo, one_line

_SOME_LABELS = 8
_PASSES = 5


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--format", "family", default="", help="Family of the file, as CV_MODEL_FORMAT. Default: recognised.")
@click.option("--picture", type=FILE, help="JPEG or PNG to detect objects in.")
@click.option("--save", type=NEW_FILE, help="JPEG to write: the picture, with boxes around the objects.")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.4, show_default=True, help="Minimum score.")
@click.option("--threads", type=COUNT, default=1, show_default=True, help="Threads of the CPU.")
@device_options
def show(
    file: str, family: str, picture: Path | None, save: Path | None, min_score: float, threads: int, **device: str
) -> None:
    """Show how FILE, an .onnx or .xml file or a triton:// address, is recognised, and its time for a picture.

    Each line is decided by what the file says or gives. Where that allows several readings, the command names them,
    and --format chooses one. Set the same as CV_MODEL and CV_MODEL_FORMAT.
    """
    if save and not picture:
        raise SettingError("--save writes the boxes of a picture: give one by --picture")
    detector = loaded(file, format=family, min_score=min_score, threads=threads, **device)
    for name, value in described(detector):
        echo(f"{name:<14}{one_line(value)}")
    image = read(picture) if picture else None
    echo(f"{'time':<14}{_milliseconds(detector, image):.1f} ms a picture, {threads} thread{'s' * (threads > 1)}")
    if image is None:
        return
    (found,) = detector.detect([image])
    for o in found:
        echo(f"{one_line(o.label):<14}{o.score:.2f} at {', '.join(f'{v:.3f}' for v in o.box)}")
        image = pictures.outlined(image, o.box)
    if not found:
        echo(f"no object of a score of {min_score:g} or more")
    if save:
        with written(save) as part:
            part.write_bytes(pictures.jpeg(image))


def described(detector: ExportedDetector) -> list[tuple[str, str]]:
    """Return how a file is used, as rows of a name and words."""
    reading, facts = detector.reading, detector.facts
    some = ", ".join(detector.labels[:_SOME_LABELS]) + (", …" if len(detector.labels) > _SOME_LABELS else "")
    overlaps = f"suppressed over an IoU of {reading.iou:g}, by class" if reading.iou else "none left by the file"
    return [
        ("format", reading.format),
        ("evidence", reading.evidence),
        ("picture", f"{facts.size[0]}x{facts.size[1]}, {reading.picture}"),
        ("boxes", "pixels of the input" if reading.in_pixels else "shares of the input"),
        ("overlaps", overlaps),
        ("labels", f"{len(detector.labels)} of {reading.labels.source}: {some}"),
        ("runtime", detector.runtime.description),
    ]


def read(path: Path) -> Image:
    """Return the picture in a file. Raises SettingError."""
    try:
        return pictures.read(path.read_bytes())
    except (OSError, pictures.BadPicture) as e:
        raise SettingError(f"--picture {path} can't be read: {e}") from e


def _milliseconds(detector: ExportedDetector, image: Image | None) -> float:
    """Return the least time of some passes."""
    images = [noise(detector.facts.size) if image is None else pictures.resize(image, detector.facts.size)]
    times = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        detector.detect(images)
        times.append(time.perf_counter() - began)
    return 1000 * min(times)
