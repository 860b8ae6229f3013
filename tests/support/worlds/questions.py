"""Many questions to vlm, of each kind, as the identity `asker`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from shared import bus
from shared.contract import names
from tidegate.local.server import NatsServer

QUESTIONS: list[dict[str, Any]] = [
    {"kind": "ask", "question": "Who?"},
    {"kind": "caption"},
    {"kind": "summarize"},
    {"kind": "verify", "prompt": "A fall", "segments": [1]},
]


async def flood(server: NatsServer, times: int, **common: Any) -> Counter[str]:
    """Ask `count` times as `asker`, of each kind and of many cameras; return the number of each answered code."""
    client = await bus.connect(server.settings("asker"), "asker")
    requests = [
        client.request(names.ASK, json.dumps(QUESTIONS[n % 4] | {"camera": f"c-{n}", **common}).encode(), timeout=60)
        for n in range(times)
    ]
    try:
        answers = await asyncio.gather(*requests)
    finally:
        await client.close()
    return Counter((answer.headers or {}).get("Nats-Service-Error-Code", "") for answer in answers)
