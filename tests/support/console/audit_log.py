"""The audit log of a console."""

from __future__ import annotations

import json
from typing import Any

from nats.aio.client import Client

from shared.contract import names


async def audited(admin: Client) -> list[dict[str, Any]]:
    """All changes by people, the oldest first."""
    js = admin.jetstream()
    last = (await js.stream_info(names.AUDIT)).state.last_seq
    return [json.loads((await js.get_msg(names.AUDIT, seq, direct=True)).data or b"") for seq in range(1, last + 1)]
