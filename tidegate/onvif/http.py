"""One bounded request to one address. Redirects are errors: no login follows them.

HTTP's digest authentication (RFC 7616) answers a device that asks for it; Basic, which shows the password, never does.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from types import TracebackType

import httpx

from shared.runtime.plain import plain
from shared.runtime.redact import redact
from tidegate.onvif import soap
from tidegate.onvif.elements import Element
from tidegate.onvif.values import LONGEST_TEXT, Address, BadAnswer, Login, OnvifError, Unreachable

REQUEST_S = 5.0
MOST_BYTES = 1024 * 1024
_HEADERS = {"Content-Type": "application/soap+xml; charset=utf-8", "Accept-Encoding": "identity"}


class Requests:
    """Requests to one device, each to the same scheme, host and port. peers: IPs that answered.

    verify: whether the certificate of an https device is checked. clock_ahead: of the device's clock, before ours.
    """

    def __init__(self, login: Login | None, *, verify: bool) -> None:
        self.peers: set[str] = set()
        self.clock_ahead = dt.timedelta()
        self._login = login
        self._client = httpx.AsyncClient(verify=verify, trust_env=False, follow_redirects=False, timeout=REQUEST_S)

    async def __aenter__(self) -> Requests:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def call(self, address: Address, operation: str, body: str, *, open: bool = False) -> Element:
        """Return the answer to an operation. open: without the login. Raises OnvifError."""
        login = None if open else self._login
        try:
            now = dt.datetime.now(dt.UTC) + self.clock_ahead
        except OverflowError:
            now = dt.datetime.now(dt.UTC)
        content = soap.envelope(body, login, os.urandom(16), now)
        try:
            async with asyncio.timeout(REQUEST_S):
                status, data = await self._post(address, content, login)
        except (TimeoutError, httpx.TimeoutException) as e:
            raise Unreachable(f"it does not answer {operation} within {REQUEST_S:g} s") from e
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as e:
            raise Unreachable(f"it can't be reached by HTTP: {plain(redact(str(e)))[:LONGEST_TEXT]}") from e
        return soap.body(data, status, operation)

    async def _post(self, address: Address, content: bytes, login: Login | None) -> tuple[int, bytes]:
        request = self._client.build_request("POST", address.url, content=content, headers=_HEADERS)
        if login is None:
            response, data = await self._send(request)
            return response.status_code, data
        # httpx would read the answer of the first request without a limit.
        flow = httpx.DigestAuth(login.user, login.password).auth_flow(request)
        response, data = await self._send(next(flow))
        if response.status_code == 401:
            try:
                again = flow.send(response)
            except StopIteration:
                return response.status_code, data
            except (httpx.ProtocolError, KeyError, NotImplementedError, ValueError) as e:
                raise OnvifError("it asks for a kind of digest that can't be answered") from e
            response, data = await self._send(again)
        flow.close()
        return response.status_code, data

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        response = await self._client.send(request, stream=True)
        try:
            self._remember_peer(response)
            if response.is_redirect:
                to = plain(redact(response.headers.get("location", "")))[:LONGEST_TEXT]
                raise OnvifError(f"it redirects to {to}, and no login goes there: give that ADDRESS if it is right")
            data = bytearray()
            async for part in response.aiter_raw():
                data += part
                if len(data) > MOST_BYTES:
                    raise BadAnswer(f"its answer is over {MOST_BYTES // 1024} KiB")
            return response, bytes(data)
        finally:
            await response.aclose()

    def _remember_peer(self, response: httpx.Response) -> None:
        stream = response.extensions.get("network_stream")
        connected = stream.get_extra_info("server_addr") if stream else None
        if isinstance(connected, tuple) and connected:
            self.peers.add(str(connected[0]))
