"""Pictures, clips and live video over HTTP, by the requests of browsers and players."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import websockets
from nats.aio.client import Client

from services.console.accounts.gate import COOKIE
from services.ingest.cutting.piece import Piece
from shared.contract.segment import rfc3339
from tests.support.console.people import add_camera, console_on
from tests.support.video.video_world import number, path, pieces, pixels, publish, s, source
from tidegate.local.server import NatsServer

__all__ = ["path", "pieces", "source"]


@pytest.mark.slow
async def test_pictures_and_clips_are_served(
    server: NatsServer, admin: Client, pieces: list[Piece], source: list[np.ndarray], tmp_path: Path
) -> None:
    await add_camera(admin, "cam")
    await publish(admin, pieces)
    start = pieces[0].segment.start
    async with console_on(server, admin) as console:
        anna, eve = await console.person("anna", cameras=["cam"]), await console.person("eve")
        shown = await anna.get("cameras/cam/picture", params={"at": rfc3339(start + s(1)), "width": 160})
        assert shown.headers["content-type"] == "image/jpeg" and number(pixels(shown.content), source, 25) == 25
        stretch = {"from": rfc3339(start), "to": rfc3339(start + s(8))}
        whole = await anna.get("clips/cam", params={**stretch, "download": True})
        assert whole.headers["content-disposition"].startswith('attachment; filename="cam-')
        with av.open(io.BytesIO(whole.content)) as video:
            frames = sum(1 for _ in video.decode(video=0))
        assert frames >= 200
        part = await anna.get("clips/cam", params=stretch, headers={"Range": "bytes=100-199"})
        assert part.status_code == 206 and part.content == whole.content[100:200]
        assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
        rest = await anna.get("clips/cam", params=stretch, headers={"Range": "bytes=0-"})
        assert rest.status_code == 206 and rest.content == whole.content
        assert rest.headers["content-range"] == f"bytes 0-{len(whole.content) - 1}/{len(whole.content)}"
        beyond = await anna.get("clips/cam", params=stretch, headers={"Range": f"bytes={len(whole.content)}-"})
        assert beyond.status_code == 416
        for bad in ({"from": "x"}, {"from": "2026-01-01T00:00:00"}, {"to": "9999-12-31T23:59:59Z"}):
            assert (await anna.get("clips/cam", params=stretch | bad)).status_code == 400
        for route, query in (("cameras/{}/picture", {}), ("clips/{}", stretch)):
            unseen = await eve.get(route.format("cam"), params=query)
            absent = await eve.get(route.format("nocam"), params=query)
            assert unseen.status_code == absent.status_code == 404
            assert unseen.text.replace("'cam'", "'nocam'") == absent.text


async def test_live_video_is_served_over_a_websocket(server: NatsServer, admin: Client, pieces: list[Piece]) -> None:
    for camera in ("cam", "vault"):
        await add_camera(admin, camera)
    async with console_on(server, admin) as console:
        anna = await console.person("anna", cameras=["cam"])
        address = console.url.replace("http", "ws") + "api/v1/live"
        cookie = {"Cookie": f"{COOKIE}={anna.cookies[COOKIE]}"}
        async with websockets.connect(address, additional_headers=cookie) as socket:
            await socket.send(json.dumps({"watch": ["vault", "cam", "nocam"]}))
            refused = [json.loads(await socket.recv()) for _ in range(2)]
            assert refused == [{"camera": c, "error": f"there is no camera {c!r}"} for c in ("vault", "nocam")]
            await publish(admin, pieces)
            kinds = []
            while len(kinds) < 3:
                message = await socket.recv()
                assert isinstance(message, bytes)
                (size,) = struct.unpack_from(">I", message)
                head = json.loads(message[4 : 4 + size])
                assert head["camera"] == "cam"
                kinds.append(head["kind"])
            assert kinds == ["init", "media", "media"]


async def test_a_page_of_another_site_gets_no_live_video(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        address = console.url.replace("http", "ws") + "api/v1/live"
        for headers in ({}, {"Cookie": f"{COOKIE}={anna.cookies[COOKIE]}", "Origin": "https://evil.example"}):
            try:
                async with websockets.connect(address, additional_headers=headers):
                    raise AssertionError("it was let in")
            except (websockets.InvalidStatus, websockets.ConnectionClosed):
                pass
