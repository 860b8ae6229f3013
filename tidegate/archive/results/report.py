"""The results of a run, as text for a terminal, as JSON and as a self-contained HTML page with charts and pictures."""

from __future__ import annotations

import base64
import datetime as dt
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

import msgspec

from shared.recordings import cutting
from shared.runtime.errors import TidegateError
from shared.video.decode import decode
from tidegate.archive import rows
from tidegate.archive.captions.chapters import CAPTIONS, CaptionTotals
from tidegate.archive.frames.analysis import AnalysisTotals, results_key
from tidegate.archive.frames.tracking import TrackingTotals, read_tracking_totals
from tidegate.archive.job import NONE, Piece
from tidegate.archive.run import Run, totals_by_camera
from tidegate.archive.sync_store import SyncStore
from tidegate.client.times import length
from tidegate.view.records import Right, Wrapped
from tidegate.view.words import counted

PAGE, SUMMARY = "report.html", "summary.json"
# Bars of a camera's chart, and maximum cameras with a picture.
_BARS, _PICTURES = 96, 8
# Maximum captions of a camera on the page.
_CAPTIONS = 300
_WITHIN = (960, 960)
# The columns of `summary_rows`.
FIELDS = ("camera", Right("video"), Right("frames"), Right("tracks"), Right("incidents"), Wrapped("seen"))


class CameraSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one camera.

    hours: of video. missing: hours that could not be analysed. captions: stretches with a caption. uncaptioned:
    stretches without one. not_followed: segments on which tracking failed.
    """

    camera: str
    hours: float
    missing: float
    frames: int
    embedded: int
    captions: int
    uncaptioned: int
    labels: dict[str, int]
    tracks: int
    incidents: int
    not_followed: int
    busy_s: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a run. model, embedder, captioner: names of the models. cameras: by name."""

    run: str
    model: str
    embedder: str | None
    captioner: str | None
    since: dt.datetime
    until: dt.datetime
    cameras: list[CameraSummary]


class Picture(NamedTuple):
    """A frame of a camera. jpeg: with its objects drawn."""

    camera: str
    time: dt.datetime
    jpeg: bytes


def write_report(run: Run, recordings: SyncStore, results: SyncStore) -> Summary:
    """Write the report into the results, and return its summary. Raises StoreUnavailable."""
    pieces = list(run.analysis_totals())
    summary = _summary(run, pieces, results)
    results.put(SUMMARY, msgspec.json.format(msgspec.json.encode(summary)))
    pictures = [picture for piece in _busiest(pieces) if (picture := _picture(piece, recordings, results))]
    captions = {one.camera: _first_captions(run, one.camera, results) for one in summary.cameras if one.captions}
    results.put(PAGE, _page(summary, pieces, pictures, captions).encode())
    return summary


def _summary(run: Run, pieces: Sequence[tuple[Piece, AnalysisTotals]], results: SyncStore) -> Summary:
    job = run.job
    hours: dict[str, float] = {}
    missing: dict[str, float] = {}
    for piece, totals in pieces:
        hours[piece.camera] = hours.get(piece.camera, 0.0) + piece.seconds / 3600
        share = totals.failed / max(1, totals.failed + totals.segments)
        missing[piece.camera] = missing.get(piece.camera, 0.0) + share * piece.seconds / 3600
    tracking = {camera: read_tracking_totals(results, job, camera) for camera in hours}
    captions = {camera: CaptionTotals(camera=camera) for camera in hours} | run.caption_totals()
    return Summary(
        run=job.run,
        model=job.model,
        embedder=job.embed.model if job.embed else None,
        captioner=job.caption.model if job.caption else None,
        since=job.since,
        until=job.until,
        cameras=[
            _camera_summary(totals, hours[camera], missing[camera], tracking[camera], captions[camera])
            for camera, totals in sorted(totals_by_camera(pieces).items())
        ],
    )


def _camera_summary(
    totals: AnalysisTotals, hours: float, missing: float, tracking: TrackingTotals, captions: CaptionTotals
) -> CameraSummary:
    return CameraSummary(
        camera=totals.key,
        hours=round(hours, 4),
        missing=round(missing, 4),
        frames=totals.frames,
        embedded=totals.embedded,
        captions=captions.captions,
        uncaptioned=captions.failed,
        labels=dict(sorted(totals.labels.items(), key=lambda item: (-item[1], item[0]))),
        tracks=tracking.tracks,
        incidents=tracking.incidents,
        not_followed=tracking.failed,
        busy_s=round(totals.busy_s, 1),
    )


