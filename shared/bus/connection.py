"""The connection to NATS, and the configuration of consumers."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo

from shared.bus.client import Connection, Refused
from shared.bus.password import Password
from shared.bus.waiting import unanswered
from shared.contract.ids import KEY_FILE, sealing
from shared.runtime import tls
from shared.runtime.errors import BusError, SettingError
from shared.runtime.redact import redact
from shared.runtime.settings import BusSettings
from shared.runtime.tasks import end
from shared.runtime.telemetry import Health, logger

SCHEMES = ("nats", "tls", "ws", "wss")
# While the server is away, publishes wait in this buffer rather than fail.
PENDING_BYTES = 32 * 1024 * 1024
# A server that is just starting needs a moment: nothing is logged before this time, and then seldom.
SILENT_S = 3.0
# A repeated error is logged this often.
REPEAT_S = 30.0
SAY_S = 60.0
REMEDY = "start one, with 'tidegate up' for instance, or set NATS_URL"


async def connect(
    settings: BusSettings,
    service: str,
    *,
    inbox: str | None = None,
    timeout_s: float = 30.0,
    health: Health | None = None,
    raises_denials: bool = False,
) -> Connection:
    """Connect as `service`, and reconnect forever once connected.

    `inbox` is the prefix of reply subjects, by default `_INBOX_<service>`: the server's permissions let this identity
    subscribe to it. Waits up to `timeout_s` for a server that is not there yet. With the `health` of a service it waits
    forever, and reports that there. raises_denials: as in Connection. Raises BusError, and SettingError if the settings
    name no server.
    """
    _check(settings)
    seal = sealing(_secret(settings))
    client = Connection(
        seal,
        _certificates(settings),
        _password(settings),
        shows_certificate=bool(settings.nats_cert),
        raises_denials=raises_denials,
    )
    state = _ConnectionState(client, redact(settings.nats_url))
    # With unlimited reconnects, the client's first attempts never end by themselves.
    attempt = asyncio.create_task(client.connect(**_options(settings, service, inbox, state)))
    try:
        state.connected = await _connected_in_time(attempt, state, math.inf if health else timeout_s, health)
        if state.connected:
            client.record_login()
            return client
    finally:
        if not state.connected:
            await end(attempt)
            await _abandon(client)
    if state.refusal:
        user = repr(settings.nats_user or "(none)")
        raise BusError(f"{state.where} {state.refusal.replace('{user}', user)}")
    raise BusError(f"no NATS server answers at {state.where} ({state.reason}): {REMEDY}")


class _ConnectionState:
    """State of the client's callbacks. They record why it is not connected; once it is, they log.

    where: the server's address, without its secrets. refusal: why no further attempt would help, as text after the
    address; "" if one may.
    """

    def __init__(self, client: Connection, where: str) -> None:
        self.client = client
        self.where = where
        self.connected = False
        self.log = logger("bus")
        self.refusal = ""
        self._error = "no answer"
        self._logged, self._logged_at = "", 0.0

    @property
    def reason(self) -> str:
        return self._error

    def record(self, error: BaseException) -> str:
        self._error = redact(str(error)) or type(error).__name__
        is_cut = isinstance(error, BrokenPipeError | ConnectionResetError)
        if is_cut and self.client.shows_certificate and not self.connected:
            # In TLS 1.3 the connection exists before the certificate is checked, and may end before the reason arrives.
            self._error += ", as of a server that refuses the client certificate"
        self.refusal = self.refusal or _refusal(error)
        return self._error

    async def error(self, e: Exception) -> None:
        text = self.record(e)
        # Each attempt to reach a server that is away fails with the same error, four times a second.
        if self.connected and (text != self._logged or time.monotonic() > self._logged_at + REPEAT_S):
            self._logged, self._logged_at = text, time.monotonic()
            self.log.warning("nats error", error=text)

    async def disconnected(self) -> None:
        if self.connected and not self.client.is_closed:
            self.log.warning("nats disconnected", server=self.where)

    async def reconnected(self) -> None:
        self.client.record_login()
        self.log.info("nats reconnected", server=self.where)


def _options(settings: BusSettings, service: str, inbox: str | None, state: _ConnectionState) -> dict[str, Any]:
    """Return the client's options."""
    options: dict[str, Any] = {
        "servers": settings.nats_url.split(","),
        "name": f"tidegate-{service}",
        "inbox_prefix": (inbox or f"_INBOX_{service}").encode(),
        "error_cb": state.error,
        "disconnected_cb": state.disconnected,
        "reconnected_cb": state.reconnected,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.25,
        # The client leaves a server that hangs after two to three intervals: before others take our leases.
        "connect_timeout": settings.lease_s / 2,
        "ping_interval": settings.lease_s / 5,
        "max_outstanding_pings": 2,
        "pending_size": PENDING_BYTES,
    }
    if settings.nats_user:
        options |= {"user": settings.nats_user, "password": state.client.password}
    if settings.nats_creds:
        options["user_credentials"] = settings.nats_creds
    return options


