"""JetStream's info on streams and consumers, with the rights of one connection.

    info = await infos.stream(client, "MEDIA")
    info.state.first_seq
    (await infos.consumer(client, "MEDIA", "cv")).num_pending

Fields are the server's own; only those that we read are listed.
"""

from __future__ import annotations

import datetime as dt
from typing import TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.bus.direct import server_time
from shared.contract import names
from shared.runtime.errors import BusError

TIMEOUT_S = 2.0
_NOT_FOUND = 404


class Missing(BusError):
    """There is no such stream, consumer or bucket."""


class Unavailable(BusError):
    """NATS is away, JetStream does not answer, or this connection may not ask."""


class _ApiError(msgspec.Struct, frozen=True):
    code: int = 500
    description: str = ""


class _Reply(msgspec.Struct, frozen=True, kw_only=True):
    error: _ApiError | None = None


class RePublish(msgspec.Struct, frozen=True, kw_only=True):
    src: str = ""
    dest: str = ""
    headers_only: bool = False


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of -1 or 0 means none; max_age is in nanoseconds."""

    subjects: tuple[str, ...] = ()
    retention: str = ""
    max_bytes: int = 0
    max_msgs: int = 0
    max_age: int = 0
    discard: str = "old"
    num_replicas: int = 1
    republish: RePublish | None = None


class StreamHolds(msgspec.Struct, frozen=True, kw_only=True):
    """subjects: messages by subject, of the requested ones."""

    subjects: dict[str, int] = {}
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    first_ts: str = ""
    last_ts: str = ""
    consumer_count: int = 0


class StreamInfo(_Reply, frozen=True, kw_only=True):
    config: StreamConfig = StreamConfig()
    state: StreamHolds = StreamHolds()

    @property
    def is_work_queue(self) -> bool:
        """Whether acknowledged messages are deleted, so that its first message is the oldest open one."""
        return self.config.retention == "workqueue"

    def is_whole(self, consumer: ConsumerInfo) -> bool:
        """Whether a consumer gets every stored message; False if the stream's subjects are unknown.

        MEDIA has main streams only while a camera with a substream sends.
        """
        subjects = {s for s in self.config.subjects if s != names.main(">") or self.state.subjects}
        return bool(subjects) and (not consumer.filters or subjects <= set(consumer.filters))


class ConsumerConfig(msgspec.Struct, frozen=True, kw_only=True):
    filter_subject: str = ""
    filter_subjects: tuple[str, ...] = ()
    max_ack_pending: int = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    consumer_seq: int = 0
    stream_seq: int = 0
    last_active: str = ""


class ConsumerInfo(_Reply, frozen=True, kw_only=True):
    """num_pending: messages that wait. num_ack_pending: those in flight. num_waiting: open pulls."""

    created: str = ""
    config: ConsumerConfig = ConsumerConfig()
    delivered: Place = Place()
    ack_floor: Place = Place()
    num_pending: int = 0
    num_ack_pending: int = 0
    num_redelivered: int = 0
    num_waiting: int = 0

    @property
    def filters(self) -> tuple[str, ...]:
        one = self.config.filter_subject
        return (one,) if one else self.config.filter_subjects


async def stream(client: Client, name: str) -> StreamInfo:
    """Return a stream's info, with the subjects of main streams. Raises Missing or Unavailable."""
    subject, request = names.api("STREAM.INFO", name), {"subjects_filter": names.main(">")}
    return await _ask(client, subject, StreamInfo, f"stream {name}", msgspec.json.encode(request))


async def consumer(client: Client, of: str, name: str) -> ConsumerInfo:
    """Return a consumer's info. Raises Missing or Unavailable."""
    return await _ask(client, names.api("CONSUMER.INFO", of, name), ConsumerInfo, f"consumer {name} of stream {of}")


def instant(text: str) -> dt.datetime | None:
    """Parse a time of the server; None if there is none, as in an empty stream."""
    try:
        found = server_time(text)
    except ValueError:
        return None
    return found if found.year > 1 and found.tzinfo else None


R = TypeVar("R", bound=_Reply)


async def _ask(client: Client, subject: str, kind: type[R], what: str, request: bytes = b"") -> R:
    if not client.is_connected:
        # The request would wait in the client's buffer until its timeout.
        raise Unavailable("NATS is not connected")
    try:
        reply = msgspec.json.decode((await client.request(subject, request, timeout=TIMEOUT_S)).data, type=kind)
    except nats.errors.NoRespondersError as e:
        raise Unavailable(f"{what}: JetStream does not answer: is it enabled for this account?") from e
    except (TimeoutError, nats.errors.Error, OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
        raise Unavailable(
            f"{what}: JetStream has not answered within {TIMEOUT_S:g} s: is it up, and may this user ask?"
        ) from e
    if reply.error and reply.error.code == _NOT_FOUND:
        raise Missing(f"{what}: {reply.error.description}: run 'tidegate setup', or correct the names")
    if reply.error:
        raise Unavailable(f"{what}: {reply.error.description}")
    return reply
