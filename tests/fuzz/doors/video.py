"""Video and pictures, which libav reads."""

from __future__ import annotations

from services.ingest.cutting.parameters import sequence_parameters
from shared.contract import segment
from shared.runtime.errors import BadSegment
from shared.video import fmp4, pictures
from shared.video.decode import decode
from shared.video.fmp4 import Part
from shared.video.timeline import Timeline
from tests.fuzz import good, spoil
from tests.fuzz.delivery import headers_of
from tests.fuzz.door import MB, Door

SIZE = (64, 48)


def _segment(data: bytes) -> None:
    """Decode a segment as cv and vlm do."""
    subject, lines, payload = spoil.read_wire(data)
    head = segment.from_message(subject.decode(errors="replace"), headers_of(lines))
    decode(payload, fps=2, size=SIZE, frames=head.frames)


def _video(data: bytes) -> None:
    decode(data, at=[0.0, 0.5, 3.0], within=SIZE)


def _dependent(data: bytes) -> None:
    decode(good.pieces(gop=30)[1].payload, before=[data], fps=1, size=SIZE)


def _parameters(data: bytes) -> None:
    sequence_parameters("h264", data)
    sequence_parameters("hevc", data)


def _joined(data: bytes) -> None:
    """What the console does for a browser. What is written is as large as what was read, and a little more."""
    first, video = fmp4.read(good.pieces()[0].payload), fmp4.read(data)
    for row in ([data], [good.pieces()[0].payload, data], [data, data]):
        parts = [Part(first if one is not data else video, good.START, 1.0) for one in row]
        size = sum(map(len, fmp4.join(parts).buffers(row)))
        assert size < 2 * sum(map(len, row)) + 200_000
    fmp4.moved(data, video, Timeline(good.START - good.SECOND).place(video, good.START, 1.0))


def _picture(data: bytes) -> None:
    pictures.resize(pictures.read(data), SIZE)


_message = spoil.message(spoil.as_mp4)
DOORS = (
    Door("video.segment", good.segment_messages, _segment, (BadSegment,), _message, share=0.15, most_bytes=1024 * MB),
    Door("video.payload", good.payloads, _video, (BadSegment,), spoil.as_mp4, share=0.15, most_bytes=1024 * MB),
    Door(
        "video.dependent",
        lambda: [good.pieces(gop=30)[0].payload],
        _dependent,
        (BadSegment,),
        spoil.as_mp4,
        share=0.1,
        most_bytes=1024 * MB,
    ),
    Door("video.picture", good.pictures, _picture, (pictures.BadPicture,), share=0.3, most_bytes=512 * MB),
    Door("video.joined", good.payloads, _joined, (BadSegment,), spoil.as_mp4),
    Door("video.parameters", good.payloads, _parameters, share=0.5),
)
