"""The questions and answers of `python -m services.analytics.preview`, line by line. Pure.

    ask(request("lobby", rules, since, until))
    for stored in ...: ask(detections(stored.seq, stored.time, stored.data))      # of the camera, from EVENTS
    ask(end(until))
    for line in ...: answer(line)       # mistakes, or incidents and how much is done, and then the sums; or an error

Start it by `shared.runtime.child`. It needs no rights, and ends with its input. Detections from before `since` give it
the initial state: send half a minute of them. Skip replays for other services, with the header `REPLAY_FOR` of
`shared.contract.deadletters`: analytics does not read them.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from shared.contract import events
from shared.contract.events import Incident
from shared.contract.names import Token
from shared.contract.reading.bounds import Count, Instant, Unit
from shared.runtime.errors import BadMessage

# A day of segments of some four seconds.
MOST_SEGMENTS = 20_000
# An event is at most NATS' largest message, and its line adds little to it.
MOST_LINE = 16 * 2**20
MOST_BYTES = 512 * 2**20
# No user reads more.
MOST_INCIDENTS = 5_000


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line. rules: a value as `shared.contract.rules` reads it. since, until: the range of the incidents."""

    camera: Token
    rules: msgspec.Raw
    since: Instant
    until: Instant


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Detections, or the last line.

    at: when EVENTS stored them. seq: their sequence there. event: null for invalid JSON. The last line has neither: all
    of the camera that was stored until `at` has been sent.
    """

    at: Instant
    seq: Count | None = None
    event: msgspec.Raw = msgspec.Raw(b"null")


class WrongRule(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake in the rules. path: such as `rules[2].zone`; empty for the whole."""

    path: str
    text: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the answer, which has one of these.

    done: the processed fraction. incident: one that begins, changes or ends, as in its event; one that lasts at `until`
    has no end, and there are no verifications. mistakes: in the rules; nothing else comes. error: why there is no
    answer. The last line has totals: incidents, tracks and segments, unreadable ones, and the seconds taken.
    """

    done: Unit | None = None
    incident: Incident | None = None
    mistakes: list[WrongRule] | None = None
    error: str | None = None
    incidents: Count | None = None
    tracks: Count | None = None
    segments: Count | None = None
    unreadable: Count | None = None
    seconds_taken: float | None = None


def request(camera: str, rules: Any, since: dt.datetime, until: dt.datetime) -> bytes:
    """Return the first line. rules: the value of a rule file, right or wrong."""
    raw = msgspec.Raw(msgspec.json.encode(rules))
    return _line(Request(camera=camera, rules=raw, since=since, until=until))


def detections(seq: int, at: dt.datetime, data: bytes) -> bytes:
    """Return the line of a message of EVENTS, whatever it holds."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        data = b"null"
    # JSON text holds no line feed: any line feed lies between values.
    return _line(Line(at=at, seq=seq, event=msgspec.Raw(data.replace(b"\n", b" "))))


def end(at: dt.datetime) -> bytes:
    """Return the last line. at: all that was stored until then has been sent."""
    return b'{"at":%b}\n' % msgspec.json.encode(at)


def line_of(answer: Answer) -> bytes:
    """Return an answer as its line."""
    return b'{"incident":%b}\n' % events.encode(answer.incident) if answer.incident else _line(answer)


def answer(line: bytes) -> Answer:
    """Raises BadMessage."""
    try:
        return msgspec.json.decode(line, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"no answer of a preview: {e}") from e


def _line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
