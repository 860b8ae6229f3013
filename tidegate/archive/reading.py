"""One piece, read and decoded: the pictures that workers had of live video, or why there are none."""

from __future__ import annotations

import time
from itertools import islice
from typing import NamedTuple

from services.cv.looking import images_of
from services.cv.tiles import Grid
from shared.contract.segment import Segment
from shared.recordings import cutting
from shared.recordings.records import Unreadable, catalogue_key, folder_of, hour_of
from shared.recordings.store import Missing, Unkept
from shared.runtime.errors import BadSegment
from shared.video.decode import Image, decode
from tidegate.archive import embedding
from tidegate.archive.embedding import Shown
from tidegate.archive.job import NONE, Job, Piece
from tidegate.archive.place import Place

# (width, height) of the images that a detector takes, None for any.
Size = tuple[int, int] | None
GONE = "its file is no longer there"


class Part(NamedTuple):
    """A segment whose pictures are there. size: of the upright video. failed: why there are none."""

    segment: Segment
    seq: int
    offsets: tuple[float, ...]
    size: tuple[int, int]
    failed: str | None


class Opened(NamedTuple):
    """images: of all parts, one after the other. shown, views: what is embedded, and its images alike. decode_s:
    seconds of a core.
    """

    piece: Piece
    parts: list[Part]
    images: list[Image]
    shown: list[Shown]
    views: list[Image]
    decode_s: float


def open_piece(data: bytes, piece: Piece, job: Job, size: Size) -> Opened:
    """Its pictures. data: the whole file. size: of the detector.

    Raises BadSegment where it is no file that its index knows.
    """
    began = time.thread_time()
    found = Opened(piece, [], [], [], [], 0.0)
    wholes = list(islice(cutting.segments(piece.camera, piece.file, data), piece.end))
    for n in range(piece.begin, len(wholes)):
        part, images = _decoded(wholes[n], job, size)
        try:
            shown, views = embedding.opened(wholes, n, job.embed) if job.embed else (None, [])
        except BadSegment as e:
            shown, views = None, []
            if job.model == NONE:
                part = part._replace(failed=str(e))
        found.parts.append(part)
        found.images.extend(images)
        found.shown.extend([shown] if shown else [])
        found.views.extend(views)
    return found._replace(decode_s=time.thread_time() - began)


def _decoded(whole: cutting.Whole, job: Job, size: Size) -> tuple[Part, list[Image]]:
    head, look = whole.segment, job.looks[whole.segment.camera]
    if job.model == NONE:
        return Part(head, whole.seq, (), (head.width, head.height), None), []
    grid = Grid.of(look.tiles)
    try:
        found = decode(whole.payload, before=whole.before, fps=look.fps, size=grid.canvas(size), frames=head.frames)
    except BadSegment as e:
        return Part(head, whole.seq, (), (head.width, head.height), str(e)), []
    offsets = tuple(picture.offset for picture in found.pictures)
    return Part(head, whole.seq, offsets, found.size, None), images_of(found, grid, size)


def unopened(piece: Piece, why: str) -> Opened:
    """A piece whose file can't be used."""
    heads = (cutting.segment_of(piece.camera, piece.file, cut) for cut in piece.cuts)
    size = (piece.file.width, piece.file.height)
    parts = [Part(head, cut.seq, (), size, why) for head, cut in zip(heads, piece.cuts, strict=True)]
    return Opened(piece, parts, [], [], [], 0.0)


def opened(recordings: Place, piece: Piece, job: Job, size: Size) -> Opened:
    """Its pictures, or why there are none. Raises Unkept where the store can't be used."""
    try:
        return open_piece(recordings.read(piece.file.key), piece, job, size)
    except Missing:
        check_reached(recordings, piece)
        return unopened(piece, GONE)
    except (BadSegment, Unreadable) as e:
        return unopened(piece, str(e))


def check_reached(recordings: Place, piece: Piece) -> None:
    """Raises Unkept where not one file has gone, but all are elsewhere."""
    try:
        recordings.read(catalogue_key(piece.camera))
    except Missing as e:
        if not recordings.held(folder_of(piece.camera, hour_of(piece.file.start))):
            raise Unkept(
                f"{recordings.where} has nothing of {piece.camera} on the machine that looks: give a bucket, or a "
                "folder that all machines mount"
            ) from e
