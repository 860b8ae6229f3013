"""Dead letters: list, inspect, replay and delete them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from nats.js.errors import APIError

from services.console.system import dead_letters
from services.console.system.dead_letters import Letter, WholeLetter
from services.console.system.state import System
from services.console.web.asker import Asker
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused
from shared.client import dlq
from shared.contract import names
from shared.contract.deadletters import MOST_SEQ, DeadLetter
from shared.video.decoding.work import LARGEST

Page = NamedDependency[System]

MOST = 200
Seq = Annotated[int, PathParameter(ge=1, le=MOST_SEQ, description="the letter's number")]


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """next: `cursor` of the next page; None: this is the last. A page may have fewer than `limit`."""

    letters: list[Letter]
    next: str | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The replayed message's new place."""

    stream: str
    stream_seq: int


@get("/letters", opt=needs("admin"))
async def list_letters(
    asker: User,
    page: Page,
    service: Annotated[str, QueryParameter(max_length=64, description="that gave them up; empty: any")] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MOST)] = 50,
    cursor: Annotated[int, QueryParameter(ge=0, le=MOST_SEQ, description="`next` of the page before")] = 0,
) -> Letters:
    """Dead letters, newest first."""
    found = await dead_letters.read_page(page.console.links.admin, asker, service, limit, cursor)
    return Letters(letters=found.found, next=str(found.next) if found.next else None)


@get("/letters/{seq:int}", opt=needs("admin"))
async def get_letter(seq: Seq, asker: User, page: Page) -> WholeLetter:
    """One dead letter, with its headers and its payload."""
    return dead_letters.detail(await dead_letters.find(page.console.links.admin, asker, seq))


@get("/letters/{seq:int}/picture", opt=needs("admin"), media_type="image/jpeg")
async def get_letter_picture(
    seq: Seq,
    asker: User,
    page: Page,
    width: Annotated[int, QueryParameter(ge=32, le=LARGEST, description="most pixels across")] = 640,
) -> Response[bytes]:
    """The first frame of a dead letter with video, as JPEG, if it can be decoded by itself."""
    dead_letter = await dead_letters.find(page.console.links.admin, asker, seq)
    if dead_letter.payload is None or not dead_letters.is_video(dead_letter):
        raise Refused(404, f"letter {seq} has no video")
    picture = await page.decoders.picture(dead_letter.payload, width=width, frames=dead_letters.frames_of(dead_letter))
    return Response(picture.jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


@post("/letters/{seq:int}/replay", opt=needs("admin"), status_code=200)
async def replay_letter(seq: Seq, asker: User, page: Page) -> Replayed:
    """Replay a dead letter, only for the service that dead-lettered it."""
    dead_letter = await dead_letters.find(page.console.links.admin, asker, seq)
    await _audit(page, asker, "letter.replay", dead_letter)
    try:
        return Replayed(stream=dead_letter.stream, stream_seq=await dlq.replay(page.console.links.admin, dead_letter))
    except dlq.Unreplayable as e:
        raise Refused(409, str(e)) from e
    except APIError as e:
        raise _changed(seq) from e


@delete("/letters/{seq:int}", opt=needs("admin"), status_code=204)
async def remove_letter(seq: Seq, asker: User, page: Page) -> None:
    """Delete a dead letter: its message is not processed any more."""
    dead_letter = await dead_letters.find(page.console.links.admin, asker, seq)
    await _audit(page, asker, "letter.delete", dead_letter)
    try:
        await page.console.links.admin.jetstream().delete_msg(names.DLQ, seq)
    except APIError as e:
        raise _changed(seq) from e


async def _audit(page: System, asker: Asker, action: str, letter: DeadLetter) -> None:
    camera = dead_letters.camera_of(letter)
    await page.console.audit(asker, action, camera=camera, letter=letter.seq, service=letter.service, of=letter.of)


def _changed(seq: int) -> Refused:
    return Refused(409, f"somebody else has replayed or deleted letter {seq} at the same time: look again")


ROUTES = [list_letters, get_letter, get_letter_picture, replay_letter, remove_letter]
