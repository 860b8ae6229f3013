"""Reads the packets of an open camera or file. Blocking: runs in the camera's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from services.ingest.cutting.clock import Clock, FixedClock, WallClock
from services.ingest.cutting.parameters import CODECS
from services.ingest.failures import SourceError
from shared.contract.cameras import Camera

# A nap is this long at most. It adds half of that to a segment's latency, on average.
NAP_S = 0.15
# A nap ends before this much has arrived: kernels buffer more per connection, so the camera never has to wait.
NAP_BYTES = 64 * 1024
# A read that takes longer than this has waited for the network.
_WAITED_S = 0.002

NO_VIDEO = "the {} has no video, only sound or data: give the path of one that has"

T = TypeVar("T")


class VideoSource:
    """An open camera or file. `stream` is its video. Raises SourceError if there is none that can be used."""

    def __init__(self, container: InputContainer, camera: Camera) -> None:
        self._container = container
        self._camera = camera
        videos = [s for s in container.streams.video if s.codec_context is not None]
        if not videos:
            raise SourceError("no_video", NO_VIDEO.format("file" if camera.is_file else "camera's stream"))
        self.stream: VideoStream = videos[0]
        if _is_text_or_picture(container.format.name):
            path = unquote(urlsplit(camera.url).path)
            raise SourceError(
                "invalid", f"{path} is not a video that can be read: libav takes it for a text or a picture"
            )
        if self.stream.codec_context.name not in CODECS:
            remedy = "convert it (ffmpeg -i … -c:v libx264 -g 25 -bf 0 ….mp4)" if camera.is_file else "set the camera"
            raise SourceError("codec", f"the video is {self.stream.codec_context.name}: {remedy} to H.264 or H.265")

    def close(self) -> None:
        self._container.close()

    def clock(self) -> Clock:
        """Return the clock for its packets. A file read faster than it plays is dated so that its end is now."""
        if not self._camera.is_file or self._camera.realtime:
            return WallClock()
        start = float((self.stream.start_time or 0) * (self.stream.time_base or 0))
        return FixedClock(time.time() - (self._container.duration or 0) / av.time_base - start)

    def packets(self, stop: threading.Event) -> Iterator[Packet[VideoStream]]:
        """Yield packets in decode order, until its end or `stop`. Pace and loop a file if the camera says so."""
        if not self._camera.is_file:
            # Naps are for TCP alone, which waits for a reader: unread datagrams are lost.
            tcp = self._camera.transport == "tcp"
            yield from coalesced_reads(self._demux(), lambda p: p.size, stop.wait) if tcp else self._demux()
            return
        pace = _Pace(stop) if self._camera.realtime else None
        offset = 0
        while True:
            first = end = None
            for packet in self._demux():
                if packet.dts is not None:
                    first = packet.dts if first is None else first
                    end = packet.dts + (packet.duration or 1)
                    packet.dts += offset
                if packet.pts is not None:
                    packet.pts += offset
                if pace and packet.dts is not None:
                    pace.wait(float(packet.dts * (packet.time_base or 0)))
                yield packet
            if not self._camera.loop or first is None or end is None or stop.is_set():
                return
            offset += end - first
            self._container.seek(self.stream.start_time or 0, stream=self.stream)

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        # The demuxer ends with an empty packet, which is meant for a decoder.
        return (p for p in self._container.demux(self.stream) if p.size)


class _Pace:
    """Delays a file's packets until it is their time."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._origin: float | None = None

    def wait(self, timestamp: float) -> None:
        now = time.monotonic()
        if self._origin is None:
            self._origin = now - timestamp
        ahead = self._origin + timestamp - now
        if ahead > 0:
            self._stop.wait(ahead)


def coalesced_reads(
    packets: Iterator[T],
    size: Callable[[T], int],
    nap: Callable[[float], object],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Pass on `packets`, and nap after each read that waited. size: bytes of a packet. nap: sleeps that many seconds.

    RTP over TCP comes in some 400 writes a second. Each of them wakes a reader that has caught up, which costs more
    than copying the video. So a reader that has caught up naps, and then finds whole frames. Measured on 1080p25 of
    4 Mbit/s, demuxing alone: 1.58 % of a core a camera without naps, 0.77 % with naps of 0.1 s, 0.62 % with 0.2 s.
    `bench_ingest` measures all of ingest.

    The packet that ends a wait is passed on before the nap, when it really arrives: the camera's clock is learnt from
    such packets.
    """
    since, gathered = clock(), 0
    while True:
        began = clock()
        packet = next(packets, None)
        if packet is None:
            return
        arrived = clock()
        gathered += size(packet)
        yield packet
        if arrived - began > _WAITED_S:
            nap(min(NAP_S, NAP_BYTES * (arrived - since) / gathered))
            since, gathered = arrived, 0


def _is_text_or_picture(format: str) -> bool:
    """Whether libav's name of a format is that of texts, which it draws as video, or of pictures."""
    return format == "tty" or format == "image2" or format.endswith("_pipe")
