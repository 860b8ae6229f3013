"""Opens a camera or a file, and reads its packets. Blocking: runs in the camera's thread."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from services.ingest.camera.coalesced_reads import coalesced_reads
from services.ingest.camera.handshake import greet
from services.ingest.camera.memory import allow_a_file
from services.ingest.cutting.clock import FixedClock, WallClock
from services.ingest.cutting.segmenter import CODECS
from services.ingest.failures import SourceError
from services.ingest.settings import Reaching
from shared.contract.cameras import Camera
from shared.runtime.redact import join_credentials, split_userinfo

# The kernel buffers this much UDP for us: a keyframe of a 4K camera is one burst of hundreds of datagrams.
_UDP_BUFFER_BYTES = 4 * 1024 * 1024
# Time for a camera to describe what it has instead of video: it has answered a moment ago.
_LOOK_S = 0.5
_NO_VIDEO = "the {} has no video, only sound or data: give the path of one that has"


class VideoSource:
    """An open camera or file. `stream` is its video. Raises SourceError if there is none that can be used."""

    def __init__(self, container: InputContainer, camera: Camera) -> None:
        self._container = container
        self._camera = camera
        videos = [s for s in container.streams.video if s.codec_context is not None]
        if not videos:
            raise SourceError("no_video", _NO_VIDEO.format("file" if camera.is_file else "camera's stream"))
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

    def clock(self) -> WallClock | FixedClock:
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


def meet(camera: Camera, userinfo: str | None, reaching: Reaching) -> None:
    """Check that a camera is authentic, and answers for itself, before libav has its password.

    Blocks for up to about `reaching.timeout_s`, and raises what `greet` does.
    """
    if camera.is_file:
        return
    _resolve(camera)
    secured = camera.url.startswith("rtsps:")
    if userinfo or secured:
        url, login = split_userinfo(join_credentials(camera.url, userinfo))
        greet(url, login, reaching.timeout_s, _trust(camera, reaching.ca) if secured else None)


def open_source(camera: Camera, userinfo: str | None, reaching: Reaching) -> VideoSource:
    """Connect to what `meet` has checked, blocking for up to about `reaching.timeout_s`.

    Raises SourceError, or what libav raises: see `failure_of`.
    """
    if camera.is_file:
        allow_a_file()
        return _checked(av.open(unquote(urlsplit(camera.url).path)), camera)
    timeout_s = reaching.timeout_s
    options = {
        "rtsp_transport": camera.transport,
        # Audio is not requested.
        "allowed_media_types": "video",
        # libav's own limit on each read, in microseconds. An interrupt callback would cost more: PyAV's takes the GIL
        # a thousand times a second and camera. The watchdog catches data that trickles in under this limit.
        "timeout": str(int(timeout_s * 1e6)),
        "buffer_size": str(_UDP_BUFFER_BYTES),
        # The frame rate is not measured: it is not used, and would delay the first second.
        "fpsprobesize": "0",
        # Otherwise libav decodes the first frames, to learn what is not used, without a budget or a time limit. Width
        # and height are in the parameter sets, and the first frame is enough to find those.
        "codec_whitelist": "none",
        "probesize": "32",
        # By default libav 8 checks no certificate, and does not know the system's own.
        "tls_verify": str(int(camera.verify_tls)),
        "ca_file": reaching.ca or _system_ca(),
    }
    url = join_credentials(camera.url, userinfo)
    began = time.monotonic()
    try:
        container = av.open(url, options=options, timeout=(timeout_s, None))
    except (av.InvalidDataError, av.PermissionError) as e:
        # libav gives these errors also if no answer came: the second if none came to PLAY.
        if time.monotonic() - began >= timeout_s * 0.9:
            raise TimeoutError from e
        raise
    except av.HTTPClientError as e:
        if isinstance(e, av.HTTPOtherClientError) and _lacks_video(url, options):
            raise SourceError("no_video", _NO_VIDEO.format("camera's stream")) from e
        raise
    return _checked(container, camera)


def _trust(camera: Camera, ca: str) -> ssl.SSLContext:
    """Return how a camera's certificate is checked, if it is: as libav does, on every version of Python."""
    context = ssl.create_default_context(cafile=ca or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not camera.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # A camera whose certificate is not checked may be too old for the requirements on others.
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _system_ca() -> str:
    """Return the file of the certificates that the system trusts, "" if there is none.

    A Python that was built elsewhere, as uv installs it, may know the system's folder alone. Debian has the file in it.
    """
    paths = ssl.get_default_verify_paths()
    bundle = Path(paths.capath or "", "ca-certificates.crt")
    return paths.cafile or (str(bundle) if paths.capath and bundle.is_file() else "")


def _resolve(camera: Camera) -> None:
    """Raise SourceError if the camera's host can't be resolved: libav calls that an input/output error."""
    parts = urlsplit(camera.url)
    try:
        socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    # An invalid name, such as one with two consecutive dots, is a UnicodeError.
    except (socket.gaierror, UnicodeError) as e:
        raise SourceError(
            "unknown_host", f"the host {parts.hostname} is not known: check the camera's URL, and the DNS server"
        ) from e


def _lacks_video(url: str, options: dict[str, str]) -> bool:
    """Whether a stream that can't be played with video alone can be played at all: it is sound, or metadata.

    A request for video alone asks such a camera to play nothing, and it refuses.
    """
    quick = {"allowed_media_types": "video+audio+subtitle+data", "timeout": str(int(_LOOK_S * 1e6))}
    try:
        with av.open(url, options=options | quick, timeout=(_LOOK_S, None)) as container:
            return not container.streams.video
    except (av.FFmpegError, OSError):
        return False


def _is_text_or_picture(format: str) -> bool:
    """Whether libav's name of a format is that of texts, which it draws as video, or of pictures."""
    return format == "tty" or format == "image2" or format.endswith("_pipe")


def _checked(container: InputContainer, camera: Camera) -> VideoSource:
    try:
        return VideoSource(container, camera)
    except BaseException:
        container.close()
        raise
