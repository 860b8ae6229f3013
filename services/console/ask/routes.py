"""`POST /ask`, `POST /summarize`, and recent answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from services.console.ask.answer_stream import Failed, Line, Waiting
from services.console.ask.questions import ModelAnswer, Question, SummaryWanted
from services.console.ask.state import Ask
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.needs import needs
from services.console.web.parameters import User

Page = NamedDependency[Ask]

_Limit = Annotated[int, QueryParameter(ge=1, le=500)]


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Answers, newest first."""

    answers: list[ModelAnswer]


@post("/ask", opt=needs("operator"), status_code=200, media_type="text/event-stream")
async def ask(asker: User, page: Page, data: JSONBody[Question]) -> ServerSentEvent:
    """Ask a question about each of these cameras. An event `waiting` each second says what the questions wait for. Then
    there is an `answer` or an `error` for each camera, and `done`.
    """
    return await _stream(asker, page, data)


@post("/summarize", opt=needs("operator"), status_code=200, media_type="text/event-stream")
async def summarize(asker: User, page: Page, data: JSONBody[SummaryWanted]) -> ServerSentEvent:
    """Summarize what each of these cameras saw, by its captions. The answer has the events of a question's."""
    return await _stream(asker, page, data)


@get("/ask/recent", opt=needs("viewer"))
async def list_answers(asker: User, page: Page, limit: _Limit = 100) -> Answers:
    """Answers and summaries of the last day, of all users."""
    return Answers(answers=await page.recent.all(asker, limit))


async def _stream(asker: Asker, page: Ask, data: Question | SummaryWanted) -> ServerSentEvent:
    cameras = access.select(asker, data.cameras, page.console.cameras.values)
    data.check()
    page.stream.limit.check(asker.name)
    questions = [data.of(camera) for camera in cameras]
    times = {name: questions[0][name] for name in ("since", "until") if name in questions[0]}
    await page.console.audit(asker, "ask", kind=questions[0]["kind"], cameras=cameras, **times)
    return ServerSentEvent(_messages(page.stream.lines(asker, questions)))


async def _messages(lines: AsyncIterator[Line]) -> AsyncIterator[ServerSentEventMessage]:
    async with contextlib.aclosing(lines):  # type: ignore[type-var]
        async for line in lines:
            yield ServerSentEventMessage(event=_name(line), data=msgspec.json.encode(line).decode())
    yield ServerSentEventMessage(event="done", data="{}")


def _name(line: Line) -> str:
    match line:
        case ModelAnswer():
            return "answer"
        case Waiting():
            return "waiting"
        case Failed():
            return "error"


ROUTES = [ask, summarize, list_answers]
