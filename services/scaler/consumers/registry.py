"""The readers of consumers in JetStream. Each consumer is polled once a second, however many queries use it.

Example:
    consumers = Consumers(client)
    reader = consumers.get("MEDIA", "cv", service="cv")    # polls from now on
    reader.listeners.add(listener)                         # after every reply, and at the first message when idle
    reader.state().backlog                                 # raises Missing or Unavailable
"""

from __future__ import annotations

from nats.aio.client import Client

from services.scaler.consumers.combined import DeferredReader, MergedReader, Reader
from services.scaler.consumers.readers import EVERY_S, ConsumerReader, StreamReader
from services.scaler.consumers.slots import free_slot
from shared.bus.wakeups import Wakeups
from shared.contract import names
from shared.runtime.tasks import end


class Consumers:
    """The readers of one connection. every_s: poll interval of one consumer, in seconds."""

    def __init__(self, client: Client, every_s: float = EVERY_S) -> None:
        self._client = client
        self._every_s = every_s
        self._wakeups = Wakeups(client)
        self._streams: dict[str, StreamReader] = {}
        self._readers: dict[tuple[str, str], Reader] = {}

    def get(self, stream: str, consumer: str, service: str) -> Reader:
        """Return the reader of a consumer, or of several with commas; start it if need be. service: of the consumer.

        stream: theirs, or with commas the stream of each.
        """
        reader = self._readers.get((stream, consumer))
        if reader is None:
            several = consumer.split(",")
            if len(several) > 1:
                streams = stream.split(",") if "," in stream else [stream] * len(several)
                parts = zip(streams, several, strict=True)
                reader = MergedReader([self._one(of, name, service) for of, name in parts])
                self._readers[stream, consumer] = reader
            else:
                reader = self._one(stream, consumer, service)
        return reader

    def _one(self, stream: str, consumer: str, service: str) -> ConsumerReader:
        reader = self._readers.get((stream, consumer))
        if reader is None:
            of_stream = None if stream == names.BACKFILL else self._stream(stream)
            what = (service, stream, consumer)
            slot = free_slot(other.slot for other in self._readers.values() if isinstance(other, ConsumerReader))
            reader = ConsumerReader(self._client, of_stream, self._wakeups, what, self._every_s, slot)
            self._readers[stream, consumer] = reader
        assert isinstance(reader, ConsumerReader)
        return reader

    def _stream(self, stream: str) -> StreamReader:
        if stream not in self._streams:
            self._streams[stream] = StreamReader(self._client, stream, self._every_s)
        return self._streams[stream]

    def deferred(self, service: str, consumer: str) -> DeferredReader:
        """Return the reader of a service's deferred segments, by its consumer of BACKFILL."""
        return DeferredReader(self._one(names.BACKFILL, consumer, service), self._stream(names.MEDIA))

    async def sweep(self) -> None:
        """End readers without listeners. Those of several consumers go first, as they listen to others."""
        for key, reader in sorted(self._readers.items(), key=lambda item: isinstance(item[1], ConsumerReader)):
            if not reader.listeners:
                del self._readers[key]
                await reader.close()
        of_video = {names.MEDIA} if any(stream == names.BACKFILL for stream, _ in self._readers) else set()
        for stream in self._streams.keys() - {stream for stream, _ in self._readers} - of_video:
            await end(self._streams.pop(stream).task)

    async def close(self) -> None:
        for reader in self._readers.values():
            if isinstance(reader, MergedReader):
                await reader.close()
            reader.listeners.clear()
        await self.sweep()
