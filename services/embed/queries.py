"""Embeds texts and pictures for search, as a service of NATS micro.

    {"text": "a man on a bicycle"}        to svc.embed.text
    the bytes of a JPEG, PNG, WebP, BMP   to svc.embed.image

Both answer with `shared.models.vectors.Encoded`. Each query goes to one of the replicas; `$SRV.PING`, `$SRV.INFO` and
`$SRV.STATS` find and count them. Errors have NATS micro's headers: 400 for an unreadable query, 422 for a text if the
model has no text side, 500 if the model fails.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import nats.errors
from nats.aio.client import Client

from services.embed.models import InTurns, NoTextSide
from shared.bus import requests
from shared.contract import names
from shared.models.vectors import Encoded, TextQuery, Vectors, pack
from shared.runtime.errors import Refusal
from shared.video import pictures

# Maximum characters of a text: models read some 77 tokens, and truncate the rest.
MAX_CHARACTERS = 2000
# How long to wait for the server to stop sending queries: it needs no time, unless it is away.
STOP_S = 2.0


async def answer(client: Client, embedder: InTurns, stop: asyncio.Event) -> None:
    """Answer queries until `stop` is set. The one in flight is still answered."""
    queries = _Queries(embedder)
    service = await requests.serve(
        client,
        names.micro("embed"),
        "texts and pictures as vectors of the model that embeds the cameras' frames",
        {"text": (names.EMBED_TEXT, queries.text), "image": (names.EMBED_IMAGE, queries.image)},
        metadata={"model": embedder.name, "dimension": str(embedder.dimension)},
    )
    await client.flush()
    await stop.wait()
    with contextlib.suppress(TimeoutError, nats.errors.Error):
        async with asyncio.timeout(STOP_S), queries.turn:
            await service.stop()


class _Queries:
    """The handlers. turn: a lock, so that queries are answered one after the other."""

    def __init__(self, embedder: InTurns) -> None:
        self.turn = asyncio.Lock()
        self._embedder = embedder

    async def text(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        text = _text(payload)
        return await self._answer(lambda: self._embedder.text([text]))

    async def image(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        return await self._answer(
            lambda: self._embedder.embed([pictures.resize(pictures.read(payload), self._embedder.size)])
        )

    async def _answer(self, encode: Callable[[], Vectors]) -> tuple[bytes, dict[str, str]]:
        """Answer with the vector of `encode`. It runs in a thread, so that heartbeats continue."""
        async with self.turn:
            try:
                (vector,) = await asyncio.to_thread(encode)
            except pictures.BadPicture as e:
                raise Refusal(400, str(e)) from e
            except NoTextSide as e:
                raise Refusal(422, str(e)) from e
        encoded = Encoded(model=self._embedder.name, dimension=self._embedder.dimension, vector=pack(vector))
        return msgspec.json.encode(encoded), {}


def _text(data: bytes) -> str:
    try:
        text = msgspec.json.decode(data, type=TextQuery).text.strip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refusal(400, f'a query is JSON such as {{"text": "a man on a bicycle"}}: {e}') from e
    if not text:
        raise Refusal(400, "the text is empty: say what to look for")
    if len(text) > MAX_CHARACTERS:
        raise Refusal(400, f"the text has {len(text)} characters: {MAX_CHARACTERS} are the most")
    return text
