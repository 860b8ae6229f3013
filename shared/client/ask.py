"""A question about a camera's video on `svc.ask`, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.contract import names
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import BusError, SettingError

# Longer than the service's own timeout, so that the service explains a missing answer.
MARGIN_S = 5.0


async def ask(client: Client, question: Mapping[str, Any]) -> Msg:
    """Return the event that answers. Raises TidegateError."""
    payload = msgspec.json.encode(question)
    if len(payload) > client.max_payload:
        raise SettingError(f"the question has {len(payload) / 2**20:.1f} MB: ask in fewer words")
    try:
        return await requests.ask(client, names.ASK, payload, timeout_s=question["wait_s"] + MARGIN_S)
    except NobodyAnswers as e:
        raise NobodyAnswers(
            f"nobody answers questions ({e}): start 'tidegate up --vlm', or VLM_MODE=front python -m services.vlm"
        ) from e


async def hear(client: Client, beats: dict[str, WorkerStats]) -> None:
    """Record in `beats` the last heartbeat of each worker, by replica, from now on."""

    async def heard(message: Msg) -> None:
        beat = stats.decode(message.data)
        beats[beat.replica] = beat

    await client.subscribe(names.stats("vlm", "*"), cb=heard)


async def jobs_before(client: Client) -> int | None:
    """Return how many jobs run or wait ahead of a new question; None if the server does not answer."""
    js = client.jetstream()
    try:
        infos = [await js.consumer_info(*work) for work in names.VLM_WORK[:2]]
    except (TimeoutError, nats.errors.Error, BusError):
        return None
    return sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)


async def waited_for(client: Client, beats: Mapping[str, WorkerStats]) -> str:
    """Describe how many jobs run or wait, and the state of the workers. beats: the last of each, by replica."""
    jobs = await jobs_before(client)
    if jobs is None:
        return "the server does not say what for"
    found = [beat.state for beat in beats.values()]
    states = [f"{found.count(s)} {s}" for s in ("ready", "loading") if s in found]
    return f"{jobs} in work or waiting; workers: {', '.join(states) or 'none yet, the first is being started'}"
