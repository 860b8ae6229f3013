"""Addresses, logins, devices and profiles, and the errors of this package. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.plain import plain
from shared.runtime.redact import redact

# Where ONVIF devices answer if nothing else is known: ONVIF Core, 5.1.1.
PATH = "/onvif/device_service"
PORTS = {"http": 80, "https": 443}
LONGEST_TEXT = 128
LONGEST_URL = 1024
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")


class OnvifError(TidegateError):
    """A device can't be read. Its message is for people, without credentials."""


class NotAuthorized(OnvifError):
    """The device wants a login, or refuses this one."""


class Unreachable(OnvifError):
    """Nothing answers at this address, or not by HTTP."""


class BadAnswer(OnvifError):
    """The device's answer is too long, or not of the request."""


class Login(NamedTuple):
    """A user of a device. Its text hides the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


class Address(NamedTuple):
    """Where a device answers. host: a name or an IP, in brackets if it is one of IPv6. path: with its query."""

    scheme: str
    host: str
    port: int
    path: str = PATH

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address in `10.0.0.7`, `10.0.0.7:8000` or an http(s) URL. Raises SettingError."""
        url = text if "://" in text else f"http://{text}"
        wanted = "give a host as 10.0.0.7, 10.0.0.7:8000 or http://10.0.0.7:8000/onvif/device_service"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise SettingError(f"the device's ADDRESS can't be read: {wanted}") from None
        if "@" in url:
            raise SettingError(f"the device's ADDRESS has an @ in it: give the user by --user, and {wanted}")
        host = re.sub(r":[0-9]*\Z", "", parts.netloc) if not parts.netloc.endswith("]") else parts.netloc
        if parts.scheme not in PORTS or port == 0 or not _HOST.fullmatch(host):
            raise SettingError(f"the device's ADDRESS {plain(redact(text))[:LONGEST_TEXT]} is none: {wanted}")
        path = (parts.path if parts.path.strip("/") else PATH) + (f"?{parts.query}" if parts.query else "")
        if not _is_path(path):
            raise SettingError(
                f"the device's ADDRESS has a path with spaces or over {LONGEST_URL} characters: {wanted}"
            )
        return cls(parts.scheme, host.lower(), port or PORTS[parts.scheme], path)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def short(self) -> str:
        """What `parse` reads as this address."""
        if self.path != PATH or self.scheme != "http":
            return self.url
        return self.host if self.port == PORTS["http"] else f"{self.host}:{self.port}"

    def at(self, url: str) -> Address:
        """Return the path of a service's URL at this address: no answer leads a request to another host or port."""
        try:
            parts = urlsplit(url[:LONGEST_URL])
        except ValueError:
            return self
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return self._replace(path=path) if _is_path(path) else self


class Profile(NamedTuple):
    """A stream of a device. token, name: of the device. source: the token of its video source.

    codec: such as H264, H265 or JPEG. width, height: in pixels, 0 if unknown. fps: at most; 0 if unknown. url: of RTSP,
    without the user info; empty if the device names none. problem: why not.
    """

    token: str
    name: str
    source: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    url: str = ""
    problem: str = ""


class Device(NamedTuple):
    """A device that was read. peers: IPs that answered. unread: how many profiles are beyond the limit."""

    manufacturer: str = ""
    model: str = ""
    firmware: str = ""
    profiles: tuple[Profile, ...] = ()
    peers: frozenset[str] = frozenset()
    unread: int = 0


class Found(NamedTuple):
    """A device that answered a probe. sender: the IP that the answer came from. address: None if it names no own one.

    name, manufacturer, model, location: what it says of itself; empty if nothing.
    """

    endpoint: str
    sender: str
    address: Address | None
    name: str = ""
    manufacturer: str = ""
    model: str = ""
    location: str = ""


def _is_path(text: str) -> bool:
    return len(text) <= LONGEST_URL and re.fullmatch(r"/[!-~]*", text) is not None


def short(text: str) -> str:
    """Return a device's text as one line of at most LONGEST_TEXT characters."""
    return plain(text[: LONGEST_TEXT * 4])[:LONGEST_TEXT]
