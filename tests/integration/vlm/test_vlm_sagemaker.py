"""A model behind Amazon SageMaker: signed requests to a page that checks them as AWS does, and its errors."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from nats.aio.client import Client
from prometheus_client import REGISTRY

import services.vlm.__main__ as vlm
from services.vlm.address import SageMakerAddress, sagemaker
from services.vlm.endpoints.failures import Busy, Cold, Refused, Rejected, RequestFailed, TooLong
from services.vlm.endpoints.sagemaker import SageMakerEndpoint, of
from services.vlm.settings import VlmSettings
from shared import bus
from shared.client import dlq
from shared.contract.events import Verdict
from shared.contract.work import jobs
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.telemetry import Health
from tests.support.servers import sagemaker_server
from tests.support.servers.sagemaker_server import COLD, Key, SageMakerServer, cold, of_model, refused
from tests.support.waiting import until
from tests.support.worlds.jobs_world import film, settled, stored_results, worker
from tidegate.local.server import NatsServer

pytest.importorskip("botocore", reason="botocore is not installed: pip install 'tidegate[sagemaker]'")

URL = "sagemaker://qwen-VL"
ADDRESS = SageMakerAddress(endpoint="qwen-VL")
ROLE = Key(id="ASIAROLE", secret="of-the-role", token="SESSION-token/+==")
BODY = {"model": "x", "messages": [{"role": "user", "content": "Ünïcode, and \n lines"}], "max_tokens": 3}


@pytest_asyncio.fixture
async def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[SageMakerServer]:
    """The page, by the environment variables of AWS, and nothing else of AWS."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    async with SageMakerServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@contextlib.asynccontextmanager
async def endpoint(url: str = URL, model: str = "") -> AsyncIterator[SageMakerEndpoint]:
    async with SageMakerEndpoint(sagemaker(url), model=model, timeout_s=10) as found:
        yield found


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def verify(n: int, seqs: list[int]) -> jobs.Verify:
    return jobs.Verify(camera="lobby", incident=f"i-{n}", prompt="A tram is there.", segments=seqs)


async def redelivered(client: Client) -> int:
    return (await client.jetstream().consumer_info("VLM", "vlm-verify")).num_redelivered or 0


# ---- callers


@pytest.mark.parametrize("key", [Key(), ROLE], ids=["a user", "a role"])
async def test_a_signed_request_is_accepted(aws: SageMakerServer, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.keys = [key]
    for name, value in key.environment().items():
        monkeypatch.setenv(name, value)
    async with endpoint(f"{URL}?component=qwen-VL-1&region={sagemaker_server.REGION}") as found:
        answer = await found.complete(BODY)
    assert (answer.text, answer.finish) == (sagemaker_server.GOOD, "stop")
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 5)
    (request,) = aws.heard
    assert request.path == "/endpoints/qwen-VL/invocations"
    assert request.headers["X-Amzn-SageMaker-Inference-Component"] == "qwen-VL-1"
    # The endpoint has one model without a name, and the answer comes without streaming.
    assert aws.bodies == [{k: v for k, v in BODY.items() if k != "model"}]


