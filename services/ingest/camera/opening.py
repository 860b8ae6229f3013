"""Opens a camera or a file. Blocking: runs in the camera's thread."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
from av.container import InputContainer

from services.ingest.camera.handshake import greet
from services.ingest.camera.memory import allow_a_file
from services.ingest.camera.reading import NO_VIDEO, VideoSource
from services.ingest.failures import SourceError
from services.ingest.settings import Reaching
from shared.contract.cameras import Camera
from shared.runtime.redact import join_credentials, split_userinfo

# The kernel buffers this much UDP for us: a keyframe of a 4K camera is one burst of hundreds of datagrams.
_UDP_BUFFER_BYTES = 4 * 1024 * 1024
# Time for a camera to describe what it has instead of video: it has answered a moment ago.
_DESCRIBE_S = 0.5


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
            raise SourceError("no_video", NO_VIDEO.format("camera's stream")) from e
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
    quick = {"allowed_media_types": "video+audio+subtitle+data", "timeout": str(int(_DESCRIBE_S * 1e6))}
    try:
        with av.open(url, options=options | quick, timeout=(_DESCRIBE_S, None)) as container:
            return not container.streams.video
    except (av.FFmpegError, OSError):
        return False


def _checked(container: InputContainer, camera: Camera) -> VideoSource:
    try:
        return VideoSource(container, camera)
    except BaseException:
        container.close()
        raise
