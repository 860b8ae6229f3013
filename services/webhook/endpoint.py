"""The HTTP endpoint: one signed POST, and the meaning of its response.

    async with Endpoint(EndpointSettings(url="https://example.org/alerts"), timeout_s=10) as endpoint:
        await endpoint.post(outgoing)

Messages about it name its host, never its path, query or response: any of these may hold a secret. Retries are the
caller's.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import responses
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp

from services.webhook import signature
from services.webhook.outgoing import Outgoing
from shared.contract.endpoint import EndpointSettings, where
from shared.runtime.errors import TidegateError
from shared.runtime.redact import redact

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECT_S = 5.0
# Less than servers' keep-alive time: a connection closed under a request costs a try.
KEEPALIVE_S = 1.0
_HINTS = {
    401: ": check {secret}, and the user and password in {url}",
    403: ": check {secret}, and the user and password in {url}",
    404: ": check {url}",
    405: ": check {url}",
}


class Names(NamedTuple):
    """What people call the parts of an endpoint, by where it is from."""

    url: str
    secret: str


ENVIRONMENT = Names("WEBHOOK_URL", "WEBHOOK_SECRET")
SITE = Names("webhook.url of the site file", "webhook.secret of the site file")


class Failed(TidegateError):
    """The endpoint did not accept the event.

    outcome: in a word, for metrics. certain: it would refuse any event. requested_s: seconds after which it asks for a
    retry.
    """

    def __init__(self, outcome: str, reason: str, *, certain: bool = False, requested_s: float | None = None) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.certain = certain
        self.requested_s = requested_s


class Endpoint:
    """See the module. names: of its parts, for errors."""

    def __init__(self, settings: EndpointSettings, *, timeout_s: float, names: Names = ENVIRONMENT) -> None:
        self.where = settings.where
        self._url = settings.bare_url
        self._key = settings.key
        self._timeout_s = timeout_s
        self._names = names
        self._headers = {"User-Agent": f"tidegate/{version('tidegate')}"} | _basic(settings.credentials)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Endpoint:
        self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def open(self) -> None:
        """Have it ready for requests. A running event loop is needed."""
        # No limits of its own: the caller decides the number and duration of open requests.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            # A proxy is for endpoints beyond this machine.
            trust_env=urlsplit(self._url).hostname not in LOOPBACK,
        )

    async def close(self) -> None:
        """End its connections, and requests that run."""
        if self._session:
            await self._session.close()

    async def post(self, outgoing: Outgoing) -> None:
        """Post, and return once it is accepted: 2xx. Raises Failed."""
        assert self._session is not None
        signed = signature.headers(self._key, outgoing.id, int(time.time()), outgoing.body)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                # The signature is for one address, and a redirected POST may become a GET.
                self._session.post(
                    self._url, data=outgoing.body, headers=outgoing.headers | signed, allow_redirects=False
                ) as response,
            ):
                status, headers = response.status, response.headers
        except aiohttp.ConnectionTimeoutError as e:
            raise Failed("away", f"can't be reached within {CONNECT_S:g} s", certain=True) from e
        except TimeoutError as e:
            raise Failed("timeout", f"no answer within WEBHOOK_TIMEOUT_S={self._timeout_s:g} s") from e
        except aiohttp.ClientConnectorError as e:
            raise Failed("away", f"can't be reached: {_system_text(e)}", certain=True) from e
        except (aiohttp.ClientError, OSError, ValueError) as e:
            raise Failed("broken", f"the answer broke off or is none: {_system_text(e)}") from e
        if not 200 <= status < 300:
            raise self._failed(status, headers)

    def _failed(self, status: int, headers: Mapping[str, str]) -> Failed:
        answer = f"answers {status} {responses.get(status, '')}".rstrip()
        requested_s = retry_after(headers.get("Retry-After", "").strip(), time.time())
        if 300 <= status < 400:
            to = _leads(self._url, headers.get("Location", ""))
            return Failed(
                "redirected",
                f"{answer}, to {to}: redirects are not followed, set {self._names.url} to the address itself",
                requested_s=requested_s,
            )
        if status == 410:
            return Failed("gone", f"{answer}: it wants no such events any more")
        if status in (429, 503):
            # This status is about the endpoint, not the event.
            return Failed("busy", answer, certain=requested_s is not None, requested_s=requested_s)
        return Failed(
            "refused" if 400 <= status < 500 else "failed",
            answer + _HINTS.get(status, "").format(**self._names._asdict()),
            requested_s=requested_s,
        )


def _basic(credentials: tuple[str, str] | None) -> dict[str, str]:
    """RFC 7617, in UTF-8."""
    if credentials is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}"}


def _leads(url: str, location: str) -> str:
    try:
        return where(urljoin(url, location))
    except ValueError:
        return "what is no URL"


def _system_text(error: Exception) -> str:
    """Return only the system's text: other errors contain the URL, or the response."""
    return redact(str(error))[:200] if isinstance(error, OSError) else type(error).__name__


def retry_after(value: str, now: float) -> float | None:
    """Parse a Retry-After header, seconds or a date (RFC 9110, 10.2.3), to seconds; None if invalid.

    now: wall clock, seconds.
    """
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
