"""One piece, read and decoded: the frames that workers take of live video, or the reason why there are none."""

from __future__ import annotations

import time
from itertools import islice
from typing import NamedTuple

from services.cv.looking import images_of
from services.cv.tiles import Grid
from shared.contract.segment import Segment
from shared.recordings import cutting
from shared.recordings.records import Unreadable, catalogue_key, folder_of, hour_of
from shared.recordings.store import Missing, StoreUnavailable
from shared.runtime.errors import BadSegment
from shared.video.decode import Image, decode
from tidegate.archive.frames import embedding
from tidegate.archive.frames.embedding import EmbedInput
from tidegate.archive.job import NONE, Job, Piece
from tidegate.archive.sync_store import SyncStore

# (width, height) of a detector's input; None: any.
Size = tuple[int, int] | None
FILE_MISSING = "its file is no longer there"


class SampledSegment(NamedTuple):
    """A segment, and the offsets of its sampled frames. size: of the upright video. failed: why there are no frames."""

    segment: Segment
    seq: int
    offsets: tuple[float, ...]
    size: tuple[int, int]
    failed: str | None


class DecodedPiece(NamedTuple):
    """A piece whose frames are in memory.

    images: the detector's input for all segments, concatenated. embed_inputs, embed_images: the same for the embedder.
    decode_s: seconds of a core.
    """

    piece: Piece
    segments: list[SampledSegment]
    images: list[Image]
    embed_inputs: list[EmbedInput]
    embed_images: list[Image]
    decode_s: float


def decode_piece(data: bytes, piece: Piece, job: Job, size: Size) -> DecodedPiece:
    """Decode a piece. data: its whole file. size: of the detector's input.

    Raises BadSegment if the file differs from its index.
    """
    began = time.thread_time()
    decoded = DecodedPiece(piece, [], [], [], [], 0.0)
    wholes = list(islice(cutting.split_file(piece.camera, piece.file, data), piece.end))
    for n in range(piece.begin, len(wholes)):
        segment, images = _decode_segment(wholes[n], job, size)
        try:
            source, views = embedding.decode_for_embedding(wholes, n, job.embed) if job.embed else (None, [])
        except BadSegment as e:
            source, views = None, []
            if job.model == NONE:
                segment = segment._replace(failed=str(e))
        decoded.segments.append(segment)
        decoded.images.extend(images)
        decoded.embed_inputs.extend([source] if source else [])
        decoded.embed_images.extend(views)
    return decoded._replace(decode_s=time.thread_time() - began)


def _decode_segment(whole: cutting.OriginalSegment, job: Job, size: Size) -> tuple[SampledSegment, list[Image]]:
    head, settings = whole.segment, job.looks[whole.segment.camera]
    if job.model == NONE:
        return SampledSegment(head, whole.seq, (), (head.width, head.height), None), []
    grid = Grid.of(settings.tiles)
    try:
        video = decode(whole.payload, before=whole.before, fps=settings.fps, size=grid.canvas(size), frames=head.frames)
    except BadSegment as e:
        return SampledSegment(head, whole.seq, (), (head.width, head.height), str(e)), []
    offsets = tuple(picture.offset for picture in video.pictures)
    return SampledSegment(head, whole.seq, offsets, video.size, None), images_of(video, grid, size)


def failed_piece(piece: Piece, reason: str) -> DecodedPiece:
    """Return a piece whose file can't be used, without frames."""
    heads = (cutting.segment_of(piece.camera, piece.file, cut) for cut in piece.cuts)
    size = (piece.file.width, piece.file.height)
    segments = [SampledSegment(head, cut.seq, (), size, reason) for head, cut in zip(heads, piece.cuts, strict=True)]
    return DecodedPiece(piece, segments, [], [], [], 0.0)


def read_piece(recordings: SyncStore, piece: Piece, job: Job, size: Size) -> DecodedPiece:
    """Read and decode a piece; a broken one has the reason. Raises StoreUnavailable if the store can't be used."""
    try:
        return decode_piece(recordings.read(piece.file.key), piece, job, size)
    except Missing:
        check_store_reachable(recordings, piece)
        return failed_piece(piece, FILE_MISSING)
    except (BadSegment, Unreadable) as e:
        return failed_piece(piece, str(e))


def check_store_reachable(recordings: SyncStore, piece: Piece) -> None:
    """Tell a deleted file from a store that this machine does not reach. Raises StoreUnavailable for the latter."""
    try:
        recordings.read(catalogue_key(piece.camera))
    except Missing as e:
        if not recordings.list_objects(folder_of(piece.camera, hour_of(piece.file.start))):
            raise StoreUnavailable(
                f"{recordings.location} has nothing of {piece.camera} on the machine that looks: give a bucket, or a "
                "folder that all machines mount"
            ) from e
