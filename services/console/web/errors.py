"""Every error as JSON with one sentence: `{"error": "there is no camera 'x'"}`."""

from __future__ import annotations

from typing import Any

import msgspec
import nats.errors
from litestar import MediaType, Response
from litestar.exceptions import HTTPException

from services.console.web.parameters import AnyRequest
from services.console.web.refused import Refused
from shared.bus.requests import NobodyAnswers
from shared.runtime.errors import BadMessage, BusError, Refusal, SettingError, TidegateError
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

_AWAY = "the server does not answer: try again in a moment, or see what System says"
# Errors that any route may answer with, and when.
ERRORS = {
    400: "What was sent is not understood: `error` says which part, and what would be.",
    401: "Nobody is signed in, or a session or a token has ended.",
    403: "You may not: `error` says who may.",
    404: "There is none, or none that you may see.",
    409: "It is not as you think: somebody else has changed it, or something must come first.",
    413: "More was sent than is taken.",
    429: "Too much at once: try again later.",
    502: "Another program, which was asked for it, failed: `error` says which.",
    503: "What it needs is away: `error` says what that is. Try again in a moment.",
}

# The framework's error if a browser left before its request was read: not a failure.
_DISCONNECTED = "client disconnected prematurely"


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The reason of a failure. error: a sentence for people, which says what to do."""

    error: str


def _answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response[ErrorAnswer]:
    answer = ErrorAnswer(error=plain(redact(sentence))[:2000])
    return Response(answer, status_code=status, media_type=MediaType.JSON, headers=headers or {})


def _of(error: Exception) -> tuple[int, str]:
    match error:
        case Refused():
            return error.status, str(error)
        case Refusal():
            return (error.code if 400 <= error.code < 500 else 502), str(error)
        case NobodyAnswers():
            return 503, str(error)
        case SettingError() | BadMessage():
            return 400, str(error)
        case BusError() | TidegateError():
            return 502, str(error)
        case _:
            return 503, _AWAY


def handled(request: AnyRequest, error: Exception) -> Response[ErrorAnswer]:
    """Answer errors that are raised on purpose, and an unreachable server."""
    status, sentence = _of(error)
    return _answer(status, sentence, error.headers if isinstance(error, Refused) else None)


def http(request: AnyRequest, error: HTTPException) -> Response[ErrorAnswer]:
    """Answer the framework's errors: invalid bodies and parameters, with their place."""
    if error.detail == _DISCONNECTED:
        return _answer(408, error.detail)
    if error.status_code >= 500:
        return failed(request, error)
    where = error.extra if isinstance(error.extra, list) else []
    places = [f"{part.get('key', 'body')}: {part.get('message', '')}" for part in where if isinstance(part, dict)]
    sentence = "; ".join(places) or str(error.detail)
    return _answer(error.status_code, sentence, dict(error.headers or {}))


def nested(request: AnyRequest, error: RecursionError) -> Response[ErrorAnswer]:
    """Answer a body that is nested too deeply to decode."""
    return _answer(400, "what was sent is nested too deeply")


def failed(request: AnyRequest, error: Exception) -> Response[ErrorAnswer]:
    """Answer an unexpected error: details go to the log, not to the client."""
    logger("console").error("a request failed", path=request.scope["path"], exc_info=error)
    return _answer(500, "this failed here: the console's log says why")


HANDLERS: Any = {
    HTTPException: http,
    TidegateError: handled,
    nats.errors.Error: handled,
    TimeoutError: handled,
    RecursionError: nested,
    Exception: failed,
}
