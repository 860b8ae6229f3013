"""What a run found, as JSON, and as a page that needs nothing else: sums, when what was seen, and pictures."""

from __future__ import annotations

import base64
import datetime as dt
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import msgspec

from shared.contract.events import DetectedObject
from shared.recordings import cutting
from shared.runtime.errors import TidegateError
from shared.video.decode import decode
from tidegate.archive import rows
from tidegate.archive.chapters import CAPTIONS, Captioned
from tidegate.archive.following import Followed, followed
from tidegate.archive.job import NONE, Job, Piece
from tidegate.archive.looking import Looked, key_of
from tidegate.archive.place import Place
from tidegate.archive.runs import Run, totals
from tidegate.view.words import counted

PAGE, SUMS = "report.html", "summary.json"
# Bars of a camera's time, and cameras of which there is a picture.
_BARS, _PICTURES = 96, 8
# Captions of a camera that are on the page.
_CAPTIONS = 300
_WITHIN = (960, 960)


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found of one camera. hours: of video. missing: hours of it that could not be looked at. captions:
    that were made. uncaptioned: stretches of which none could be. not_followed: segments on which its tracking failed.
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
    """run, model, embedder, captioner, since, until: as they were asked. cameras: what was found of each."""

    run: str
    model: str
    embedder: str | None
    captioner: str | None
    since: dt.datetime
    until: dt.datetime
    cameras: list[Sums]


class Picture(NamedTuple):
    """jpeg: a frame with what was seen in it."""

    camera: str
    time: dt.datetime
    jpeg: bytes


def written(run: Run, recordings: Place, results: Place) -> Summary:
    """Write the report beside the results. Raises Unkept."""
    found = list(run.looked())
    summary = _summary(run, found, results)
    results.put(SUMS, msgspec.json.format(msgspec.json.encode(summary)))
    pictures = [picture for piece in _busiest(found) if (picture := _picture(run.job, piece, recordings, results))]
    said = {one.camera: _said(run, one.camera, results) for one in summary.cameras if one.captions}
    results.put(PAGE, _page(summary, found, pictures, said).encode())
    return summary


def _summary(run: Run, found: Sequence[tuple[Piece, Looked]], results: Place) -> Summary:
    job = run.job
    hours: dict[str, float] = {}
    missing: dict[str, float] = {}
    for piece, one in found:
        hours[piece.camera] = hours.get(piece.camera, 0.0) + piece.seconds / 3600
        share = one.failed / max(1, one.failed + one.segments)
        missing[piece.camera] = missing.get(piece.camera, 0.0) + share * piece.seconds / 3600
    courses = {camera: followed(results, job, camera) for camera in hours}
    captions = run.captioned()
    return Summary(
        run=job.run,
        model=job.model,
        embedder=job.embed.model if job.embed else None,
        captioner=job.caption.model if job.caption else None,
        since=job.since,
        until=job.until,
        cameras=[
            _sums(one, hours[camera], missing[camera], courses[camera], captions.get(camera, Captioned(camera=camera)))
            for camera, one in sorted(totals(found).items())
        ],
    )


def _sums(one: Looked, hours: float, missing: float, course: Followed, told: Captioned) -> Sums:
    return Sums(
        camera=one.key,
        hours=round(hours, 4),
        missing=round(missing, 4),
        frames=one.frames,
        embedded=one.embedded,
        captions=told.captions,
        uncaptioned=told.failed,
        labels=dict(sorted(one.labels.items(), key=lambda item: (-item[1], item[0]))),
        tracks=course.tracks,
        incidents=course.incidents,
        not_followed=course.failed,
        busy_s=round(one.busy_s, 1),
    )


def _busiest(found: Sequence[tuple[Piece, Looked]]) -> list[Piece]:
    """Of each camera the piece in which most was seen; of the cameras with most."""
    best: dict[str, tuple[int, Piece]] = {}
    for piece, one in found:
        seen = sum(one.labels.values())
        if seen > best.get(piece.camera, (0, piece))[0]:
            best[piece.camera] = seen, piece
    ordered = sorted(best.values(), key=lambda one: (-one[0], one[1].camera))
    return [piece for _, piece in ordered[:_PICTURES]]


def _picture(job: Job, piece: Piece, recordings: Place, results: Place) -> Picture | None:
    """The frame of a piece in which most was seen. None where its video is no longer there."""
    from tidegate.drawing.detections import annotated

    found = rows.read(results.read(key_of("segments", piece.key)))
    row, frame = max(
        ((row, frame) for row in found for frame in row["frames"]),
        key=lambda one: sum(o["score"] for o in one[1]["objects"]),
    )
    objects = [DetectedObject(label=o["label"], score=o["score"], box=tuple(o["box"])) for o in frame["objects"]]
    try:
        whole = next(
            one
            for one in cutting.segments(piece.camera, piece.file, recordings.read(piece.file.key))
            if one.seq == row["seq"]
        )
        offset = (frame["time"] - row["start"]).total_seconds()
        seen = decode(whole.payload, before=whole.before, at=[max(0.0, offset)], within=_WITHIN)
    except TidegateError:
        return None
    image = annotated(seen.pictures[0].pixels, objects, f"{piece.camera}  {frame['time']:%Y-%m-%d %H:%M:%S} UTC")
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return Picture(piece.camera, frame["time"], out.getvalue())


