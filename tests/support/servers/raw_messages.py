"""Messages that no client library would send, as bytes on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client

# Invalid blocks of headers, and blocks with headers that only the server sends.
BLOCKS = (
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 404 \xff\xff\r\n\r\n",
    b"NATS/1.0 404 No\r\nA: b\r\n\r\n",
    b"NATS/1.0 503 \xff\r\nA: \xff\r\n\r\n",
    b"NATS/1.0",
    b"NATS/1.0 ",
    b"N",
    b"\r",
    b"NATS/1.0\r\n\xff\xfe: x\r\n: \r\n:\r\n \r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: one\r\nNats-Subject: x\r\nNats-Time-Stamp: x\r\nStatus: 404\r\n\r\n",
)


async def send(client: Client, subject: bytes, headers: bytes, payload: bytes = b"", reply: bytes = b"") -> None:
    """Publish them unchanged, and wait until the server has them; its streams may store them later."""
    sizes = b"%d %d" % (len(headers), len(headers) + len(payload))
    await client._send_command(b"HPUB %s %s %s\r\n" % (subject, reply, sizes) + headers + payload + b"\r\n")
    await client._flush_pending()
    await client.flush()


async def store(client: Client, subject: bytes, headers: bytes, payload: bytes = b"") -> None:
    """The same, and wait until its stream has them too, or has refused them."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox, max_msgs=1)
    await send(client, subject, headers, payload, inbox.encode())
    await answers.next_msg(timeout=30)


def block(lines: Sequence[bytes]) -> bytes:
    """A block of headers, of lines such as `b"Dlq-Seq: one"`."""
    return b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
