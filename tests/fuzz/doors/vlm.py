"""The doors of vlm: questions, jobs, what models and other services answer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from services.vlm.address import SageMakerAddress
from services.vlm.endpoints import failures, prompt, sagemaker
from services.vlm.kinds.ask import QuestionAnswer
from services.vlm.planning import query
from services.vlm.planning.asking import Asking
from services.vlm.planning.stretches import CaptionPlan, begun_by
from shared.contract import segment
from shared.contract.events import Answer, Verdict
from shared.contract.work import jobs
from shared.runtime.errors import BadMessage, BadSegment, Refusal
from tests.fuzz import good, spoil
from tests.fuzz.delivery import NotDelivered, headers_of, heard
from tests.fuzz.door import Door, wait
from tests.fuzz.good import NOW, SECOND, SINCE, UNTIL
from tests.fuzz.refusal import refused


def _question(data: bytes) -> None:
    found = query.read(data)
    job = query.job_of(found, NOW)
    assert jobs.decode(jobs.subject(job), jobs.encode(job)) == job
    assert job.message_id


def _job(data: bytes) -> None:
    subject, _, payload = spoil.read_wire(data)
    job = jobs.decode(subject.decode(errors="replace"), payload)
    assert job.message_id is None or len(job.message_id) < 300


def _filled(data: bytes) -> None:
    """Read a model's structured answer as `Chat.fill` does."""
    text = data.decode(errors="replace")
    prompt.spoken(text)
    msgspec.json.decode(prompt.json_of(text), type=QuestionAnswer)


def _refusal(data: bytes) -> None:
    """Read the refusal of a model's endpoint."""
    text = data.decode(errors="replace")
    failures.of(400, text, {})
    failures.of(429, "", {"Retry-After": text})
    for kind in ("ModelError", "ValidationError"):
        sagemaker.of(424 if kind == "ModelError" else 400, kind, text, SageMakerAddress(endpoint="e"))


def _answer(data: bytes) -> None:
    nobody: Any = None
    asking = Asking(nobody)

    async def hear() -> None:
        asking._waiting["lobby", "j1"] = asyncio.get_running_loop().create_future()
        await asking._hear(heard(data, "events.*.*"))

    wait(hear())


def _planned(data: bytes) -> None:
    """Handle headers alone as vlm's planner does."""
    subject, lines, _ = spoil.read_wire(data)
    head = segment.from_message(subject.decode(errors="replace"), headers_of(lines))
    begun_by(head, CaptionPlan(every_s=10, chunk_s=0, overlap_s=1))


def _queries() -> list[bytes]:
    return good.as_json(
        {"kind": "ask", "camera": "lobby", "question": "Who?", "since": SINCE, "until": UNTIL, "wait_s": 10},
        {"kind": "caption", "camera": "lobby", "prompt": "What?"},
        {"kind": "summarize", "camera": "lobby", "since": SINCE},
        {"kind": "verify", "camera": "lobby", "prompt": "Is it?", "segments": [1, 2]},
    )


def _jobs() -> list[bytes]:
    start, end = NOW, NOW + 10 * SECOND
    found = [
        jobs.Ask(camera="lobby", id="a", question="Who?", start=start, end=end),
        jobs.Caption(camera="lobby", start=start, end=end),
        jobs.Summarize(camera="lobby", id="s", start=start, end=end),
        jobs.Verify(camera="lobby", incident="i", prompt="Is it?", segments=[1], start=start),
    ]
    return [spoil.wire(jobs.subject(job).encode(), [], jobs.encode(job)) for job in found]


DOORS = (
    Door(
        "vlm.answer",
        lambda: good.event_messages(Answer, Verdict),
        _answer,
        (NotDelivered,),
        spoil.message(spoil.as_json),
        share=0.5,
    ),
    Door(
        "vlm.refusal",
        lambda: (
            good.as_json({"error": {"message": "too long"}}, {"message": "no"}, {"detail": [{"msg": "no"}]})
            + good.as_json(
                {"Message": "no capacity"},
                {"OriginalStatusCode": 400, "OriginalMessage": '{"error": {"message": "no"}}', "Message": "no"},
            )
            + [b"120", b"Wed, 21 Oct 2026 07:28:00 GMT"]
        ),
        _refusal,
        spoil=spoil.as_json,
        share=0.5,
    ),
    Door("vlm.ask", _queries, refused(_question), (Refusal,), spoil.as_json),
    Door("vlm.job", _jobs, _job, (BadMessage,), spoil.message(spoil.as_json)),
    Door(
        "vlm.planned",
        good.segment_messages,
        _planned,
        (BadSegment, OverflowError),
        spoil.message(spoil.any_bytes),
        share=0.5,
    ),
    Door(
        "vlm.filled",
        lambda: [
            b'<think>x</think> {"answer": "A man.", "frames": [1, 2]}',
            *good.as_json({"answer": "A", "frames": []}),
        ],
        _filled,
        (msgspec.DecodeError, UnicodeDecodeError, RecursionError),
        spoil.as_json,
    ),
)
