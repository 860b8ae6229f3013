"""The errors Tidegate raises on purpose. Each message says what to do next."""

from __future__ import annotations


class TidegateError(Exception):
    """Base of all of them: the command line prints its message, without a traceback."""


class SettingError(TidegateError):
    """A setting can't be used. The message names the variable."""


class BusError(TidegateError):
    """The server, a stream, a consumer or a bucket is missing or refuses us."""


def connection_closed() -> BusError:
    """Return the error of a connection that the server has closed for good: the client no longer reconnects."""
    return BusError("the server has closed the connection for good: see the log for its reason")


class Unanswered(BusError):
    """JetStream has not answered, as without a leader: a retry may succeed."""


class Unstorable(BusError):
    """The server will never take this message: it is too large, or can't be sent."""


class Full(BusError):
    """A stream takes no more for now."""


class BadMessage(TidegateError):
    """A message that can never be processed: it is dead-lettered immediately."""


class BadSegment(BadMessage):
    """A segment whose headers or video can't be read."""


class Expired(BadSegment):
    """A segment that has expired, or an earlier one that its decoding needs."""


class OverBudget(BadSegment):
    """A segment that exceeds the decoding budget, or whose camera's segments did so repeatedly."""


class ModelError(TidegateError):
    """A model, its weights or its device can't be used."""


class Away(TidegateError):
    """A dependency of a service can't be reached: the message is fine, and another replica may take it."""


class Refusal(TidegateError):
    """An error answer to a request. code: as in HTTP: 400 for a wrong request, 5xx for our own failure."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
