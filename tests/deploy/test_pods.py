"""The workloads of deploy/ as pods: video to alerts, a worker, an ingest and a server killed, all drained.

`make image-test`. podman plays the manifests as kustomize builds them, so that what a pod lacks shows: a variable, a
volume, a Secret, a right, a package of its image.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from nats.aio.client import Client
from PIL import Image

from shared import bus
from shared.client import find, registry, rules
from shared.contract import rules as book
from shared.contract.cameras import new_camera
from shared.runtime.settings import BusSettings
from tests.support.kube.deploy_manifests import DEPLOY, Document, documents, of, overlay, workloads
from tests.support.processes import images
from tests.support.processes.pods import Pods, secret
from tests.support.processes.video_flow import counted, stored, until_processed
from tests.support.waiting import patience_s, until
from tidegate.demo import footage
from tidegate.demo.bank import Bank

pytestmark = [
    *images.MARKS,
    pytest.mark.skipif(not shutil.which("kustomize"), reason="kustomize is not installed: apt-get install kustomize"),
    pytest.mark.skipif(not shutil.which("catatonit"), reason="podman starts no pod: apt-get install catatonit"),
]
METRICS = 9102
RULES = b"rules: [{id: somebody, kind: count, over: 0, alert: start}]"


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    with Pods(images.engine(), tmp_path) as servers:
        yield servers


def manifests(folder: Path) -> list[Document]:
    """All services: those of the overlay without GPUs, vlm as the base has it, and the optional ones."""
    components = [f"kubernetes/{name}" for name in ("nats", "webhook", "console", "recorder", "pictures")]
    docs = overlay(folder, "cpu/demand", *components, images=[])
    base = DEPLOY / "kubernetes/base"
    return docs + [d for name in ("vlm", "vlm-front") for d in documents((base / f"{name}.yaml").read_text())]


async def test_every_deployment_runs_as_a_pod_and_loses_nothing(pods: Pods, tmp_path: Path) -> None:
    docs = manifests(tmp_path)
    everything = list(workloads(docs))
    assert len(everything) == 13
    async with receiver(pods.host) as (url, posted):
        endpoint = secret("tidegate-webhook", url=url, secret="whsec_" + "A" * 32)
        # All are applied together, in any order: each waits for what it needs.
        await asyncio.to_thread(pods.play, [*pods.secrets(), endpoint, *docs])
        await all_ready(pods, everything)
        await assert_video_processed(pods, everything, posted, tmp_path)


async def assert_video_processed(pods: Pods, everything: list[str], posted: list[bytes], tmp_path: Path) -> None:
    async with admin_of(pods) as admin:
        assert {i.config.num_replicas for i in await admin.jetstream().streams_info()} == {3}
        assert pods.tidegate("setup") == "nothing to change"
        videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")
        async with Bank(videos, tmp_path / "bank", host=pods.host) as bank:
            for n, video in enumerate(videos):
                await registry.put(admin.jetstream(), f"cam-{n}", *new_camera(bank.url(video.name)))
                await rules.put(admin, f"cam-{n}", book.read(RULES, "here"))
            await stored(admin, 20)
            pods.crash("tidegate-cv")
            pods.crash("tidegate-ingest")
            pods.crash("nats-1")
            await stored(admin, 60)
            await until(lambda: pods.restarts("tidegate-cv") and pods.restarts("tidegate-ingest"))
            # An alert of a rule, which came from tracks, which came from detections.
            await until(lambda: posted)
            await moments_are_found(admin)
            assert json.loads(pods.tidegate("ask", "who is there?", "--camera", "cam-0", "--json"))["text"]
            await demand_is_answered(pods)
            await somebody_looks(pods)
            assert await asyncio.to_thread(pods.drain, "tidegate-ingest") == 0
        await until_processed(admin)
        ended = {name: await asyncio.to_thread(pods.drain, name) for name in everything}
        assert ended == dict.fromkeys(everything, 0)
        seen = await counted(admin)
    assert seen.segments >= 60
    assert (seen.lost, seen.duplicated, seen.waiting, seen.dead_lettered) == (0, 0, 0, 0)
    for name in everything:
        assert "Traceback" not in pods.log(name)


async def test_a_missing_dependency_of_a_pod_is_reported(pods: Pods, tmp_path: Path) -> None:
    """These tests can fail: a pod without its Secret does not start, and one without a variable is not ready."""
    docs = manifests(tmp_path)
    cv = workloads(docs)["tidegate-cv"]
    config = [d for d in docs if d["kind"] == "ConfigMap"]
    secrets = {d["metadata"]["name"]: d for d in pods.secrets()}
    pods.play([secrets["nats-server"], *config, of(docs, "StatefulSet")["nats"]])
    with pytest.raises(SystemExit, match="tidegate-nats-cv"):
        pods.play([*config, cv])
    (container,) = cv["spec"]["template"]["spec"]["containers"]
    container["env"] = [variable for variable in container["env"] if variable["name"] != "NATS_USER"]
    pods.play([secrets["tidegate-nats-cv"], *config, cv])
    await until(lambda: "NATS_USER" in pods.log("tidegate-cv"))


@asynccontextmanager
async def receiver(host: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An endpoint for alerts, and the bodies that came."""
    posted: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(await request.read())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/alerts", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}/alerts", posted
    finally:
        await runner.cleanup()