async def test_a_model_with_a_name_is_named(aws: SageMakerServer) -> None:
    async with endpoint(model="adapter-2") as found:
        await found.complete(BODY | {"model": "adapter-2"})
        assert (await found.look("adapter-2")).models == ["adapter-2"]
    assert [body["model"] for body in aws.bodies] == ["adapter-2"] * 2


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("AWS_SECRET_ACCESS_KEY", "another", "correct AWS_SECRET_ACCESS_KEY, or this machine's clock"),
        ("AWS_ACCESS_KEY_ID", "AKIDNOBODY", "UnrecognizedClientException"),
        ("AWS_SESSION_TOKEN", "stale", "UnrecognizedClientException"),
        ("AWS_REGION", "us-east-1", "correct AWS_SECRET_ACCESS_KEY, or this machine's clock"),
    ],
)
async def test_a_wrong_signature_is_refused(
    aws: SageMakerServer, variable: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    async with endpoint() as found:
        with pytest.raises(Refused, match=why) as refusal:
            await found.complete(BODY)
    assert value not in str(refusal.value) and "Canonical" not in str(refusal.value)
    assert aws.bodies == []


async def test_a_wrong_clock_is_refused(aws: SageMakerServer) -> None:
    aws.now = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    async with endpoint() as found:
        with pytest.raises(Refused, match="this machine's clock"):
            await found.complete(BODY)


@pytest.mark.parametrize("change", ["nothing", "body", "path", "token", "header", "signature", "date"])
async def test_a_signed_request_cannot_be_altered_in_transit(
    aws: SageMakerServer, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that the page of these tests detects an alteration."""
    aws.keys = [ROLE]
    for name, value in ROLE.environment().items():
        monkeypatch.setenv(name, value)
    async with endpoint(f"{URL}?component=c") as found:
        await found.complete(BODY)
    headers = dict(aws.heard[0].headers)
    data, path = aws.raw, "/endpoints/qwen-VL/invocations"
    if change == "body":
        data = data.replace(b'"max_tokens":3', b'"max_tokens":9')
    elif change == "path":
        path = "/endpoints/another/invocations"
    elif change == "token":
        del headers["X-Amz-Security-Token"]
    elif change == "header":
        headers["X-Amzn-SageMaker-Inference-Component"] = "another"
    elif change == "signature":
        headers["Authorization"] = headers["Authorization"][:-1] + ("0" if headers["Authorization"][-1] != "0" else "1")
    elif change == "date":
        headers["X-Amz-Date"] = "20200101T000000Z"
    async with aiohttp.ClientSession() as session, session.post(aws.url + path, data=data, headers=headers) as answer:
        assert answer.status == (200 if change == "nothing" else 403)


async def test_credentials_are_renewed_and_in_no_log(
    aws: SageMakerServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on EKS: a role by a token in a file, both of which change. Each key of the role is valid for one request."""
    token = tmp_path / "token"
    token.write_text("WEB-1")
    requests: list[str] = []

    async def assume(request: web.Request) -> web.Response:
        requests.append(str((await request.post())["WebIdentityToken"]))
        key = Key(id=f"ASIA{len(requests)}", secret=f"SECRET-{len(requests)}", token=f"TOKEN-{len(requests)}")
        aws.keys = [key]
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
        return web.Response(
            text=f"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key.id}"
            f"</AccessKeyId><SecretAccessKey>{key.secret}</SecretAccessKey><SessionToken>{key.token}</SessionToken>"
            f"<Expiration>{soon:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>",
            content_type="text/xml",
        )

    sts = web.Application()
    sts.router.add_post("/", assume)
    runner = web.AppRunner(sts)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/tidegate-vlm")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    caplog.set_level(logging.DEBUG)
    try:
        async with endpoint() as found:
            await found.complete(BODY)
            token.write_text("WEB-2")
            await found.complete(BODY)
    finally:
        await runner.cleanup()
    assert requests[0] == "WEB-1" and requests[-1] == "WEB-2" and len(aws.bodies) == 2
    assert [secret for secret in ("SECRET-", "TOKEN-", "WEB-") if secret in caplog.text] == []


async def test_missing_credentials_and_a_missing_region_are_reported(
    aws: SageMakerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with endpoint() as found:
        with pytest.raises(Refused, match="no AWS credentials are found: set AWS_ROLE_ARN"):
            await found.look("")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(SettingError, match="AWS_REGION=eu-west-1"):
        SageMakerEndpoint(ADDRESS, model="", timeout_s=10)


# ---- the cost of errors


@pytest.mark.slow
async def test_an_endpoint_that_scales_from_zero_is_waited_for_with_the_job_in_flight(
    server: NatsServer, admin: Client, aws: SageMakerServer
) -> None:
    """Away for longer than VLM_OUTAGE_TIMEOUT_S. The worker repeats the request: requests scale the endpoint up."""
    seqs = await film(admin, 2)
    async with worker(server, URL, vlm_outage_timeout_s=0.2) as health:
        assert health.ready is None
        aws.then = cold
        await bus.publish_job(admin, verify(1, seqs))
        await until(lambda: health.ready and "no instance yet" in health.ready)
        request_count = len(aws.bodies)
        await until(lambda: len(aws.bodies) >= request_count + 3)
        assert all(body["max_tokens"] == 1 for body in aws.bodies[request_count:]), "frames are not sent in vain"
        aws.then = sagemaker_server.good
        await settled(admin)
        assert await redelivered(admin) == 0
    ((_, verdict),) = await stored_results(admin)
    assert isinstance(verdict, Verdict) and (verdict.verdict, verdict.model) == ("confirmed", "qwen-VL")
    assert await letters(admin) == []


@pytest.mark.slow
async def test_a_worker_takes_no_job_before_its_endpoint_is_up(
    server: NatsServer, admin: Client, aws: SageMakerServer
) -> None:
    aws.then = cold
    seqs = await film(admin, 2)
    await bus.publish_job(admin, verify(1, seqs))
    client = await bus.connect(server.settings("vlm"), "vlm")
    health, stop = Health(), asyncio.Event()
    running = asyncio.create_task(vlm.run(VlmSettings(vlm_url=URL), client, health, stop))
    await until(lambda: len(aws.bodies) >= 4)
    assert health.ready and COLD[:30] in health.ready
    assert (await admin.jetstream().consumer_info("VLM", "vlm-verify")).num_pending == 1
    aws.then = sagemaker_server.good
    await settled(admin)
    stop.set()
    await running
    await client.close()
    assert len(await stored_results(admin)) == 1


@pytest.mark.slow
async def test_an_endpoint_that_stays_cold_gets_no_jobs_and_loses_none(
    server: NatsServer, admin: Client, aws: SageMakerServer
) -> None:
    seqs = await film(admin, 2)
    async with worker(server, URL, vlm_start_timeout_s=0.5) as health:
        aws.then = cold
        for n in range(3):
            await bus.publish_job(admin, verify(n, seqs))
        await until(lambda: health.ready and "no instance yet" in health.ready)

        # Returned once, and no job is taken after it: repeated deliveries would dead-letter the job.
        request_count = len(aws.bodies)
        await until(lambda: len(aws.bodies) >= request_count + 5)
        aws.then = sagemaker_server.good
        await settled(admin)
    assert sorted(event.job for _, event in await stored_results(admin)) == ["i-0", "i-1", "i-2"]
    assert await letters(admin) == []


@pytest.mark.slow
async def test_a_revoked_right_is_reported_by_readiness_and_loses_no_job(
    server: NatsServer, admin: Client, aws: SageMakerServer
) -> None:
    seqs = await film(admin, 2)
    denied = (
        "User: arn:aws:sts::123456789012:assumed-role/vlm/s is not authorized to perform: sagemaker:InvokeEndpoint on "
        "resource: arn:aws:sagemaker:eu-west-1:123456789012:endpoint/qwen-vl because no identity-based policy allows it"
    )
    async with worker(server, URL) as health:
        aws.then = refused(403, "AccessDeniedException", denied)
        await bus.publish_job(admin, verify(1, seqs))
        await until(lambda: health.ready and "allow this identity sagemaker:InvokeEndpoint on qwen-VL" in health.ready)
        request_count = len(aws.bodies)
        await until(lambda: len(aws.bodies) >= request_count + 4)
        aws.then = sagemaker_server.good
        await settled(admin)
    assert len(await stored_results(admin)) == 1 and await letters(admin) == []


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (refused(429, "ThrottlingException", "Rate exceeded"), "busy"),
        (refused(503, "ServiceUnavailable", "try again"), "cold"),
        (refused(429, "ModelNotReadyException", "still being provisioned"), "cold"),
        (of_model(429, '{"error": {"message": "queue is full"}}'), "busy"),
        (of_model(500, "CUDA error"), "failed"),
        (refused(500, "InternalFailure", ""), "failed"),
    ],
)
async def test_a_transient_fault_costs_no_delivery(
    server: NatsServer, admin: Client, aws: SageMakerServer, reply: sagemaker_server.Reply, outcome: str
) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("tidegate_vlm_requests_total", {"outcome": outcome}) or 0.0

    before = counted()
    seqs = await film(admin, 2)
    async with worker(server, URL):
        aws.replies = [reply]
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
        assert await redelivered(admin) == 0
    assert counted() == before + 1
    assert len(await stored_results(admin)) == 1 and await letters(admin) == []


async def test_a_request_that_the_model_rejects_is_dead_lettered_immediately(
    server: NatsServer, admin: Client, aws: SageMakerServer
) -> None:
    seqs = await film(admin, 2)
    async with worker(server, URL):
        aws.then = of_model(400, '{"error": {"message": "the maximum context length is 4096 tokens"}}')
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
    (letter,) = await letters(admin)
    assert letter.deliveries == 1 and "maximum context length" in letter.reason and "VLM_FRAMES" in letter.reason


def model_error(status: int, message: str) -> dict[str, Any]:
    return {"OriginalStatusCode": status, "OriginalMessage": message, "Message": "Received an error"}


@pytest.mark.parametrize(
    ("status", "kind", "body", "means", "says"),
    [
        (400, "ValidationError", {"Message": "Endpoint e of account 1 not found."}, Refused, "correct VLM_URL"),
        (400, "ValidationError", {"message": "Inference Component Name header is required"}, Refused, "VLM_URL"),
        (400, "ValidationError", {"Message": "Request 1 has oversize body."}, TooLong, "oversize"),
        (413, "", "HTTP content length exceeded 6291456 bytes.", TooLong, "exceeded"),
        (400, "ThrottlingException", {"Message": "Rate exceeded"}, Busy, "Rate exceeded"),
        (403, "ExpiredTokenException", {"message": "expired"}, Refused, "AWS_SESSION_TOKEN"),
        (
            403,
            "",
            {"message": "no match\n\nThe Canonical String is\nx-amz-security-token:S3CRET"},
            Refused,
            "match",
        ),
        (424, "ModelError", model_error(0, "Your invocation timed out while"), RequestFailed, "VLM_MAX_TOKENS"),
        (424, "ModelError", model_error(400, '{"message":"no"}'), Rejected, "400: no"),
        (424, "ModelError", model_error(404, "no model x"), Refused, "VLM_MODEL"),
        (424, "ModelError", model_error(503, ""), Cold, "503"),
        (424, "ModelError", "no json", RequestFailed, "no json"),
        (530, "InternalDependencyException", {}, RequestFailed, "530"),
    ],
)
def test_each_error_is_classified(status: int, kind: str, body: Any, means: type[TidegateError], says: str) -> None:
    found = of(status, kind, body if isinstance(body, str) else json.dumps(body), ADDRESS)
    assert type(found) is means and says in str(found) and "S3CRET" not in str(found)


# ---- its name


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sagemaker://Qwen-VL", SageMakerAddress(endpoint="Qwen-VL")),
        ("sagemaker://e/?region=eu-west-1", SageMakerAddress(endpoint="e", region="eu-west-1")),
        ("sagemaker://e?component=C-1&region=x", SageMakerAddress(endpoint="e", component="C-1", region="x")),
    ],
)
def test_an_endpoint_is_parsed_from_a_url(url: str, address: SageMakerAddress) -> None:
    assert sagemaker(url) == address
    assert VlmSettings(vlm_url=url).replicas == 1


@pytest.mark.parametrize(
    "rest",
    ["", "a_b", "-a", "a" * 64, "e/path", "e?region=", "e?region=a/b", "e?region=a@evil.example", "e?zone=x", "e#x",
     "e?component=a/../b", "e?component=a&component=b", "e?region", "[", "e:80", "key:secret@e"],
)  # fmt: skip
def test_a_url_without_an_endpoint_is_refused_at_start(rest: str) -> None:
    with pytest.raises(SettingError, match="VLM_URL") as refusal:
        VlmSettings(vlm_url=f"sagemaker://{rest}")
    assert "secret" not in str(refusal.value)
