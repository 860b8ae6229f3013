"""Explanations of a service's replicas by the running scalers."""

from __future__ import annotations

import time

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.bus.requests import read
from shared.contract import names
from shared.contract.questions.explain import Explanation, Explanations
from shared.contract.questions.whatif import InForce
from shared.runtime.errors import BusError

# The external scaler and an autoscaler may both answer: wait briefly for others after the first answer.
FIRST_S = 2.0
OTHERS_S = 0.3


async def ask(client: Client, service: str) -> list[Explanations]:
    """Return the answer of every scaler. Raises BusError if none answers."""
    inbox = await client.subscribe(client.new_inbox())
    try:
        await client.publish(names.explain(service), reply=inbox.subject)
        answers: list[Explanations] = []
        until = time.monotonic() + FIRST_S
        while (left := until - time.monotonic()) > 0:
            try:
                message = await inbox.next_msg(timeout=left)
            except nats.errors.TimeoutError:
                break
            if (message.headers or {}).get("Status") == "503":
                break
            if not answers:
                until = time.monotonic() + OTHERS_S
            answers.append(read(message, Explanations))
    finally:
        await inbox.unsubscribe()
    if not answers:
        raise BusError("no scaler answers: start 'tidegate up', or python -m services.scaler beside KEDA")
    return answers


def in_force(current: Explanation) -> InForce | None:
    """Return the settings of a service scaled by demand; None for any other query."""
    field_names = {field.name for field in msgspec.structs.fields(InForce)}
    settings = {name: value for name, value in current.settings.items() if name in field_names}
    is_degradable = any(current.terms.get(term) for term in ("degradable", "left_out"))
    try:
        return msgspec.convert({**settings, "bends": is_degradable}, InForce)
    except msgspec.ValidationError:
        return None
