"""Migration of an older version's store: jobs in another stream, passwords that can't be overwritten.

Up to 0.2, VLM held jobs of all kinds. They move to the present streams of these kinds, and their consumers of VLM are
deleted. The bucket `credentials` denied deleting single messages, and only that overwrites a password on disk: it is
recreated.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, KeyValueConfig, StreamConfig
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

from shared.contract import ids, names
from shared.contract.deadletters import REPLAY_FOR, REPLAY_OF
from shared.contract.reading.entries import entries
from shared.runtime.telemetry import logger

MOVER = "moving"
# The maximum number of jobs to move together.
BATCH = 256
FETCH_S = 5.0
HEADERS = (ids.HEADER, "traceparent", REPLAY_FOR, REPLAY_OF)


async def take_over(js: JetStreamContext, into: StreamConfig) -> str:
    """Move the jobs of `into`'s subjects out of VLM, and return a summary; empty for none. Raises APIError.

    It may be interrupted and repeated: a job leaves VLM once it is stored in its new stream.
    """
    former = [consumer for stream, consumer in names.VLM_WORK if stream == into.name != names.VLM]
    if not former:
        return ""
    for consumer in (*former, MOVER):
        with contextlib.suppress(NotFoundError):
            await js.delete_consumer(names.VLM, consumer)
    found = await _waiting(js, into)
    if not found:
        return ""
    logger("setup").info("moving jobs, thousands in a second", count=found, into=into.name)
    # Its limits are for new jobs: waiting jobs are never refused.
    await js.update_stream(replace(into, max_msgs=-1, max_bytes=-1, max_msg_size=-1))
    try:
        await _move(js, into)
    finally:
        await js.update_stream(into)
    return f"took over {found} jobs from {names.VLM}"


async def make_erasable(js: JetStreamContext) -> str:
    """Allow deleting single messages of `credentials`, which overwrites them on disk, if the bucket denies that.

    A purge, and a new value, leave the old one in the store's file. The denial is permanent, so the bucket is recreated
    with its contents; a copy survives an interruption.
    """
    name, copy = f"KV_{names.CREDENTIALS}", f"KV_{names.CREDENTIALS}-copy"
    config = (await js.stream_info(name)).config
    copies = {str(info.config.name) for info in await js.streams_info()} & {copy}
    if not config.deny_delete and not copies:
        return ""
    if config.deny_delete:
        if not copies and (before := await entries(js, names.CREDENTIALS)):
            await js.create_key_value(
                KeyValueConfig(bucket=f"{names.CREDENTIALS}-copy", replicas=config.num_replicas or 1)
            )
            await _fill(await js.key_value(f"{names.CREDENTIALS}-copy"), before)
            copies = {copy}
        await js.delete_stream(name)
        config.deny_delete = False
        await js.add_stream(config)
    if not copies:
        return ""
    there = await entries(js, names.CREDENTIALS)
    copied = await entries(js, f"{names.CREDENTIALS}-copy")
    new = await js.key_value(names.CREDENTIALS)
    await _fill(new, {key: value for key, value in copied.items() if key not in there})
    await js.delete_stream(copy)
    return "made anew: what is removed from it is overwritten on disk"


async def _waiting(js: JetStreamContext, into: StreamConfig) -> int:
    """Return how many jobs of `into`'s subjects VLM holds."""
    state = (await js.stream_info(names.VLM, subjects_filter="jobs.vlm.>")).state
    prefixes = tuple(subject.removesuffix(">") for subject in into.subjects or ())
    return sum(count for subject, count in (state.subjects or {}).items() if subject.startswith(prefixes))


async def _move(js: JetStreamContext, into: StreamConfig) -> None:
    mover = ConsumerConfig(
        durable_name=MOVER, filter_subjects=into.subjects, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=BATCH
    )
    left = (await js.add_consumer(names.VLM, mover)).num_pending
    try:
        pulled = await js.pull_subscribe_bind(MOVER, names.VLM)
        while left:
            jobs = await pulled.fetch(BATCH, timeout=FETCH_S)
            await asyncio.gather(*(_publish(js, job) for job in jobs))
            left = (await js.consumer_info(names.VLM, MOVER)).num_pending
        await pulled.unsubscribe()
    finally:
        await js.delete_consumer(names.VLM, MOVER)


async def _publish(js: JetStreamContext, job: Msg) -> None:
    at = f"{job.metadata.stream}/{job.metadata.sequence.stream}"
    headers = {k: v for k, v in (job.headers or {}).items() if k in HEADERS}
    # A worker of the older version may have it in flight, and complete it: its event then has the same id.
    id = ids.Sealed(headers.pop(ids.HEADER, at))
    await js.publish(job.subject, job.data, headers={REPLAY_OF: at} | headers | {ids.HEADER: id})
    # The server may keep messages acknowledged to a consumer of subjects that are no longer the stream's.
    await js.delete_msg(names.VLM, job.metadata.sequence.stream)
    await job.ack()


async def _fill(bucket: KeyValue, values: Mapping[str, bytes]) -> None:
    for key, value in values.items():
        await bucket.put(key, value)
