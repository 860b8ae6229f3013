"""A real-time endpoint of Amazon SageMaker: an OpenAI-compatible server's answers, by signed `InvokeEndpoint`.

    async with SageMakerEndpoint(address, model="", timeout_s=120) as endpoint:    # as ModelEndpoint

The server there accepts chat completions on `/invocations`, as vLLM does. The whole answer comes in one piece. There
are no health pages: the check requests one token, which also makes the endpoint scale up from zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from services.vlm import failures
from services.vlm.address import SageMakerAddress
from services.vlm.endpoint import PAGE_BYTES, Card, Completion, ModelEndpoint, Text, Tokens, completion, start_of
from services.vlm.failures import Busy, Cold, Refused, RequestFailed, TooLong
from services.vlm.signing import Signer
from shared.runtime.errors import TidegateError

# The header with the error's type, followed by a colon and more.
ERROR_TYPE = "x-amzn-ErrorType"
# The service reports both with status 400, and only the text distinguishes them.
_NO_CAPACITY = "no capacity"
_TOO_LARGE = ("oversize", "exceed", "too large")
_NO_ANSWER_IN_TIME = "timed out"
_EXPIRED = "ExpiredToken"
_SIGNATURE = ("InvalidSignature", "SignatureDoesNotMatch", "IncompleteSignature")


class _Choice(msgspec.Struct, frozen=True):
    message: Text
    finish_reason: str | None = None


class _Whole(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    usage: Tokens = Tokens()


class _ModelError(msgspec.Struct, frozen=True, rename="pascal"):
    """The response of the model's container."""

    original_status_code: int = 0
    original_message: str = ""
    message: str = ""


_whole = msgspec.json.Decoder(_Whole)
_model_error = msgspec.json.Decoder(_ModelError)


class SageMakerEndpoint(ModelEndpoint):
    """See the module. model: its name in requests, empty for none: most endpoints have one model."""

    def __init__(self, address: SageMakerAddress, *, model: str, timeout_s: float) -> None:
        self._signer = Signer(address.region)
        super().__init__(f"{self._signer.url}/endpoints/{address.endpoint}", key=lambda: "", timeout_s=timeout_s)
        self.where = f"endpoint {address.endpoint} of SageMaker in {self._signer.region}"
        self._address = address
        self._model = model

    async def look(self, model: str, *, ask: bool = False) -> Card:
        """Request one token. The endpoint's name stands for the model's, if that is unknown."""
        name = model or self._address.endpoint
        await self._ask(name)
        return Card(models=[name], context={})

    async def load(self) -> dict[str, float]:
        """Return nothing: its metrics are in CloudWatch."""
        return {}

    async def _request(self, body: Mapping[str, Any]) -> tuple[str, bytes, dict[str, str]]:
        fields = {key: value for key, value in body.items() if key != "model" or self._model}
        data = msgspec.json.encode(fields)
        headers = {"Content-Type": "application/json"}
        if self._address.component:
            headers["X-Amzn-SageMaker-Inference-Component"] = self._address.component
        url = f"{self.url}/invocations"
        # In a thread: credentials may be renewed first, by the network.
        return url, data, await asyncio.to_thread(self._signer.sign, "POST", url, data, headers)

    async def _answer(self, response: aiohttp.ClientResponse, started: float) -> Completion:
        whole = _whole.decode(await start_of(response, PAGE_BYTES))
        if not whole.choices:
            raise RequestFailed("the answer has no choices: it is not that of a chat completion")
        choice = whole.choices[0]
        return completion(choice.message.content or "", choice.finish_reason or "", whole.usage, started)

    def _error(self, status: int, text: str, headers: Mapping[str, str]) -> TidegateError:
        return of(status, headers.get(ERROR_TYPE, "").partition(":")[0], text, self._address)


def of(status: int, kind: str, text: str, address: SageMakerAddress) -> TidegateError:
    """Return the error of SageMaker's status other than 200. kind: its type; text: its body. Pure."""
    if kind == "ModelError" or status == 424:
        return _of_container(text)
    # Only the first line: after it AWS quotes the signed request, with the session's token.
    message = failures.message_of(text).partition("\n")[0]
    reason = f"{status} {kind or 'error'}: {message}"
    if kind.startswith(_SIGNATURE):
        return Refused(f"AWS refuses the signature ({kind}): correct AWS_SECRET_ACCESS_KEY, or this machine's clock")
    if kind.startswith(_EXPIRED):
        return Refused(f"the AWS credentials have expired ({kind}): renew AWS_SESSION_TOKEN, or name a role instead")
    if status == 400 and _NO_CAPACITY in message:
        return Cold(f"the endpoint has no instance yet, {reason}")
    if "Throttl" in kind or (status == 429 and kind != "ModelNotReadyException"):
        return Busy(reason, None)
    if status == 413 or (status == 400 and any(word in message for word in _TOO_LARGE)):
        return TooLong(reason)
    if status in (429, 503):
        return Cold(f"the endpoint is not there yet, {reason}")
    if status >= 500:
        return RequestFailed(reason)
    if status in (401, 403):
        return Refused(f"AWS refuses, {reason}: allow this identity sagemaker:InvokeEndpoint on {address.endpoint}")
    return Refused(f"SageMaker refuses, {reason}: correct VLM_URL")


def _of_container(text: str) -> TidegateError:
    """Return the error of the container, as of any other server; or that it timed out."""
    try:
        error = _model_error.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = _ModelError(message=text)
    message = failures.message_of(error.original_message or error.message)
    if _NO_ANSWER_IN_TIME in message:
        return RequestFailed(f"no answer in the time that SageMaker waits, lower VLM_MAX_TOKENS: {message}")
    if error.original_status_code < 400:
        return RequestFailed(f"the model's container failed: {message}")
    return failures.of(error.original_status_code, error.original_message or error.message, {})