def _busiest(pieces: Sequence[tuple[Piece, AnalysisTotals]]) -> list[Piece]:
    """Return each camera's piece with most objects, for the cameras with most."""
    best: dict[str, tuple[int, Piece]] = {}
    for piece, totals in pieces:
        objects = sum(totals.labels.values())
        if objects > best.get(piece.camera, (0, piece))[0]:
            best[piece.camera] = objects, piece
    ordered = sorted(best.values(), key=lambda one: (-one[0], one[1].camera))
    return [piece for _, piece in ordered[:_PICTURES]]


def _picture(piece: Piece, recordings: SyncStore, results: SyncStore) -> Picture | None:
    """Return the frame of a piece with most objects; None: its video is deleted."""
    from tidegate.drawing.detections import annotated

    segments = rows.read(results.read(results_key("segments", piece.key)))
    row, frame = max(
        ((row, frame) for row in segments for frame in row["frames"]),
        key=lambda one: sum(o["score"] for o in one[1]["objects"]),
    )
    try:
        whole = next(
            one
            for one in cutting.split_file(piece.camera, piece.file, recordings.read(piece.file.key))
            if one.seq == row["seq"]
        )
        offset = (frame["time"] - row["start"]).total_seconds()
        video = decode(whole.payload, before=whole.before, at=[max(0.0, offset)], within=_WITHIN)
    except TidegateError:
        return None
    image = annotated(
        video.pictures[0].pixels, rows.objects(frame), f"{piece.camera}  {frame['time']:%Y-%m-%d %H:%M:%S} UTC"
    )
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return Picture(piece.camera, frame["time"], out.getvalue())


def _first_captions(run: Run, camera: str, results: SyncStore) -> list[tuple[dt.datetime, str]]:
    """Return the first captions of a camera, each with its start. Raises StoreUnavailable."""
    captions: list[tuple[dt.datetime, str]] = []
    for chapter in run.chapters:
        if chapter.camera == camera and len(captions) < _CAPTIONS:
            chapter_rows = rows.read(results.read(results_key(CAPTIONS, chapter.key)))
            captions += [(row["start"], row["text"]) for row in chapter_rows if not row["failed"]]
    return captions[:_CAPTIONS]


def summary_rows(summary: Summary) -> list[list[str]]:
    """Return a row for each camera."""
    return [
        [
            camera.camera,
            length(camera.hours * 3600),
            f"{camera.frames:,}",
            f"{camera.tracks:,}",
            f"{camera.incidents:,}",
            ", ".join(f"{label} {count:,}" for label, count in list(camera.labels.items())[:5]),
        ]
        for camera in summary.cameras
    ]


def summary_notes(summary: Summary) -> Iterator[str]:
    """Yield what the table does not show."""
    missing, captions, failed, embedded = (
        sum(getattr(camera, field) for camera in summary.cameras)
        for field in ("missing", "captions", "uncaptioned", "embedded")
    )
    if missing:
        yield f"{length(missing * 3600)} of it could not be analysed: 'failed' in segments says why"
    if summary.captioner:
        without = f", {failed:,} could not be: 'failed' in captions says why" if failed else ""
        yield f"{captions:,} captions by {summary.captioner}{without}"
    if summary.embedder:
        yield f"{embedded:,} frames embedded by {summary.embedder}"


# ---- the page


Captions = Sequence[tuple[dt.datetime, str]]


def _page(
    summary: Summary,
    pieces: Sequence[tuple[Piece, AnalysisTotals]],
    pictures: Sequence[Picture],
    captions: Mapping[str, Captions],
) -> str:
    body = "".join(_camera(one, summary, pieces, pictures, captions.get(one.camera, ())) for one in summary.cameras)
    hours = sum(one.hours for one in summary.cameras)
    return _PAGE.format(
        run=escape(summary.run),
        about=f"{hours:,.2f} hours of {counted(len(summary.cameras), 'camera')}, {_models(summary)}, "
        f"{summary.since:%Y-%m-%d %H:%M} to {summary.until:%Y-%m-%d %H:%M} UTC",
        body=body,
    )


