"""Dead letters for an admin: those of cameras that they may see, newest first."""

from __future__ import annotations

import re

import msgspec
from nats.aio.client import Client

from services.console.system.stream_pages import Page, newest
from services.console.web.alike import alike
from services.console.web.asker import Asker
from services.console.web.refused import Refused
from shared.bus.direct import Stored
from shared.client import dlq
from shared.contract import names, segment
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BadSegment
from shared.runtime.plain import plain
from shared.runtime.redact import redact

# Bytes of a text payload that are shown.
MOST_TEXT = 64 * 1024
# The last token of these subjects is the camera.
_OF_CAMERAS = (*names.streams_of(""), "events.", "jobs.")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """seq: its number. stream, stream_seq, subject: of the dead-lettered message. bytes: of its payload; None: expired.
    camera: None if unknown. can_replay: whether there is a payload and a subject to replay.
    """

    seq: int
    service: str
    reason: str
    time: str
    stream: str
    stream_seq: int
    subject: str
    camera: str | None
    deliveries: int
    bytes: int | None
    can_replay: bool


class WholeLetter(msgspec.Struct, frozen=True, kw_only=True):
    """text: the payload if it is text. is_cut: whether it is longer. is_video: a segment, perhaps with a picture."""

    letter: Letter
    headers: dict[str, str]
    text: str | None
    is_cut: bool
    is_video: bool


def camera_of(dead_letter: DeadLetter) -> str | None:
    """Return the camera of its subject; None if unknown. Pure."""
    id = dead_letter.subject.rpartition(".")[2]
    return id if dead_letter.subject.startswith(_OF_CAMERAS) and re.search(names.TOKEN, id) else None


def is_video(dead_letter: DeadLetter) -> bool:
    """Whether it is a segment. Pure."""
    return dead_letter.subject.startswith(names.streams_of(""))


def frames_of(dead_letter: DeadLetter) -> int:
    """Return the number of frames in a segment's headers; 1 if they can't be read. Pure."""
    try:
        return segment.from_message(dead_letter.subject, dead_letter.headers).frames
    except BadSegment:
        return 1


def sees(asker: Asker, dead_letter: DeadLetter) -> bool:
    """Whether the asker may see it; without a known camera, whether they see all. Pure."""
    camera = camera_of(dead_letter)
    return asker.cameras is None if camera is None else asker.sees(camera)


def summary(dead_letter: DeadLetter) -> Letter:
    """Return its entry in a list. Pure."""
    return alike(
        Letter,
        dead_letter,
        service=plain(dead_letter.service),
        reason=plain(redact(dead_letter.reason)),
        stream=plain(dead_letter.stream),
        subject=plain(dead_letter.subject),
        camera=camera_of(dead_letter),
        bytes=None if dead_letter.payload is None else len(dead_letter.payload),
        can_replay=dead_letter.payload is not None and bool(dead_letter.subject),
    )


def detail(dead_letter: DeadLetter) -> WholeLetter:
    """Return it with headers and payload. Pure."""
    text = None if is_video(dead_letter) or dead_letter.payload is None else _text(dead_letter.payload)
    return WholeLetter(
        letter=summary(dead_letter),
        headers={name: plain(redact(value)) for name, value in dead_letter.headers.items()},
        text=text,
        is_cut=text is not None and len(dead_letter.payload or b"") > MOST_TEXT,
        is_video=is_video(dead_letter) and dead_letter.payload is not None,
    )


def _text(payload: bytes) -> str | None:
    cut = payload[:MOST_TEXT]
    try:
        text = cut.decode()
    except UnicodeDecodeError as e:
        if e.start < len(cut) - 3:
            return None
        text = cut[: e.start].decode()
    return redact(text)


async def read_page(client: Client, asker: Asker, service: str, limit: int, before: int) -> Page[Letter]:
    """Return a page of dead letters. client: an admin's. service: empty: any. Raises as `newest` does."""

    async def select(stored: Stored) -> Letter | None:
        dead_letter = await dlq.read(client, stored)
        return summary(dead_letter) if service in ("", dead_letter.service) and sees(asker, dead_letter) else None

    return await newest(client, names.DLQ, ">", select, limit=limit, before=before)


async def find(client: Client, asker: Asker, seq: int) -> DeadLetter:
    """Return one dead letter. Raises Refused, with the same text whether it is missing or not visible to them."""
    dead_letter = await dlq.find(client, seq)
    if dead_letter is None or not sees(asker, dead_letter):
        raise Refused(404, f"there is no letter {seq}")
    return dead_letter
