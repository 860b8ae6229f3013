"""The errors Tidegate raises on purpose. Each message says what to do next."""

from __future__ import annotations


class TidegateError(Exception):
    """Base of all of them: the command line prints its sentence, without a traceback."""


class SettingError(TidegateError):
    """A setting can't be used. The message names the variable."""


class BusError(TidegateError):
    """The server, a stream, a consumer or a bucket is not there or refuses us."""


class Unanswered(BusError):
    """JetStream has not answered, as while it has no leader: it may yet."""


class Unstorable(BusError):
    """A message that the server will never take: it is too large, or can't be sent."""


class Full(BusError):
    """A stream takes no more for now."""


class BadMessage(TidegateError):
    """A message that can't ever be processed: it goes to the dead-letter stream at once."""


class BadSegment(BadMessage):
    """A segment whose headers or video can't be read."""


class Expired(BadSegment):
    """A segment that is no longer kept, or one that it is decoded from."""


class OverBudget(BadSegment):
    """A segment that takes more decoding than it may, or whose camera's segments did so again and again."""


class ModelError(TidegateError):
    """A model, its weights or its device can't be used."""


class Away(TidegateError):
    """What a service works with can't be reached: no fault of the message, which another replica may take."""


class Refusal(TidegateError):
    """A request that is answered with an error. code: as in HTTP: 400 where the request is wrong, 5xx where we are."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
