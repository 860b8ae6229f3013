"""Requests a camera's video as libav will, and checks where it redirects to, before libav has the password.

libav follows a redirect to another address, and sends the password there: to another host, and from TLS to none. So
ingest first queries a camera that gets a password, in a connection that ends here, and refuses one that redirects to
another address. It also checks the certificate here, as libav does not name its fault.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import parse_http_list, parse_keqv_list

from services.ingest.failures import NO_TLS, NOT_RTSP, SourceError, refused_login
from shared.contract.credentials import PORTS, origin

# Longer answers are not those of a camera.
_MOST_BYTES = 64 * 1024
_MOST_REDIRECTS = 5
_DIGESTS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}

# Returns the Authorization header for a method and a URL.
_Authorize = Callable[[str, str], str]


def greet(url: str, secret: str | None, timeout_s: float, tls: ssl.SSLContext | None) -> None:
    """Request the video of the camera at `url`, which is without credentials; give `secret` if the camera demands it.

    secret: `user:password`, percent-encoded. tls: how the certificate of an `rtsps` camera is checked. Returns if the
    camera answers for itself, whatever it answers: libav reports the rest. Raises SourceError if it redirects to
    another address, refuses the password, or speaks no RTSP; OSError if it can't be reached or trusted.
    """
    deadline = time.monotonic() + timeout_s
    home = origin(url)
    for _ in range(_MOST_REDIRECTS):
        with _connect(url, deadline, tls) as connection:
            location = _redirect_location(_Talk(connection, deadline), url, secret)
        if location is None:
            return
        try:
            url = _bare(urljoin(url, location))
        except ValueError:
            url = ""
        if (to := origin(url)) != home:
            raise SourceError("redirected", _redirect_message(to))
    raise SourceError("redirected", "the camera sends ingest from path to path without an end: give another path")


def _redirect_location(talk: _Talk, url: str, secret: str | None) -> str | None:
    """Return the address that the camera redirects to, if any."""
    authorize: _Authorize | None = None
    for method in ("OPTIONS", "DESCRIBE"):
        reply = talk.ask(method, url, authorize)
        if reply.status == 401 and secret and authorize is None:
            authorize = _answer(reply.challenges, secret)
            reply = talk.ask(method, url, authorize)
        if reply.status == 401:
            raise refused_login(with_credentials=secret is not None)
        if 300 <= reply.status < 400:
            return reply.location
        if reply.status != 200:
            return None
    return None


def _redirect_message(to: str) -> str:
    return (
        f"the camera sends ingest on to {to or 'another address'}, and its password goes nowhere else: if that is "
        f"right, give both with 'tidegate camera set … --url {to or 'rtsp://…'}/… --password-stdin'"
    )


def _answer(challenges: Sequence[str], secret: str) -> _Authorize:
    """Answer a camera's challenges as libav would. Raises SourceError if that is impossible."""
    user, _, password = (unquote(part) for part in secret.partition(":"))
    basic = False
    for challenge in challenges:
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "digest":
            fields = parse_keqv_list([item for item in parse_http_list(rest) if item.partition("=")[2]])
            if fields.get("algorithm", "MD5").upper() in _DIGESTS:
                return lambda method, url: _digest(fields, user, password, method, url)
        basic = basic or scheme.lower() == "basic"
    if not basic:
        raise refused_login(with_credentials=True)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return lambda method, url: f"Basic {token}"


def _digest(challenge: Mapping[str, str], user: str, password: str, method: str, url: str) -> str:
    """Return a Digest header. Source: RFC 7616, 3.4."""
    algorithm = challenge.get("algorithm", "MD5")

    def hashed(*parts: str) -> str:
        return _DIGESTS[algorithm.upper()](":".join(parts).encode()).hexdigest()

    realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
    params = {"username": user, "realm": realm, "nonce": nonce, "uri": url}
    ha1, ha2 = hashed(user, realm, password), hashed(method, url)
    if "auth" in (qop.strip() for qop in challenge.get("qop", "").split(",")):
        cnonce = secrets.token_hex(8)
        params["response"] = hashed(ha1, nonce, "00000001", cnonce, "auth", ha2)
        more = f', qop=auth, nc=00000001, cnonce="{cnonce}"'
    else:
        params["response"], more = hashed(ha1, nonce, ha2), ""
    if "opaque" in challenge:
        params["opaque"] = challenge["opaque"]
    quoted = ", ".join(f'{name}="{_escape(value)}"' for name, value in params.items())
    return f"Digest {quoted}, algorithm={algorithm}{more}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


class Reply(NamedTuple):
    """An RTSP reply. location: the redirect target. challenges: the authentication schemes on offer."""

    status: int
    location: str
    challenges: tuple[str, ...]


class _Talk:
    """Requests and replies on one connection, until a deadline that also bounds a camera that trickles."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._number = 0
        self._read = b""
        self._room = _MOST_BYTES

    def ask(self, method: str, url: str, authorize: _Authorize | None) -> Reply:
        self._number += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._number}", "User-Agent: tidegate"]
        if method == "DESCRIBE":
            lines.append("Accept: application/sdp")
        if authorize:
            lines.append(f"Authorization: {authorize(method, url)}")
        self._connection.settimeout(_remaining_s(self._deadline))
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return self._reply()

    def _reply(self) -> Reply:
        first = self._line().split(maxsplit=2)
        if len(first) < 2 or not first[0].startswith("RTSP/") or not first[1].isdecimal():
            raise SourceError("invalid", NOT_RTSP)
        headers: list[tuple[str, str]] = []
        while line := self._line():
            name, _, value = line.partition(":")
            headers.append((name.strip().lower(), value.strip()))
        found = dict(headers)
        length = found.get("content-length", "0")[:9]
        self._skip(int(length) if length.isdecimal() else 0)
        challenges = tuple(value for name, value in headers if name == "www-authenticate")
        return Reply(int(first[1][:3]), found.get("location", ""), challenges)

    def _line(self) -> str:
        while b"\n" not in self._read:
            self._receive()
        line, _, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace").replace("\r", "")

    def _skip(self, length: int) -> None:
        while len(self._read) < length:
            self._receive()
        self._read = self._read[length:]

    def _receive(self) -> None:
        self._connection.settimeout(_remaining_s(self._deadline))
        more = self._connection.recv(min(4096, self._room))
        if not more:
            raise SourceError("invalid", NOT_RTSP)
        self._read += more
        self._room -= len(more)


@contextmanager
def _connect(url: str, deadline: float, tls: ssl.SSLContext | None) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = (host, parts.port or PORTS[parts.scheme])
    with closing(socket.create_connection(address, timeout=_remaining_s(deadline))) as plain:
        if tls is None or parts.scheme != "rtsps":
            yield plain
            return
        try:
            secured = tls.wrap_socket(plain, server_hostname=host)
        except TimeoutError as e:
            raise SourceError("tls", NO_TLS) from e
        with secured:
            yield secured


def _remaining_s(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
