"""A page of Amazon SageMaker's runtime, which checks callers as AWS does; behind it a vLLM, or answers of our own.

The page computes the signature again from the request, after AWS's description of Signature Version 4, and without the
library that signs: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import web

from tests.support.servers.aio_page import AioPage
from tests.support.servers.openai_server import GOOD

REGION = "eu-west-1"
COLD = (
    "Inference Component has no capacity to process this request. ApplicationAutoScaling may be in-progress (if "
    "configured) or try to increase the capacity by invoking UpdateInferenceComponentRuntimeConfig API."
)
SKEW = dt.timedelta(minutes=5)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^/]+)/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), "
    r"Signature=([0-9a-f]{64})"
)

Reply = Callable[[dict[str, Any]], Awaitable[web.Response]]


class Key(msgspec.Struct, frozen=True):
    """The credentials of a signature. token: of a session, if the key is one of a role."""

    id: str = "AKIDEXAMPLE"
    secret: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    token: str = ""

    def environment(self) -> dict[str, str]:
        """The environment variables of AWS."""
        given = {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret}
        return given | ({"AWS_SESSION_TOKEN": self.token} if self.token else {})


def text_reply(answer: str) -> Reply:
    """A complete chat completion."""

    async def reply(body: dict[str, Any]) -> web.Response:
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})

    return reply


def refused(status: int, kind: str, message: str, **more: Any) -> Reply:
    """An error in SageMaker's format."""

    async def reply(body: dict[str, Any]) -> web.Response:
        return error(status, kind, message, **more)

    return reply


cold = refused(400, "ValidationError", COLD)
good = text_reply(GOOD)


def of_model(status: int, message: str) -> Reply:
    """An error of the container's."""
    reply = f'Received client error ({status}) from primary with message "{message}".'
    return refused(424, "ModelError", reply, OriginalStatusCode=status, OriginalMessage=message)


def error(status: int, kind: str, message: str, **more: Any) -> web.Response:
    headers = {"x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/coral/com.amazonaws/"}
    return web.json_response({"Message": message, **more}, status=status, headers=headers)


class SageMakerServer(AioPage):
    """replies: for the next requests, one after the other; then `then`. upstream: the URL of a vLLM, which answers
    instead. keys: of permitted callers. now: the page's clock. bodies, heard: of correctly signed requests.
    """

    def __init__(self, *replies: Reply, then: Reply = good, upstream: str = "") -> None:
        super().__init__()
        self.replies = list(replies)
        self.then = then
        self.upstream = upstream
        self.keys = [Key()]
        self.now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
        self.bodies: list[dict[str, Any]] = []
        self.heard: list[web.Request] = []
        self.raw = b""  # of the last

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The settings of a worker to find it, with the first key."""
        return {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.url, "AWS_REGION": REGION} | self.keys[0].environment()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=25 * 1024 * 1024)
        app.router.add_post("/endpoints/{name}/invocations", self._invoke)
        return app

    async def _invoke(self, request: web.Request) -> web.Response:
        data = await request.read()
        if refusal := self._refusal(request, data):
            return refusal
        self.heard.append(request)
        self.raw = data
        body = msgspec.json.decode(data)
        self.bodies.append(body)
        if self.upstream:
            return await self._passed_on(data)
        return await (self.replies.pop(0) if self.replies else self.then)(body)

    async def _passed_on(self, data: bytes) -> web.Response:
        """The container's answer to /invocations; its errors as SageMaker wraps them."""
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.upstream}/invocations", data=data, headers=headers) as answer,
        ):
            text = await answer.text()
            if answer.status == 200:
                return web.Response(text=text, content_type="application/json")
            return await of_model(answer.status, text)({})

    def _refusal(self, request: web.Request, data: bytes) -> web.Response | None:
        """The reason for which AWS would refuse it; None if it would not."""
        given = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        if not given:
            return error(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        id, day, region, service, names, signature = given.groups()
        key = next((key for key in self.keys if key.id == id), None)
        token = request.headers.get("X-Amz-Security-Token", "")
        if key is None or token != key.token:
            return error(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        signed = names.split(";")
        must = {"host", *(n.lower() for n in request.headers if n.lower().startswith("x-amz"))}
        stamp = request.headers.get("X-Amz-Date", "")
        canonical = "\n".join(
            [
                request.method,
                quote(request.rel_url.raw_path, safe="/-_.~"),
                "",
                *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed),
                "",
                names,
                hashlib.sha256(data).hexdigest(),
            ]
        )
        scope = f"{day}/{region}/{service}/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        derived = f"AWS4{key.secret}".encode()
        for part in (day, region, service, "aws4_request", to_sign):
            derived = hmac.digest(derived, part.encode(), "sha256")
        if derived.hex() != signature or not must <= set(signed) or (region, service) != (REGION, "sagemaker"):
            return error(
                403,
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided.\n\n"
                f"The Canonical String for this request should have been\n'{canonical}'",
            )
        at = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        if abs(at - self.now()) > SKEW or not stamp.startswith(day):
            return error(403, "InvalidSignatureException", f"Signature expired: {stamp} is now earlier than …")
        return None
