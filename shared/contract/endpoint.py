"""The endpoint of alerts, as the bucket `endpoint` holds it: its URL and its secret, both whole. Pure.

    settings = EndpointSettings(url="https://hooks.example.org/alerts/T0KEN", events=("alerts",))
    for field, flaw in flaws(settings): ...     # no sentence repeats a value
    decode(encode(settings)) == settings        # raises SettingError, which repeats nothing either

Its user, password, path and query may be secrets: `where` returns what people may see.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from shared.contract import names
from shared.runtime.errors import SettingError

# The bucket's only key: there is one consumer `webhook`.
KEY = names.WEBHOOK
# The kinds of event that can be posted.
KINDS = names.COPIED
# How a request looks: the event itself, or a text for one of these.
Format = Literal["cloudevents", "slack", "ntfy"]
# Bytes of a URL, which servers take, and of a secret.
MOST_URL, MOST_SECRET = 4096, 1024
# The key that follows this prefix: "At least 24 bytes (192 bits, 512 maximum)", Standard Webhooks 1.0.0.
PREFIX = "whsec_"
LEAST_KEY, MOST_KEY = 24, 64
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
NO_URL = (
    "is no URL of http or https: give one such as https://example.org/alerts; in a user or password write / as %2F, @ "
    "as %40 and % as %25, and after them an @ as %40 too; a user has no colon"
)
_MAKE_ONE = """Make one: python -c "import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""""


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True):
    """url: may hold `user:password@`, percent-encoded. secret: signs requests; empty: none. events: kinds to post."""

    url: str
    secret: str = ""
    events: tuple[str, ...] = ("alerts",)
    format: Format = "cloudevents"

    def __repr__(self) -> str:
        return f"EndpointSettings({'signed' if self.secret else 'not signed'})"

    @property
    def bare_url(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of the URL, decoded."""
        parts = urlsplit(self.url)
        return (unquote(parts.username or ""), unquote(parts.password or "")) if "@" in parts.netloc else None

    @property
    def key(self) -> bytes:
        """The key of signatures; empty for none."""
        return key_of(self.secret)

    @property
    def where(self) -> str:
        """Scheme, host and port, which people may see."""
        return where(self.url)


def flaws(settings: EndpointSettings) -> Iterator[tuple[str, str]]:
    """Yield (a field, the end of a sentence that begins with its name) for each that can't be used."""
    if not _is_url(settings.url):
        yield "url", NO_URL
    elif len(settings.url.encode()) > MOST_URL:
        yield "url", f"is too long: {MOST_URL} bytes can be used"
    try:
        key_of(settings.secret)
    except ValueError as e:
        yield "secret", f"can't be used: {e}. {_MAKE_ONE}"
    if not settings.events or set(settings.events) - set(KINDS):
        yield "events", f"can't be used: give {', '.join(KINDS)}, or {','.join(KINDS)}"


def where(url: str) -> str:
    """Return `https://example.org:8443` of a usable URL, as people may see it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host in lower case and port, also a default one; None if it is no usable URL."""
    if not _is_url(url):
        return None
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]


def key_of(secret: str) -> bytes:
    """Return the key of a secret: the decoded text after `whsec_`, or the bytes of a plain text; empty for none.

    Raises ValueError, without the secret.
    """
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in secret):
        raise ValueError("it has a control character")
    if len(secret.encode()) > MOST_SECRET:
        raise ValueError(f"it has more than {MOST_SECRET} bytes")
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {PREFIX} is not base64") from None
    if not LEAST_KEY <= len(key) <= MOST_KEY:
        raise ValueError(f"what follows {PREFIX} has {len(key)} bytes, and has to have {LEAST_KEY} to {MOST_KEY}")
    return key


def encode(settings: EndpointSettings) -> bytes:
    """Return the bucket's entry."""
    return msgspec.json.encode(settings)


def decode(value: bytes) -> EndpointSettings:
    """Return the endpoint of an entry. Raises SettingError, which repeats nothing of it."""
    of_bucket = f"the entry {KEY} of bucket {names.ENDPOINT}"
    try:
        settings = msgspec.json.decode(value, type=EndpointSettings)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SettingError(f"{of_bucket} is no endpoint: 'tidegate apply' writes one") from None
    for field, flaw in flaws(settings):
        raise SettingError(f"{of_bucket} can't be used, as its {field} {flaw}")
    return settings


def _is_url(url: str) -> bool:
    """Return whether a request can be sent to a URL, and all parsers see the same host in it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.port != 0 and _is_host(parts.hostname or "")
        # An @ or a / in a password would split it: the rest would be the host or the port.
        split = "@" in parts.netloc or parts.port is not None
        usable = usable and not (split and "@" in f"{parts.path}{parts.query}{parts.fragment}")
        usable = usable and ":" not in unquote(parts.username or "")  # impossible in basic authentication
    except ValueError:
        return False
    return usable and url.isprintable() and not any(c.isspace() for c in url)


def _is_host(host: str) -> bool:
    """Return whether a text is an address or a name. Other scripts have dots of their own: ideographic, one dot leader.

    Raises ValueError if it is neither.
    """
    if ":" in host:
        ipaddress.IPv6Address(host)
        return True
    return bool(_NAME.fullmatch(host.encode("idna").decode().lower()))
