"""What was put off: one job for each segment of which less was looked at than is wanted. Pure.

    job = Backfill(camera="lobby", stream="MEDIA", seq=1204, revises="cv/ssd/MEDIA/1204", frames=4)
    names.backfill("cv", job.camera), deferred_id(job.revises), encode(job)

A worker that has nothing else to do takes it, looks at all frames that are wanted, and says a revision of the event
that `revises` names; or it says why there will be none.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract import names
from shared.contract.bounds import MOST, Count, Id, Name
from shared.contract.names import Token
from shared.runtime.errors import BadMessage


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """stream, seq: the segment. revises: the `ce-id` of its first event. frames: how many were left out."""

    camera: Token
    stream: Name
    seq: Annotated[int, Meta(ge=1, le=MOST)]
    revises: Id
    frames: Count


def deferred_id(first: str) -> str:
    """The id of the job that follows the event `first`: what is put off twice is done once."""
    return f"{first}/deferred"


def revision_id(first: str) -> str:
    """The `ce-id` of the event that takes the place of the event `first`."""
    return f"{first}/full"


def encode(job: Backfill) -> bytes:
    return msgspec.json.encode(job)


def decode(service: str, at: str, data: bytes) -> Backfill:
    """The job that a service finds on the subject `at`. Raises BadMessage that names the field."""
    try:
        job = msgspec.json.decode(data, type=Backfill)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"not what was put off: {e}") from e
    if at != names.backfill(service, job.camera):
        raise BadMessage(f"its camera is {job.camera!r}, its subject is {at!r}")
    return job
