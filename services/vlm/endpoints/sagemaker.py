"""A real-time endpoint of Amazon SageMaker: an OpenAI-compatible server's answers, by signed `InvokeEndpoint`.

    async with SageMakerEndpoint(address, model="", timeout_s=120) as endpoint: ...    # as ModelEndpoint

The server there accepts chat completions on `/invocations`, as vLLM does. The whole answer comes in one piece. There
are no health pages: the check requests one token, which also makes the endpoint scale up from zero.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from services.vlm.address import SageMakerAddress
from services.vlm.endpoints import failures
from services.vlm.endpoints.failures import REASON, Busy, Cold, Refused, RequestFailed, TooLong
from services.vlm.endpoints.openai import (
    PAGE_BYTES,
    Card,
    Completion,
    ModelEndpoint,
    Text,
    Tokens,
    completion,
    start_of,
)
from shared.runtime.errors import Away, SettingError, TidegateError
from shared.runtime.redact import redact

SERVICE = "sagemaker-runtime"
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


class Signer:
    """Signs requests by AWS Signature Version 4. region: of AWS, empty for that of its settings. Raises SettingError.

    url: of the service, without a path: AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, if set.

    botocore finds credentials as all programs of AWS do: variables, files, a role by a web identity (EKS), a
    container's or a machine's role. It renews temporary ones in time. Every method may wait for the network: call it in
    a thread. botocore belongs to the extra `sagemaker`, so its import is local.
    """

    def __init__(self, region: str) -> None:
        from botocore.session import Session

        # At level DEBUG it logs the signed request, with the session's token.
        logging.getLogger("botocore").setLevel(logging.INFO)
        # botocore itself reads only AWS_DEFAULT_REGION; AWS's other programs read this one first.
        self._session: Any = Session()
        self.region, self.url, self._name = self._resolved(region or os.environ.get("AWS_REGION", ""))

    def _resolved(self, region: str) -> tuple[str, str, str]:
        """Return (region, URL, the service's name in signatures), as botocore resolves them for the region."""
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            # Without credentials: they are resolved for each request, when they may exist.
            client = self._session.create_client(
                SERVICE, region_name=region or None, config=Config(signature_version=UNSIGNED)
            )
        except (BotoCoreError, ValueError) as e:
            raise SettingError(
                f"VLM_URL names an endpoint of SageMaker, but AWS's settings can't be used: {_error_text(e)}: "
                "correct AWS_PROFILE, or say the region, as by AWS_REGION=eu-west-1"
            ) from e
        name = client.meta.service_model.signing_name
        return str(client.meta.region_name), str(client.meta.endpoint_url).rstrip("/"), str(name)

    def sign(self, method: str, url: str, data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return `headers` and those of the signature. Raises Away, and Refused without credentials."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=method, url=url, data=data, headers=dict(headers))
        SigV4Auth(self._credentials(), self._name, self.region).add_auth(request)
        return dict(request.headers.items())

    def _credentials(self) -> Any:
        """Return the current credentials: the chain renews expiring ones."""
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

        try:
            found = self._session.get_credentials()
            frozen = found.get_frozen_credentials() if found else None
        except (ConnectionError, HTTPClientError) as e:
            raise Away(f"AWS gives no credentials just now: {_error_text(e)}") from e
        except (BotoCoreError, ClientError) as e:
            raise Refused(
                f"AWS gives no credentials: {_error_text(e)}: correct AWS_ROLE_ARN, or what else names them"
            ) from e
        if frozen is None:
            raise Refused(
                "no AWS credentials are found: set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (EKS does that for a "
                "service account with a role), AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return frozen


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


def _error_text(error: Exception) -> str:
    return redact(" ".join(str(error).split()))[:REASON]