def _said(run: Run, camera: str, results: Place) -> list[tuple[dt.datetime, str]]:
    """The first captions of a camera, with when they begin. Raises Unkept."""
    found: list[tuple[dt.datetime, str]] = []
    for chapter in run.chapters:
        if chapter.camera == camera and len(found) < _CAPTIONS:
            read = rows.read(results.read(key_of(CAPTIONS, chapter.key)))
            found += [(row["start"], row["text"]) for row in read if not row["failed"]]
    return found[:_CAPTIONS]


# ---- the page


Captions = Sequence[tuple[dt.datetime, str]]


def _page(
    summary: Summary,
    found: Sequence[tuple[Piece, Looked]],
    pictures: Sequence[Picture],
    said: Mapping[str, Captions],
) -> str:
    body = "".join(_camera(one, summary, found, pictures, said.get(one.camera, ())) for one in summary.cameras)
    hours = sum(one.hours for one in summary.cameras)
    return _PAGE.format(
        run=escape(summary.run),
        about=f"{hours:,.2f} hours of {counted(len(summary.cameras), 'camera')}, {_done(summary)}, "
        f"{summary.since:%Y-%m-%d %H:%M} to {summary.until:%Y-%m-%d %H:%M} UTC",
        body=body,
    )


def _done(summary: Summary) -> str:
    frames, embedded, captions = (
        sum(getattr(one, what) for one in summary.cameras) for what in ("frames", "embedded", "captions")
    )
    by = [f"{frames:,} frames looked at by <b>{escape(summary.model)}</b>"] if summary.model != NONE else []
    by += [f"{embedded:,} embedded by <b>{escape(summary.embedder)}</b>"] if summary.embedder else []
    by += [f"{captions:,} captions by <b>{escape(summary.captioner)}</b>"] if summary.captioner else []
    return ", ".join(by)


def _camera(
    one: Sums,
    summary: Summary,
    found: Sequence[tuple[Piece, Looked]],
    pictures: Sequence[Picture],
    said: Captions,
) -> str:
    labels = ", ".join(f"{escape(label)} {count:,}" for label, count in list(one.labels.items())[:8]) or "nothing"
    missing = f" {one.missing:,.2f} hours could not be looked at." if one.missing else ""
    missing += f" {one.uncaptioned:,} of its stretches could not be captioned." if one.uncaptioned else ""
    seen = f", {one.tracks:,} tracks, {one.incidents:,} incidents. Objects in all frames: {labels}"
    shown = "".join(
        f'<img alt="{escape(p.camera)} at {p.time:%Y-%m-%d %H:%M:%S} UTC" '
        f'src="data:image/jpeg;base64,{base64.b64encode(p.jpeg).decode()}">'
        for p in pictures
        if p.camera == one.camera
    )
    detected = summary.model != NONE
    return (
        f"<section><h2>{escape(one.camera)}</h2><p>{one.hours:,.2f} hours{seen if detected else ''}.{missing}</p>"
        f"{_bars(one.camera, found) if detected else ''}{shown}{_captions(said, one.captions)}</section>"
    )


def _captions(said: Captions, count: int) -> str:
    if not said:
        return ""
    # A model says what it likes.
    lines = "".join(f"<dt>{start:%Y-%m-%d %H:%M:%S}</dt><dd>{escape(text)}</dd>" for start, text in said)
    more = f" The first {len(said):,} of {count:,}." if count > len(said) else ""
    return f"<details open><summary>Captions, UTC.{more}</summary><dl>{lines}</dl></details>"


def _bars(camera: str, found: Sequence[tuple[Piece, Looked]]) -> str:
    """Objects a frame, over the time from the camera's first video to its last."""
    mine = [(piece, one) for piece, one in found if piece.camera == camera]
    first, last = mine[0][0].file.start, mine[-1][0].file.end
    span = max((last - first).total_seconds(), 1.0)
    seen: list[list[float]] = [[0.0, 0.0] for _ in range(_BARS)]
    for piece, one in mine:
        n = min(_BARS - 1, int((piece.file.start - first).total_seconds() / span * _BARS))
        seen[n][0] += sum(one.labels.values())
        seen[n][1] += one.frames
    heights = [objects / frames if frames else 0.0 for objects, frames in seen]
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
