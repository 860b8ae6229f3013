"""A job's requests to the model, with their total cost, and with their traces."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from opentelemetry import trace

from services.vlm import metrics
from services.vlm.endpoints import prompt, tracing
from services.vlm.endpoints.failures import TooLong
from services.vlm.endpoints.model import Model
from services.vlm.endpoints.openai import Completion
from services.vlm.endpoints.prompt import Prompt
from services.vlm.settings import VlmSettings
from shared.contract.events import Usage
from shared.runtime.errors import TidegateError
from shared.runtime.telemetry import logger, tracer

TRIES = 2

T = TypeVar("T", bound=msgspec.Struct)


class BrokenAnswer(TidegateError):
    """Neither of the model's two answers matches the schema."""


class Chat:
    """See the module."""

    def __init__(self, model: Model, settings: VlmSettings, *, kind: str, span: trace.Span) -> None:
        self.model = model
        self._settings = settings
        self._kind = kind
        self._span = span
        self._log = logger("vlm")
        self._done: list[Completion] = []

    @property
    def usage(self) -> Usage:
        """The tokens and times of all requests so far."""
        return Usage(
            prompt_tokens=sum(c.prompt_tokens for c in self._done),
            completion_tokens=sum(c.completion_tokens for c in self._done),
            first_token_ms=round(self._done[0].first_token_s * 1e3, 1) if self._done else 0.0,
        )

    async def say(self, request: Prompt) -> str:
        """Return the model's text. Raises as `Model.complete` does."""
        return prompt.spoken((await self._complete(request)).text)

    async def fill(self, request: Prompt, answer: type[T]) -> T:
        """Return the model's answer as a struct. Raises BrokenAnswer, and as `Model.complete` does."""
        wanted = msgspec.structs.replace(request, answer=answer)
        cause = ""
        for _ in range(TRIES):
            completion = await self._complete(wanted)
            try:
                return msgspec.json.decode(prompt.json_of(completion.text), type=answer)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
                cut = f", cut off after {completion.completion_tokens} tokens" if completion.finish == "length" else ""
                cause = f"{e}{cut}"
                self._log.info("the answer breaks its schema", kind=self._kind, error=cause)
                wanted = msgspec.structs.replace(
                    wanted, text=f"{request.text}\nAnswer with the JSON object alone, briefly."
                )
        raise BrokenAnswer(f"the model's answer broke the schema {TRIES} times: {cause}")

    async def _complete(self, request: Prompt) -> Completion:
        s = self._settings
        body: dict[str, Any] = prompt.request(request, media=s.vlm_media, temperature=s.vlm_temperature)
        with tracer().start_as_current_span(
            f"vlm {self._kind}",
            context=trace.set_span_in_context(self._span),
            attributes=tracing.request(self.model.name, request, body),
        ) as span:
            try:
                completion = await self.model.complete(body)
            except TooLong as e:
                remedy = f"{e}: lower VLM_FRAMES, VLM_SIZE or VLM_MAX_TOKENS" if request.frames else str(e)
                raise TooLong(remedy) from e
            span.set_attributes(tracing.answer(completion))
        self._done.append(completion)
        metrics.FIRST_TOKEN.labels(self._kind).observe(completion.first_token_s)
        metrics.TOKENS.labels("in").inc(completion.prompt_tokens)
        metrics.TOKENS.labels("out").inc(completion.completion_tokens)
        if not request.frames and completion.prompt_tokens:
            self.model.characters_a_token = len(request.text) / completion.prompt_tokens
        return completion