def _models(summary: Summary) -> str:
    frames, embedded, captions = (
        sum(getattr(one, field) for one in summary.cameras) for field in ("frames", "embedded", "captions")
    )
    by = [f"{frames:,} frames analysed by <b>{escape(summary.model)}</b>"] if summary.model != NONE else []
    by += [f"{embedded:,} embedded by <b>{escape(summary.embedder)}</b>"] if summary.embedder else []
    by += [f"{captions:,} captions by <b>{escape(summary.captioner)}</b>"] if summary.captioner else []
    return ", ".join(by)


def _camera(
    one: CameraSummary,
    summary: Summary,
    pieces: Sequence[tuple[Piece, AnalysisTotals]],
    pictures: Sequence[Picture],
    captions: Captions,
) -> str:
    labels = ", ".join(f"{escape(label)} {count:,}" for label, count in list(one.labels.items())[:8]) or "nothing"
    missing = f" {one.missing:,.2f} hours could not be analysed." if one.missing else ""
    missing += f" {one.uncaptioned:,} of its stretches could not be captioned." if one.uncaptioned else ""
    objects = f", {one.tracks:,} tracks, {one.incidents:,} incidents. Objects in all frames: {labels}"
    images = "".join(
        f'<img alt="{escape(p.camera)} at {p.time:%Y-%m-%d %H:%M:%S} UTC" '
        f'src="data:image/jpeg;base64,{base64.b64encode(p.jpeg).decode()}">'
        for p in pictures
        if p.camera == one.camera
    )
    has_objects = summary.model != NONE
    return (
        f"<section><h2>{escape(one.camera)}</h2><p>{one.hours:,.2f} hours{objects if has_objects else ''}.{missing}</p>"
        f"{_bars(one.camera, pieces) if has_objects else ''}{images}{_captions(captions, one.captions)}</section>"
    )


def _captions(captions: Captions, count: int) -> str:
    if not captions:
        return ""
    # Captions are untrusted text of a model.
    lines = "".join(f"<dt>{start:%Y-%m-%d %H:%M:%S}</dt><dd>{escape(text)}</dd>" for start, text in captions)
    more = f" The first {len(captions):,} of {count:,}." if count > len(captions) else ""
    return f"<details open><summary>Captions, UTC.{more}</summary><dl>{lines}</dl></details>"


def _bars(camera: str, pieces: Sequence[tuple[Piece, AnalysisTotals]]) -> str:
    """Return a chart of objects per frame, from the camera's first video to its last."""
    own = [(piece, totals) for piece, totals in pieces if piece.camera == camera]
    first, last = own[0][0].file.start, own[-1][0].file.end
    span = max((last - first).total_seconds(), 1.0)
    bins: list[list[float]] = [[0.0, 0.0] for _ in range(_BARS)]
    for piece, totals in own:
        n = min(_BARS - 1, int((piece.file.start - first).total_seconds() / span * _BARS))
        bins[n][0] += sum(totals.labels.values())
        bins[n][1] += totals.frames
    heights = [objects / frames if frames else 0.0 for objects, frames in bins]
    top = max(heights) or 1.0
    bars = "".join(
        f'<rect x="{n * 10}" y="{80 - 80 * h / top:.1f}" width="9" height="{80 * h / top:.1f}"/>'
        for n, h in enumerate(heights)
        if h
    )
    return (
        f'<figure><svg viewBox="0 0 {_BARS * 10} 80" role="img" aria-label="objects a frame over time">{bars}</svg>'
        f"<figcaption>objects a frame, {top:.1f} at most; {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        "</figcaption></figure>"
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{run}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }}
figure {{ margin: 0 0 1rem }} svg {{ width: 100%; height: 80px; background: #f5f7fa }} rect {{ fill: #00798c }}
figcaption, dt {{ color: #52606d; font-size: .875rem }} dd {{ margin: 0 0 .5rem }} summary {{ cursor: pointer }}
img {{ max-width: 100%; border-radius: 4px }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111820; color: #e4e7eb }} svg {{ background: #1f2933 }}
figcaption, dt {{ color: #9aa5b1 }} }}
</style>
<h1>{run}</h1><p>{about}</p>{body}
</html>
"""
