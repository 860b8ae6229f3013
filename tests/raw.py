"""Messages that no client library would send, as bytes on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client


async def send(client: Client, subject: bytes, headers: bytes, payload: bytes = b"") -> None:
    """Publish them as they are, and wait until the server has them."""
    size = len(headers) + len(payload)
    await client._send_command(b"HPUB %s %d %d\r\n" % (subject, len(headers), size) + headers + payload + b"\r\n")
    await client._flush_pending()
    await client.flush()


def block(lines: Sequence[bytes]) -> bytes:
    """A block of headers, of lines such as `b"Dlq-Seq: one"`."""
    return b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
