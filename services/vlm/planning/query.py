"""Requests of `svc.ask`: JSON with a `kind`. The reply is the job's event. Pure.

Example:
    {"kind": "ask", "camera": "lobby", "question": "What is the man carrying?", "since": "2026-11-24T13:00:00Z"}
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from services.vlm.kinds.caption import PROMPT
from shared.contract.names import Token
from shared.contract.reading.bounds import EARLIEST, LATEST, Instant, in_time
from shared.contract.work import jobs
from shared.contract.work.jobs import Job, Text
from shared.runtime.errors import Refusal

LONGEST_WAIT_S = 600.0
# A question without a time is about the last seconds, of this number.
DEFAULT_S = 60.0
# Maximum bytes of a question: 4000 characters and a thousand segments fit, and many questions wait concurrently.
MOST_BYTES = 64 * 1024


class _Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """The common fields. wait_s: how long the client waits for the answer; after that no worker begins it."""

    camera: Token
    wait_s: Annotated[float, Meta(gt=0, le=LONGEST_WAIT_S)] = 120.0


class _OfStretch(_Query, frozen=True, kw_only=True):
    """A question about a stretch. since, until: times with a zone; by default the last minute."""

    since: Instant | None = None
    until: Instant | None = None

    def stretch(self, now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
        """(start, end). Raises Refusal for a stretch that ends before it begins."""
        until = self.until or now
        try:
            since = self.since or until - dt.timedelta(seconds=DEFAULT_S)
        except OverflowError as e:
            raise Refusal(400, f"until {until.isoformat()} is before all time") from e
        if since < EARLIEST:
            raise Refusal(400, f"since {since.isoformat()} is before {EARLIEST:%Y}, when there was no video")
        if not in_time(until):
            raise Refusal(400, f"until {until.isoformat()} is not before {LATEST:%Y}")
        if since >= until:
            raise Refusal(400, f"since {since.isoformat()} is not before until {until.isoformat()}")
        return since, until


class AskQuery(_OfStretch, frozen=True, kw_only=True, tag="ask"):
    """A question. It is answered by an event of kind `answers`."""

    question: Text


class CaptionQuery(_OfStretch, frozen=True, kw_only=True, tag="caption"):
    """What happens? As a user waits, it precedes the captions of all cameras, and is answered as a question."""

    prompt: Annotated[str, Meta(max_length=4000)] = ""


class SummarizeQuery(_OfStretch, frozen=True, kw_only=True, tag="summarize"):
    """What happened, by the captions? It is answered by an event of kind `summaries`."""

    prompt: Annotated[str, Meta(max_length=4000)] = ""


class VerifyQuery(_Query, frozen=True, kw_only=True, tag="verify"):
    """Is it so, by these segments of MEDIA? It is answered by an event of kind `verdicts`."""

    prompt: Text
    segments: Annotated[list[jobs.Sequence], Meta(min_length=1, max_length=1000)]


Query = AskQuery | CaptionQuery | SummarizeQuery | VerifyQuery
_decoder: msgspec.json.Decoder[Query] = msgspec.json.Decoder(Query)


def read(data: bytes) -> Query:
    """Decode a request. Raises Refusal that names the field."""
    if len(data) > MOST_BYTES:
        raise Refusal(400, f"not a question: it has {len(data)} bytes, and {MOST_BYTES} are the most")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refusal(400, f"not a question: {e}") from e


def job_of(query: Query, now: dt.datetime) -> Job:
    """Return the job for a question, with a new id. Raises Refusal."""
    id = secrets.token_hex(8)
    common: dict[str, Any] = {"camera": query.camera, "wait_s": query.wait_s}
    if isinstance(query, VerifyQuery):
        name, proof = f"asked-{id}", query.segments
        return jobs.Check(**common, incident=name, prompt=query.prompt, segments=proof)
    start, end = query.stretch(now)
    if isinstance(query, SummarizeQuery):
        return jobs.Summarize(**common, id=id, start=start, end=end, prompt=query.prompt)
    question = query.question if isinstance(query, AskQuery) else query.prompt or PROMPT
    return jobs.Ask(**common, id=id, start=start, end=end, question=question)


def name_of(job: Job) -> str:
    """Return the job's name in its event."""
    return job.incident if isinstance(job, jobs.Verify) else job.id or ""
