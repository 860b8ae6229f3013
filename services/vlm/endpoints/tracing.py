"""A request to the model as a span, by OpenInference's semantic conventions, so that Phoenix shows it. Pure.

Images are references, as `nats:MEDIA/<seq>#t=<seconds since 1970>`: a trace holds no footage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from openinference.semconv.trace import (
    ImageAttributes,
    MessageAttributes,
    MessageContentAttributes,
    OpenInferenceMimeTypeValues,
    OpenInferenceSpanKindValues,
    SpanAttributes,
)

from services.vlm.endpoints.openai import Completion
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames.jpeg import JpegFrame

Attributes = dict[str, str | int | float]


def job(kind: str, camera: str, id: str) -> Attributes:
    """Return the attributes of a job: a chain of requests."""
    return {
        SpanAttributes.OPENINFERENCE_SPAN_KIND: OpenInferenceSpanKindValues.CHAIN.value,
        SpanAttributes.METADATA: msgspec.json.encode({"kind": kind, "camera": camera, "job": id}).decode(),
    }


def request(model: str, prompt: Prompt, body: Mapping[str, Any]) -> Attributes:
    """Return the attributes of a request: its text, its images, and its parameters."""
    parameters = {k: v for k, v in body.items() if k not in ("messages", "model")}
    found: Attributes = {
        SpanAttributes.OPENINFERENCE_SPAN_KIND: OpenInferenceSpanKindValues.LLM.value,
        SpanAttributes.LLM_SYSTEM: "openai",
        SpanAttributes.LLM_MODEL_NAME: model,
        SpanAttributes.LLM_INVOCATION_PARAMETERS: msgspec.json.encode(parameters).decode(),
        SpanAttributes.INPUT_VALUE: prompt.text,
        SpanAttributes.INPUT_MIME_TYPE: OpenInferenceMimeTypeValues.TEXT.value,
    }
    message = f"{SpanAttributes.LLM_INPUT_MESSAGES}.0"
    found[f"{message}.{MessageAttributes.MESSAGE_ROLE}"] = "user"
    for n, frame in enumerate(prompt.frames):
        content = f"{message}.{MessageAttributes.MESSAGE_CONTENTS}.{n}"
        found[f"{content}.{MessageContentAttributes.MESSAGE_CONTENT_TYPE}"] = "image"
        found[f"{content}.{MessageContentAttributes.MESSAGE_CONTENT_IMAGE}.{ImageAttributes.IMAGE_URL}"] = _url(frame)
    content = f"{message}.{MessageAttributes.MESSAGE_CONTENTS}.{len(prompt.frames)}"
    found[f"{content}.{MessageContentAttributes.MESSAGE_CONTENT_TYPE}"] = "text"
    found[f"{content}.{MessageContentAttributes.MESSAGE_CONTENT_TEXT}"] = prompt.text
    return found


def answer(completion: Completion) -> Attributes:
    """Return the attributes of an answer and its cost."""
    message = f"{SpanAttributes.LLM_OUTPUT_MESSAGES}.0"
    return {
        SpanAttributes.OUTPUT_VALUE: completion.text,
        SpanAttributes.OUTPUT_MIME_TYPE: OpenInferenceMimeTypeValues.TEXT.value,
        f"{message}.{MessageAttributes.MESSAGE_ROLE}": "assistant",
        f"{message}.{MessageAttributes.MESSAGE_CONTENT}": completion.text,
        SpanAttributes.LLM_TOKEN_COUNT_PROMPT: completion.prompt_tokens,
        SpanAttributes.LLM_TOKEN_COUNT_COMPLETION: completion.completion_tokens,
        SpanAttributes.LLM_TOKEN_COUNT_TOTAL: completion.prompt_tokens + completion.completion_tokens,
        "llm.first_token_seconds": completion.first_token_s,
        "llm.latency_seconds": completion.seconds,
    }


def _url(frame: JpegFrame) -> str:
    return f"nats:MEDIA/{frame.seq}#t={frame.time.timestamp():.3f}"
