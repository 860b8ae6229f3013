"""Jobs for a vision language model: one struct per kind, its subject and its id. Pure.

    job = Verify(camera="lobby", incident="i-17", prompt="Is a person lying down?", segments=[1234])
    await bus.publish_job(client, job)

A process that wants video analysed publishes a job; `vlm` answers each with exactly one event, unless its client no
longer waits. Verify comes before check, ask and summarize, and those before caption.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from shared.contract import names
from shared.contract.names import END, Token
from shared.contract.reading import schema
from shared.contract.reading.bounds import EARLIEST, LATEST, MOST, Instant, in_time
from shared.runtime.errors import BadMessage

Text = Annotated[str, Meta(min_length=1, max_length=4000)]
# It becomes part of ids in headers.
Id = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_.:-]{{1,128}}{END}")]
Sequence = Annotated[int, Meta(ge=1, le=MOST)]


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all jobs. `kind` names the subject: `jobs.vlm.<kind>.<camera>`. id: for its event.

    wait_s: how long the client waits for the answer. After that the job is dropped; without it, it is always done.
    """

    kind: ClassVar[str]
    camera: Token
    id: Id | None = None
    wait_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None

    @property
    def message_id(self) -> str | None:
        """Return `Nats-Msg-Id`: a job published twice is done once. None if only the publisher can tell."""
        return f"{self.kind}/{self.camera}/{self.id}" if self.id else None


class Caption(Job, frozen=True, kw_only=True):
    """What happens in [start, end)? Answered by `events.captions`. always: whether a static scene is captioned, too."""

    kind: ClassVar[str] = "caption"
    start: Instant
    end: Instant
    prompt: Annotated[str, Meta(max_length=4000)] = ""
    always: bool = False

    @property
    def message_id(self) -> str | None:
        start, end = (round(time.timestamp() * 1000) for time in (self.start, self.end))
        return super().message_id or f"{self.kind}/{self.camera}/{start}-{end}"


class Verify(Job, frozen=True, kw_only=True):
    """Is an incident real? Answered by `events.verdicts`.

    incident: all jobs of one incident are the same job. prompt: the condition. segments: sequences of MEDIA that hold
    the evidence. rule: of the incident. start, end: of the incident, if known.
    """

    kind: ClassVar[str] = "verify"
    incident: Id
    prompt: Text
    segments: Annotated[list[Sequence], Meta(min_length=1, max_length=1000)]
    rule: Annotated[str, Meta(max_length=200)] | None = None
    start: Instant | None = None
    end: Instant | None = None

    @property
    def message_id(self) -> str | None:
        return f"{self.kind}/{self.camera}/{self.incident}"


class Check(Verify, frozen=True, kw_only=True):
    """A verification without an incident, for a client: it queues with the questions.

    incident: the id for its verdict.
    """

    kind: ClassVar[str] = "check"


class Ask(Job, frozen=True, kw_only=True):
    """A question about [start, end). Answered by `events.answers`."""

    kind: ClassVar[str] = "ask"
    question: Text
    start: Instant
    end: Instant


class Summarize(Job, frozen=True, kw_only=True):
    """What happened in [start, end), from its captions, or else its video? Answered by `events.summaries`."""

    kind: ClassVar[str] = "summarize"
    start: Instant
    end: Instant
    prompt: Annotated[str, Meta(max_length=4000)] = ""


KINDS: tuple[type[Job], ...] = (Verify, Check, Ask, Summarize, Caption)
_BY_KIND = {kind.kind: kind for kind in KINDS}


def subject(job: Job) -> str:
    """Return `jobs.vlm.<kind>.<camera>`."""
    return names.job(job.kind, job.camera)


def encode(job: Job) -> bytes:
    return msgspec.json.encode(job)


def decode(at: str, data: bytes) -> Job:
    """Return the job of a message on the subject `at`. Raises BadMessage that names the field."""
    kind = _BY_KIND.get(at.removeprefix("jobs.vlm.").partition(".")[0])
    if kind is None:
        raise BadMessage(f"{at!r} is no subject of a job: jobs.vlm.<kind>.<camera>, kind one of {list(_BY_KIND)}")
    try:
        job = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"not a job of kind {kind.kind}: {e}") from e
    if subject(job) != at:
        raise BadMessage(f"its camera is {job.camera!r}, its subject is {at!r}")
    start, end = (getattr(job, field, None) for field in ("start", "end"))
    for name, time in (("start", start), ("end", end)):
        if time and not in_time(time):
            raise BadMessage(
                f"not a job of kind {kind.kind}: its {name} {time} is not between {EARLIEST:%Y} and {LATEST:%Y}"
            )
    if start and end and start >= end:
        raise BadMessage(f"not a job of kind {kind.kind}: its start {start} is not before its end {end}")
    return job


def json_schema() -> dict[str, Any]:
    """Return JSON Schema 2020-12 of all jobs, by kind, under `$defs`."""
    return schema.any_of("Tidegate jobs for a vision language model", KINDS)
