"""What an endpoint's errors mean: whose fault they are, and whether waiting helps. Pure.

| error | the endpoint | what the caller does |
|---|---|---|
| `Away` | can't be reached, or is not well | leaves it alone until it is well |
| `Cold` | is not there yet: it starts, or scales up from zero | the same, and is patient for minutes |
| `Refused` | takes nothing, as the settings are | the same, and says which setting |
| `Busy` | has too much to do | asks again after what it says |
| `RequestFailed` | failed, and may do so because of this request | asks again, a few times |
| `Rejected`, `TooLong` | will never take this request | lets the job go |
"""

from __future__ import annotations

import datetime as dt
import email.utils
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.runtime.errors import Away, BadMessage, TidegateError
from shared.runtime.redact import redact

# So many characters are kept of what a server says.
REASON = 400


class Cold(Away):
    """Nothing is there yet that could answer: the endpoint starts, or scales up from zero."""


class Refused(Away):
    """The endpoint takes no request as it is asked. The message names the setting."""


class Busy(Away):
    """The server has too much to do. after_s: seconds after which it may be asked again, if it says so."""

    def __init__(self, reason: str, after_s: float | None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class RequestFailed(TidegateError):
    """The server answered with an error of its own, or broke off: the request may be to blame, or the server."""


class Rejected(BadMessage):
    """The server will never take this request."""


class TooLong(Rejected):
    """Question and answer are longer than the model's context, or the request is larger than may be sent."""


def redirects(status: int) -> Refused:
    return Refused(f"the endpoint redirects, {status}: set VLM_URL to the address itself")


def of(status: int, text: str, headers: Mapping[str, str]) -> TidegateError:
    """The error that an OpenAI-compatible server means by a status other than 200. text: its body."""
    what = said(text)
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


def said(text: str) -> str:
    """What an error's body says, for people: its message, or all of it where it is no JSON."""
    try:
        message = said_by(msgspec.json.decode(text))
    except (ValueError, RecursionError):
        message = " ".join(text.split())
    return redact(message)[:REASON]


def said_by(body: Any) -> str:
    """The message of an error, in the forms of OpenAI, vLLM, Databricks, AWS and others."""
    if isinstance(body, dict):
        inner = next((body[key] for key in ("error", "message", "Message") if key in body), body)
        return str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)
    return str(body)


def retry_after(value: str, now: dt.datetime) -> float | None:
    """The seconds of a header Retry-After, which gives seconds or a date (RFC 9110, 10.2.3); None for neither."""
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value[:64])
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
