"""Why a camera or file gives no video, in a sentence that names the remedy.

libav's own messages are for programmers: "Input/output error" means an unknown host name. Each error is classified by
its type, and by what the URL requested.
"""

from __future__ import annotations

import errno
import ssl
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import av

from shared.contract.cameras import Camera
from shared.runtime.redact import redact


class Failure(NamedTuple):
    """cause: a word, for metrics. reason: a sentence without credentials, for people."""

    cause: str
    reason: str


class SourceError(Exception):
    """A failure found in what the camera or file offers."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = Failure(cause, reason)


def refused_login(with_credentials: bool) -> SourceError:
    """Return what a 401 means. with_credentials: whether the request had a user and a password."""
    if with_credentials:
        what, remedy = "refuses this user or password: correct it", "--password-stdin'"
    else:
        what, remedy = "asks for a user and a password: add them", "--user NAME --password-stdin'"
    return SourceError("unauthorized", f"the camera {what} with 'tidegate camera set … {remedy}")


def one_connection(failure: Failure, *, ends: bool) -> Failure:
    """Return what a failure means of a camera that plays one stream at a time. ends: it ends one for the other."""
    what = "ends one stream when the other begins" if ends else "refuses one stream while the other plays"
    own = "" if failure.cause == "stopped" else f" ({failure.reason})"
    remedy = "allow two in the camera, or read one stream with 'tidegate camera set … --unset detect'"
    return Failure("one_connection", f"the camera {what}{own}: it may allow one connection only, so {remedy}")


def failure_of(error: BaseException, camera: Camera, userinfo: str | None) -> Failure:
    """Explain an exception of libav or of ours to the camera's operator. userinfo: the camera's credentials, if any."""
    if isinstance(error, SourceError):
        return error.failure
    failure = _of_file(error, camera) if camera.is_file else _of_camera(error, camera, userinfo)
    if failure:
        return failure
    if isinstance(error, av.FFmpegError):
        return Failure("error", redact(error.strerror or str(error)))
    return Failure("error", redact(f"{type(error).__name__}: {error}"))


def _of_file(error: BaseException, camera: Camera) -> Failure | None:
    path = unquote(urlsplit(camera.url).path)
    if isinstance(error, FileNotFoundError):
        return Failure("not_found", f"there is no file {path}: ingest looks for it on the machine that it runs on")
    if isinstance(error, IsADirectoryError):
        return Failure("not_found", f"{path} is a folder: give a file")
    if isinstance(error, PermissionError):
        return Failure("forbidden", f"{path} can't be read: let ingest's user read it")
    if isinstance(error, (av.InvalidDataError, EOFError)):
        return Failure(
            "invalid", f"{path} is not a video that can be read: it is damaged, cut short, or something else"
        )
    return None


def _of_camera(error: BaseException, camera: Camera, userinfo: str | None) -> Failure | None:
    if isinstance(error, av.HTTPUnauthorizedError):
        return refused_login(with_credentials=userinfo is not None).failure
    for kind, cause, reason in _OF_CAMERAS:
        if isinstance(error, kind):
            return Failure(cause, reason)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure("certificate", _doubt(error, camera))
    if isinstance(error, ssl.SSLError):
        return Failure("tls", NO_TLS)
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EPROTONOSUPPORT:
        other = "udp" if camera.transport == "tcp" else "tcp"
        return Failure(
            "transport",
            f"the camera does not send RTP over {camera.transport.upper()}: 'tidegate camera set … --{other}'",
        )
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Failure("unreachable", "no network leads to the camera's address: check the address and the network")
    if number == errno.EIO and camera.url.lower().startswith("rtsps:"):
        return Failure("tls", NO_TLS)
    return None


def _doubt(error: ssl.SSLCertVerificationError, camera: Camera) -> str:
    """Explain the fault of a camera's certificate."""
    if error.verify_code in (_OTHER_NAME, _OTHER_IP):
        host = urlsplit(camera.url).hostname
        what = f"is not for {host}: give the URL with a name that it is for"
    elif error.verify_code == _EXPIRED:
        what = "has expired: renew it on the camera, and see that the clock here is right"
    else:
        what = f"is not trusted ({error.verify_message}): name the file of its CA, or of itself, in INGEST_CA"
    return f"the camera's certificate {what}, or take it unchecked with 'tidegate camera set … --no-verify-tls'"


# OpenSSL's codes: see X509_STORE_CTX_get_error(3).
_EXPIRED, _OTHER_NAME, _OTHER_IP = 10, 62, 64

NO_TLS = "the TLS connection failed: check the port (322 is usual), or give rtsp://"
NOT_RTSP = "what answers at the camera's address sends no RTSP that can be read: check the port (554 is usual)"
_REJECTED = "the camera refuses to play: check the URL's path, and whether too many watch it"
_TIMEOUT = "the camera does not answer in time: check that it is on, its address, and the firewalls between"

# A class comes after its subclasses: the first match is taken.
_OF_CAMERAS: tuple[tuple[type[BaseException], str, str], ...] = (
    (av.HTTPForbiddenError, "forbidden", "the camera forbids this user to watch: give the user that right"),
    (av.HTTPNotFoundError, "not_found", "the camera has no such path: look the path up in its manual"),
    (av.HTTPClientError, "rejected", _REJECTED),
    # libav's error if the answer to PLAY is neither success nor an RTSP error, such as a redirection.
    (av.PermissionError, "rejected", _REJECTED),
    (PermissionError, "forbidden", "this machine forbids the connection to the camera: see its firewall's rules"),
    (av.HTTPServerError, "camera_error", "the camera reports an error of its own (RTSP 5xx): restart the camera"),
    (ConnectionRefusedError, "refused", "nothing listens at the camera's address: check the host and the port"),
    (
        ConnectionError,
        "connection_lost",
        "the camera closed the connection: it may be restarting, or too many watch it",
    ),
    (TimeoutError, "timeout", _TIMEOUT),
    # libav raises this when its timeout is over.
    (av.ExitError, "timeout", _TIMEOUT),
    (av.InvalidDataError, "invalid", NOT_RTSP),
)
