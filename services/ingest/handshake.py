"""Asks a camera for its video as libav will, and sees to which address it sends us, before libav has the password.

libav follows a camera that answers with another address, and brings the password there: to another host, and from TLS
to none. So a camera that gets a password is asked first, in a connection that ends here; one that sends us on to
another address is refused. Its certificate is checked here too, as libav does not say what is wrong with one.
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

# Gives the Authorization header of a method and a URL.
_Authorize = Callable[[str, str], str]


def greet(url: str, secret: str | None, timeout_s: float, tls: ssl.SSLContext | None) -> None:
    """Ask the camera at `url`, which is without credentials, for its video, and bring `secret` where it asks for it.

    secret: `user:password`, percent-encoded. tls: how the certificate of an `rtsps` camera is checked. Returns where
    the camera answers for itself, whatever it answers: libav tells the rest. Raises SourceError where it sends us to
    another address, refuses the password, or speaks no RTSP; OSError where it can't be reached or trusted.
    """
    deadline = time.monotonic() + timeout_s
    home = origin(url)
    for _ in range(_MOST_REDIRECTS):
        with _connected(url, deadline, tls) as connection:
            location = _sent_on(_Talk(connection, deadline), url, secret)
        if location is None:
            return
        try:
            url = _bare(urljoin(url, location))
        except ValueError:
            url = ""
        if (to := origin(url)) != home:
            raise SourceError("redirected", _redirected(to))
    raise SourceError("redirected", "the camera sends ingest from path to path without an end: give another path")


def _sent_on(talk: _Talk, url: str, secret: str | None) -> str | None:
    """Where the camera sends us, if it does."""
    authorize: _Authorize | None = None
    for method in ("OPTIONS", "DESCRIBE"):
        reply = talk.ask(method, url, authorize)
        if reply.status == 401 and secret and authorize is None:
            authorize = _answer(reply.challenges, secret)
            reply = talk.ask(method, url, authorize)
        if reply.status == 401:
            raise refused_login(brought=secret is not None)
        if 300 <= reply.status < 400:
            return reply.location
        if reply.status != 200:
            return None
    return None


def _redirected(to: str) -> str:
    return (
        f"the camera sends ingest on to {to or 'another address'}, and its password goes nowhere else: if that is "
        f"right, give both with 'tidegate camera set … --url {to or 'rtsp://…'}/… --password-stdin'"
    )


def _answer(challenges: Sequence[str], secret: str) -> _Authorize:
    """What answers a camera that asks for a password, as libav would. Raises SourceError where that can't be."""
    user, _, password = (unquote(part) for part in secret.partition(":"))
    basic = False
    for challenge in challenges:
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "digest":
            asked = parse_keqv_list([item for item in parse_http_list(rest) if item.partition("=")[2]])
            if asked.get("algorithm", "MD5").upper() in _DIGESTS:
                return lambda method, url: _digest(asked, user, password, method, url)
        basic = basic or scheme.lower() == "basic"
    if not basic:
        raise refused_login(brought=True)
    told = base64.b64encode(f"{user}:{password}".encode()).decode()
    return lambda method, url: f"Basic {told}"


def _digest(asked: Mapping[str, str], user: str, password: str, method: str, url: str) -> str:
    """Source: RFC 7616, 3.4."""
    algorithm = asked.get("algorithm", "MD5")

    def hashed(*parts: str) -> str:
        return _DIGESTS[algorithm.upper()](":".join(parts).encode()).hexdigest()

    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    said = {"username": user, "realm": realm, "nonce": nonce, "uri": url}
    who, what = hashed(user, realm, password), hashed(method, url)
    if "auth" in (way.strip() for way in asked.get("qop", "").split(",")):
        ours = secrets.token_hex(8)
        said["response"] = hashed(who, nonce, "00000001", ours, "auth", what)
        more = f', qop=auth, nc=00000001, cnonce="{ours}"'
    else:
        said["response"], more = hashed(who, nonce, what), ""
    if "opaque" in asked:
        said["opaque"] = asked["opaque"]
    quoted = ", ".join(f'{name}="{_escaped(value)}"' for name, value in said.items())
    return f"Digest {quoted}, algorithm={algorithm}{more}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


class Reply(NamedTuple):
    """status: of RTSP. location: where it sends us. challenges: how a password may be brought."""

    status: int
    location: str
    challenges: tuple[str, ...]


class _Talk:
    """Requests and their answers on one connection, until a deadline: a camera that trickles holds nobody longer."""

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
        self._connection.settimeout(_left(self._deadline))
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
        self._connection.settimeout(_left(self._deadline))
        more = self._connection.recv(min(4096, self._room))
        if not more:
            raise SourceError("invalid", NOT_RTSP)
        self._read += more
        self._room -= len(more)


@contextmanager
def _connected(url: str, deadline: float, tls: ssl.SSLContext | None) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = (host, parts.port or PORTS[parts.scheme])
    with closing(socket.create_connection(address, timeout=_left(deadline))) as plain:
        if tls is None or parts.scheme != "rtsps":
            yield plain
            return
        try:
            secured = tls.wrap_socket(plain, server_hostname=host)
        except TimeoutError as e:
            raise SourceError("tls", NO_TLS) from e
        with secured:
            yield secured


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
