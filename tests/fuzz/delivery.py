"""Messages as the server delivers them, of the files that `spoil.wire` writes."""

from __future__ import annotations

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus.direct import Stored
from tests.fuzz import spoil
from tests.fuzz.good import NOW


def headers_of(lines: list[bytes]) -> dict[str, str]:
    """Parse headers as the client does."""
    found: dict[str, str] = Client._parse_header_lines(b"\r\n".join(lines))
    return found


class NotDelivered(Exception):
    """The server does not deliver this subject here."""


def stored(data: bytes, where: str) -> Stored:
    """A message as it comes from a stream. where: the subjects that are read. Raises NotDelivered."""
    subject, lines, payload = spoil.read_wire(data)
    name = subject.decode(errors="replace")
    tokens, pattern = name.split("."), where.split(".")
    if len(tokens) != len(pattern) or not all(t and w in ("*", t) for t, w in zip(tokens, pattern, strict=True)):
        raise NotDelivered
    return Stored(10, name, NOW, headers_of(lines), payload)


def heard(data: bytes, where: str) -> Msg:
    """The same as it comes from a subscription."""
    one = stored(data, where)
    return Msg(_client=Client(), subject=one.subject, data=one.data, headers=dict(one.headers))