@asynccontextmanager
async def admin_of(pods: Pods) -> AsyncIterator[Client]:
    settings = BusSettings(nats_url=pods.url, nats_user="admin", nats_password=pods.password("admin"))
    client = await bus.connect(settings, "admin")
    try:
        yield client
    finally:
        await client.close()


async def all_ready(pods: Pods, workloads: list[str]) -> None:
    """Wait until the readiness probes of all pods pass."""
    left = set(workloads)
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(2 * patience_s()):
            while left:
                for name in sorted(left):
                    if await answers(session, f"http://{pods.address(name)}:{METRICS}/readyz"):
                        left.discard(name)
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError("not ready:\n" + "\n".join(pods.described(name) for name in sorted(left))) from None


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def moments_are_found(admin: Client) -> None:
    """Find moments by a label and by a picture: embed-queries makes its vector, and embed made the stored ones."""
    frame = Image.fromarray(await rules.last_keyframe(admin, "cam-0"))
    picture = io.BytesIO()
    frame.save(picture, "JPEG")
    for query in (find.Query(text="person"), find.Query(image=picture.getvalue())):
        async with asyncio.timeout(patience_s()):
            while not (await find.ask(admin, query)).moments:
                await asyncio.sleep(0.5)


async def demand_is_answered(pods: Pods) -> None:
    """Assert answers to the queries of the ScaledObjects."""
    scaled = yaml.safe_load((DEPLOY / "keda/demand/cv.yaml").read_text())
    query = scaled["spec"]["triggers"][0]["metadata"]["url"].rpartition("?")[2]
    url = f"http://{pods.address('tidegate-scaler')}:9091/demand?{query}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        assert (await answer.json())["demand"] > 0


async def somebody_looks(pods: Pods) -> None:
    """Read the console's pages: the replicas, a camera's picture, and the cost of another setting."""
    token = re.search(r"#/link/(\S+)", pods.tidegate("console", "link"))
    assert token
    base = f"http://{pods.address('tidegate-console')}:8484/api/v1/"
    # Cookies of an address that has no name, too.
    async with aiohttp.ClientSession(base, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.post("session/link", json={"token": token[1]}) as answer:
            assert answer.status == 200, await answer.text()
            session.headers["X-CSRF-Token"] = (await answer.json())["csrf"]
        async with session.get("now") as answer:
            assert {"ingest", "cv"} <= {one["name"] for one in (await answer.json())["services"]}
        async with session.get("cameras/cam-0/picture") as answer:
            assert answer.status == 200 and (await answer.read())[:2] == b"\xff\xd8", await answer.read()
        request = {"service": "cv", "arrivals": "made_up", "trace": "days", "service_rate": 1.5}
        async with session.post("whatif", json=request) as answer:
            assert answer.status == 202, await answer.text()
            job = (await answer.json())["id"]
        async with asyncio.timeout(2 * patience_s()):
            while (now := await whatif(session, job))["state"] == "runs":
                await asyncio.sleep(0.5)
        assert now["answer"] and now["answer"]["table"], now


async def whatif(session: aiohttp.ClientSession, job: str) -> dict[str, Any]:
    async with session.get(f"whatif/{job}") as answer:
        found: dict[str, Any] = await answer.json()
        return found
