"""A prompt as the messages of an OpenAI-compatible endpoint. Pure.

Images come first, each after its time, and the question comes last: so the server can cache the prefix that several
jobs share.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from services.vlm.frames.jpeg import JpegFrame
from shared.contract.reading.bounds import MOST_TEXT
from shared.runtime.plain import plain


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt. answer: a struct, if the answer must be its JSON. max_tokens: of the answer."""

    text: str
    frames: Sequence[JpegFrame] = ()
    answer: type[msgspec.Struct] | None = None
    max_tokens: int


def request(prompt: Prompt, *, media: Literal["images", "video"], temperature: float) -> dict[str, Any]:
    """Return the body of /chat/completions, without the model's name."""
    show = _video if media == "video" and len(prompt.frames) > 1 else _images
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": [*show(prompt.frames), {"type": "text", "text": prompt.text}]}],
        "max_tokens": prompt.max_tokens,
        "temperature": temperature,
    }
    if prompt.answer:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": prompt.answer.__name__, "schema": schema(prompt.answer), "strict": True},
        }
    return body


def schema(answer: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return the JSON Schema of an answer, inlined and closed: servers derive grammars from it."""
    (found,), defs = msgspec.json.schema_components([answer], ref_template="#/$defs/{name}")
    ref = str(found.get("$ref", "")).rpartition("/")[2]
    return {k: v for k, v in defs.get(ref, found).items() if k not in ("title", "description")} | {
        "additionalProperties": False
    }


def spoken(text: str) -> str:
    """Return the answer as one paragraph, without any thinking that the server has left in."""
    thought, mark, rest = text.partition("</think>")
    # In some templates `<think>` is part of the prompt, and only its end is in the answer.
    if mark and ("<think>" not in thought or thought.lstrip().startswith("<think>")):
        text = rest
    return plain(text)[:MOST_TEXT]


def json_of(text: str) -> bytes:
    """Return the JSON of an answer, as bytes for the decoder."""
    return spoken(text).encode()


def at(frame: JpegFrame) -> str:
    """Return `13:00:05.2`, UTC."""
    return f"{frame.time:%H:%M:%S}.{frame.time.microsecond // 100_000}"


def _images(frames: Sequence[JpegFrame]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for n, frame in enumerate(frames, 1):
        parts.append({"type": "text", "text": f"Frame {n}, {at(frame)} UTC:"})
        url = "data:image/jpeg;base64," + b64encode(frame.jpeg).decode()
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _video(frames: Sequence[JpegFrame]) -> list[dict[str, Any]]:
    """Return frames in vLLM's format for a video: JPEGs in one data URL, with commas."""
    url = "data:video/jpeg;base64," + ",".join(b64encode(frame.jpeg).decode() for frame in frames)
    times = ", ".join(f"{n}: {at(frame)}" for n, frame in enumerate(frames, 1))
    return [
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "text", "text": f"The video's frames were taken at these times (UTC): {times}."},
    ]