def _refusal(error: BaseException) -> str:
    """Return why the server must not be tried again; "" for an error that may pass."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        # aiohttp, for WebSockets, wraps Python's.
        reason = getattr(getattr(error, "certificate_error", error), "verify_message", str(error))
        return (
            f"shows a certificate that is not trusted ({reason}): set NATS_CA to the CA that signed it, "
            "and name the server in NATS_URL as the certificate does"
        )
    if isinstance(error, ssl.SSLError) and "alert" in str(error).lower():
        return f"refuses the client certificate ({error.reason}): give one that it trusts, by NATS_CERT and NATS_KEY"
    if "Authorization" in str(error):
        return "refuses user {user}: check NATS_USER, NATS_PASSWORD or NATS_CREDS"
    return ""


def _certificates(settings: BusSettings) -> tls.Renewing | None:
    """Return the TLS certificates; None if no setting asks for TLS. Raises SettingError."""
    ca, cert, key = (
        tls.File("NATS_CA", settings.nats_ca),
        tls.File("NATS_CERT", settings.nats_cert),
        tls.File("NATS_KEY", settings.nats_key),
    )
    schemes = {urlsplit(url).scheme for url in settings.nats_url.split(",")}
    if not (ca or cert or key or schemes & {"tls", "wss"}):
        return None
    if "ws" in schemes:
        raise SettingError(
            f"NATS_URL={redact(settings.nats_url)} is without TLS, and NATS_CA or NATS_CERT asks for it: give wss://"
        )
    return tls.Renewing(lambda: tls.client_context(ca, cert, key), ca, cert, key)


async def _connected_in_time(
    attempt: asyncio.Task[None], state: _ConnectionState, timeout_s: float, health: Health | None
) -> bool:
    """Whether the attempt connects in time. False if the server refuses it, or it ends with an error."""
    clock = asyncio.get_running_loop().time
    deadline, silent_until = clock() + timeout_s, clock() + SILENT_S
    while clock() < deadline and not state.refusal:
        done, _ = await asyncio.wait({attempt}, timeout=0.05)
        if health and not done:
            health.beat()
            health.ready = f"waiting for NATS at {state.where}: {state.reason}"
        if not done and clock() >= silent_until:
            silent_until = clock() + SAY_S
            state.log.warning(f"no NATS server answers at {state.where} yet ({state.reason}): {REMEDY}")
        if done:
            error = attempt.exception()
            if error is None:
                return True
            state.record(error)
            return False
    return False


def _check(settings: BusSettings) -> None:
    """Raise SettingError, which names the variable, for settings on which the client would fail without a message."""
    if not all(_is_server(url) for url in settings.nats_url.split(",")):
        # The whole value is shown: redaction can't recognise a part of a password that contains a comma.
        raise SettingError(
            f"NATS_URL={redact(settings.nats_url)!r} can't be used: give nats://host:port, or several with commas; in "
            "a password write [ as %5B and a comma as %2C"
        )
    if settings.nats_creds and not Path(settings.nats_creds).is_file():
        raise SettingError(f"NATS_CREDS={settings.nats_creds} is no file: give the path of one")


def _secret(settings: BusSettings) -> str:
    """Return a secret that the replicas of a service share, and no other service has."""
    creds = Path(settings.nats_creds).read_text() if settings.nats_creds else ""
    return settings.nats_msg_id_key or _previous_key(settings.nats_password_file) or settings.nats_password or creds


def _previous_key(password_file: str) -> str:
    """Return the id key from before a rotation: `tidegate cluster init --rotate` stores it next to the password."""
    path = Path(password_file + KEY_FILE)
    try:
        return path.read_text().strip() if password_file and path.exists() else ""
    except (OSError, ValueError) as e:
        raise SettingError(f"{path} can't be read ({e}): it makes the ids of what is stored") from None


def _password(settings: BusSettings) -> Password:
    """Return the password. Its file is re-read only if the password came from it: NATS_PASSWORD takes precedence."""
    path = Path(settings.nats_password_file) if settings.nats_password_file else None
    password = Password(settings.nats_password, path)
    return password if password.is_of_file else Password(settings.nats_password)


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        return bool(parts.hostname) and parts.port != 0 and parts.scheme in SCHEMES
    except ValueError:  # an invalid port, or brackets without an address in them
        return False


async def _abandon(client: Client) -> None:
    try:
        await asyncio.wait_for(client.close(), timeout=1.0)
    except (TimeoutError, OSError, nats.errors.Error):
        pass


async def consumer_info(js: JetStreamContext, stream: str, consumer: str) -> ConsumerInfo:
    """Return the configuration and progress of `consumer` of `stream`.

    Raises Unanswered if JetStream does not answer, BusError, with the remedy, if the consumer is missing.
    """
    try:
        info: ConsumerInfo = await js.consumer_info(stream, consumer)
        return info
    except nats.js.errors.NotFoundError as e:
        raise BusError(f"stream {stream} or its consumer {consumer} is missing: run 'tidegate setup'") from e
    except (TimeoutError, nats.errors.Error) as e:
        raise unanswered(f"{stream}/{consumer}", e) from e
