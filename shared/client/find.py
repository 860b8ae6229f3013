"""Moments by words, by a picture or by similarity to an earlier one, and their video."""

from __future__ import annotations

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.contract import names
from shared.contract.questions.search import ClipQuery, Found, Query
from shared.runtime.errors import SettingError

# The first query after a start waits for the model that encodes it.
ANSWER_S = 60.0


async def ask(client: Client, query: Query) -> Found:
    """Return the results of the search service. Raises TidegateError with the service's reason."""
    payload = msgspec.json.encode(query)
    if len(payload) > client.max_payload:
        raise SettingError(
            f"the query has {len(payload) / 2**20:.1f} MB, over the server's max_payload of "
            f"{client.max_payload / 2**20:.1f} MB: give a smaller picture"
        )
    return requests.read((await _request(client, names.FIND, payload)), Found)


async def clip(client: Client, query: ClipQuery) -> Msg:
    """Return video as MP4; its headers `Clip-Start` and `Clip-End` give the range. Raises TidegateError."""
    return await _request(client, names.FIND_CLIP, msgspec.json.encode(query))


async def _request(client: Client, subject: str, payload: bytes) -> Msg:
    try:
        return await requests.ask(client, subject, payload, timeout_s=ANSWER_S)
    except NobodyAnswers as e:
        raise NobodyAnswers(
            f"no search service answers ({e}): start 'tidegate up --search', or run python -m services.search"
        ) from e
