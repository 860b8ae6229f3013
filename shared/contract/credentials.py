"""A camera's credentials, as the bucket `credentials` holds them: each for exactly one address. Pure.

They include the path and query of its URL, as many cameras take a secret there, under any name.

Ingest sends credentials only to their own address. Another address in a camera's entry gets a connection without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from shared.runtime.errors import SettingError
from shared.runtime.redact import join_credentials

# The default ports of the schemes.
PORTS: Mapping[str, int] = {"rtsp": 554, "rtsps": 322}
# Hosts that every URL parser, also libav's, reads the same way.
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+(?:%[0-9a-z._-]+)?\]")
# libav truncates longer ones.
_LONGEST = 127


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """secret: `user:password`, percent-encoded, or a whole URL that holds a password elsewhere; empty: none.

    origin: its scheme, host and port; empty if an earlier version wrote it for no address. path: the rest of the
    camera's URL, including its query; empty in entries of earlier versions. detect_path: the same of its substream's
    URL. unverified: whether all of it may go to a camera whose certificate is not checked.
    """

    secret: str
    origin: str = ""
    path: str = ""
    detect_path: str = ""
    unverified: bool = False


class Login(NamedTuple):
    """What ingest sends to a camera: a secret or None, and why a stored secret is withheld."""

    secret: str | None = None
    withheld: str = ""


def origin(url: str) -> str:
    """Return `rtsp://10.0.0.7:554` of a camera's URL: scheme, host and port, also a default one; empty if it has none.

    Credentials before the host don't count.
    """
    try:
        parts = urlsplit(url)
        host = (parts.netloc.rpartition("@")[2]).lower()
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return ""
    name = host if host.endswith("]") else re.sub(r":[0-9]*\Z", "", host)
    return f"{parts.scheme}://{name}:{port}" if parts.scheme in PORTS and _HOST.fullmatch(name) else ""


def bound(secret: str | None, url: str, unverified: bool) -> Credentials | None:
    """Return credentials for the address of `url`. Raises SettingError if it has no usable address."""
    if not secret:
        return None
    whole = "://" in secret
    to = origin(secret if whole else url)
    if not to:
        raise SettingError("camera url has a host that no password can be sent to: give its name in ASCII, or its IP")
    if not whole and len(join_credentials("//", secret)) > len("//@") + _LONGEST:
        raise SettingError(
            f"camera user and password are too long: {_LONGEST} characters can be sent, and what is no letter or digit "
            "counts as three"
        )
    return Credentials(secret=secret, origin=to, unverified=unverified)


def encode(credentials: Credentials) -> bytes:
    """Return credentials as the bucket holds them: JSON."""
    return msgspec.json.encode(credentials)


def decode(entry: bytes) -> Credentials:
    """Decode an entry. Plain text is of an earlier version: `user:password` for no address, or a whole URL."""
    try:
        return msgspec.json.decode(entry, type=Credentials)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = entry.decode(errors="replace")
        return Credentials(secret=text, origin=origin(text) if "://" in text else "")


def login(id: str, url: str, verify_tls: bool, entry: bytes) -> Login:
    """Return what ingest may send to camera `id` at `url`, from the bucket's entry."""
    if not entry or url.lower().startswith("file:"):
        return Login()
    stored, set_ = decode(entry), f"'tidegate camera set {id}"
    what = "password" if stored.secret else "path"
    if not stored.origin:
        return Login(
            withheld="its password is not sent, as an earlier version kept it for no address: 'tidegate setup' binds "
            f"it to the address that the camera has now, {set_} --password-stdin' takes another"
        )
    whole = origin(stored.secret) if "://" in stored.secret else stored.origin
    if not stored.origin == whole == origin(url):
        return Login(
            withheld=f"its {what} is not sent, as it is for {stored.origin}: if the camera is here now, give both with "
            f"{set_} --url … --password-stdin'"
        )
    if not may_be_unverified(stored, verify_tls):
        return Login(
            withheld=f"its {what} is not sent, as it was given for a camera whose certificate is checked: "
            f"{set_} --verify-tls' checks it, --no-verify-tls sends the {what} all the same"
        )
    return Login(stored.secret or None)


def may_be_unverified(stored: Credentials, verify_tls: bool) -> bool:
    """Return whether credentials may go to a camera, given whether its certificate is checked."""
    return verify_tls or stored.unverified or not stored.origin.startswith("rtsps:")


def with_password(secret: str | None, user: str | None, password: str) -> str:
    """Return `user:password`, percent-encoded. secret: the former or the URL's, which gives the user if `user` is None.

    Raises SettingError if there is no user, or if the password is part of the URL.
    """
    if secret and "://" in secret:
        raise SettingError("the camera's password is a part of its URL: give that whole, by '-' on standard input")
    name = quote(user, safe="") if user else (secret or "").partition(":")[0]
    if not name:
        raise SettingError("the camera has no user that the password is for: give --user too")
    return f"{name}:{quote(password, safe='')}"
