"""Dead letters as an admin sees them: those of cameras that they may see, newest first."""

from __future__ import annotations

import re

import msgspec
from nats.aio.client import Client

from services.console.people.asker import Asker
from services.console.system.newest import Page, newest
from services.console.web.refused import Refused
from shared.bus.direct import Stored
from shared.client import dlq
from shared.contract import names, segment
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BadSegment
from shared.runtime.plain import plain
from shared.runtime.redact import redact

# So much of a payload that is text is shown.
MOST_TEXT = 64 * 1024
# Of these a letter's camera is the last token.
_OF_CAMERAS = ("media.", "events.", "jobs.")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """seq: by which it is known. stream, stream_seq, subject: of the message that died. bytes: of its payload; None:
    that is gone. camera: None where it is not known. can_replay: whether there is anything to replay.
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
    """text: the payload where it is text. is_cut: whether it is longer. is_video: a segment: a picture may be in it."""

    letter: Letter
    headers: dict[str, str]
    text: str | None
    is_cut: bool
    is_video: bool


def camera_of(letter: DeadLetter) -> str | None:
    """Pure."""
    id = letter.subject.rpartition(".")[2]
    return id if letter.subject.startswith(_OF_CAMERAS) and re.search(names.TOKEN, id) else None


def is_video(letter: DeadLetter) -> bool:
    """Whether it is a segment. Pure."""
    return letter.subject.startswith("media.")


def frames_of(letter: DeadLetter) -> int:
    """How many frames a segment's headers announce; 1 where they can't be read. Pure."""
    try:
        return segment.from_message(letter.subject, letter.headers).frames
    except BadSegment:
        return 1


def sees(asker: Asker, letter: DeadLetter) -> bool:
    """Whether they may see it: of one whose camera is not known, whether they see all. Pure."""
    camera = camera_of(letter)
    return asker.cameras is None if camera is None else asker.sees(camera)


def shown(letter: DeadLetter) -> Letter:
    """Pure."""
    return Letter(
        seq=letter.seq,
        service=plain(letter.service),
        reason=plain(redact(letter.reason)),
        time=letter.time,
        stream=plain(letter.stream),
        stream_seq=letter.stream_seq,
        subject=plain(letter.subject),
        camera=camera_of(letter),
        deliveries=letter.deliveries,
        bytes=None if letter.payload is None else len(letter.payload),
        can_replay=letter.payload is not None and bool(letter.subject),
    )


def whole(letter: DeadLetter) -> WholeLetter:
    """Pure."""
    text = None if is_video(letter) or letter.payload is None else _text(letter.payload)
    return WholeLetter(
        letter=shown(letter),
        headers={name: plain(redact(value)) for name, value in letter.headers.items()},
        text=text,
        is_cut=text is not None and len(letter.payload or b"") > MOST_TEXT,
        is_video=is_video(letter) and letter.payload is not None,
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


async def listed(client: Client, asker: Asker, service: str, limit: int, before: int) -> Page[Letter]:
    """A page of them. client: an admin's. service: empty: of all. Raises as `newest` does."""

    async def keep(stored: Stored) -> Letter | None:
        letter = await dlq.read(client, stored)
        return shown(letter) if service in ("", letter.service) and sees(asker, letter) else None

    return await newest(client, names.DLQ, ">", keep, limit=limit, before=before)


async def found(client: Client, asker: Asker, seq: int) -> DeadLetter:
    """One of them. Raises Refused, in the same words where there is none and where they may not see it."""
    letter = await dlq.find(client, seq)
    if letter is None or not sees(asker, letter):
        raise Refused(404, f"there is no letter {seq}")
    return letter
