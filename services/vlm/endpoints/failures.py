"""The meaning of an endpoint's errors: their cause, and whether waiting helps. Pure.

| error | the endpoint | the caller |
|---|---|---|
| `Away` | can't be reached, or is unhealthy | pauses until it is healthy |
| `Cold` | is not there yet: it starts, or scales up from zero | pauses, and waits for minutes |
| `Refused` | accepts nothing with these settings | pauses, and names the setting |
| `Busy` | is overloaded | retries after its delay |
| `RequestFailed` | failed, perhaps because of this request | retries a few times |
| `Rejected`, `TooLong` | will never accept this request | gives the job up |
"""

from __future__ import annotations

import datetime as dt
import email.utils
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.runtime.errors import Away, BadMessage, TidegateError
from shared.runtime.redact import redact

# Maximum characters of a server's message.
REASON = 400


class Cold(Away):
    """No server can answer yet: the endpoint starts, or scales up from zero."""


class Refused(Away):
    """The endpoint accepts no request with these settings. The message names the setting."""


class Busy(Away):
    """The server is overloaded. after_s: seconds until a retry, if it requests that."""

    def __init__(self, reason: str, after_s: float | None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class RequestFailed(TidegateError):
    """The server answered with its own error, or broke off: the cause may be the request or the server."""


class Rejected(BadMessage):
    """The server will never accept this request."""


class TooLong(Rejected):
    """Question and answer exceed the model's context, or the request exceeds the size limit."""


def redirects(status: int) -> Refused:
    return Refused(f"the endpoint redirects, {status}: set VLM_URL to the address itself")


def of(status: int, text: str, headers: Mapping[str, str]) -> TidegateError:
    """Return the error of an OpenAI-compatible server's status other than 200. text: its body."""
    what = message_of(text)
    reason = f"{status}: {what}"
    if 300 <= status < 400:
        return redirects(status)
    after_s = retry_after(headers.get("Retry-After", ""), dt.datetime.now(dt.UTC))
    if status == 429 or (status == 503 and after_s is not None):
        return Busy(reason, after_s)
    if status == 503:
        return Cold(f"the endpoint is not there yet, {reason}")
    if status in (401, 403):
        return Refused(f"the endpoint refuses the key, {reason}: set VLM_KEY or VLM_KEY_FILE")
    if status == 404:
        return Refused(f"the endpoint does not know the model or the path, {reason}: correct VLM_MODEL or VLM_URL")
    if status >= 500:
        return RequestFailed(reason)
    if status == 413 or ("context" in what.lower() and ("length" in what.lower() or "token" in what.lower())):
        return TooLong(reason)
    return Rejected(f"the endpoint rejects the request, {reason}")


def message_of(text: str) -> str:
    """Return the human-readable text of an error's body: its message, or all of it if it is no JSON."""
    try:
        message = message_in(msgspec.json.decode(text))
    except (ValueError, RecursionError):
        message = " ".join(text.split())
    return redact(message)[:REASON]


def message_in(body: Any) -> str:
    """Return the message of an error, in the formats of OpenAI, vLLM, Databricks, AWS and others."""
    if isinstance(body, dict):
        inner = next((body[key] for key in ("error", "message", "Message") if key in body), body)
        return str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)
    return str(body)


def retry_after(value: str, now: dt.datetime) -> float | None:
    """Parse a Retry-After header, seconds or a date (RFC 9110, 10.2.3), to seconds; None if invalid."""
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value[:64])
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
