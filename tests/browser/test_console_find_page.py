"""The page Find in a browser: words, a picture, what is like a moment, filters as tokens, files of what was found."""

from __future__ import annotations

import base64
import contextlib
import csv
import datetime as dt
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from shared import bus
from shared.bus import requests
from shared.contract import names
from shared.contract.events import Embeddings, SegmentRef, Vector
from shared.models import vectors
from shared.models.vectors import Encoded
from shared.video.pictures import jpeg, read
from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.people import Running, add_camera, console_on
from tests.support.worlds.jobs_world import film
from tests.support.worlds.search_world import DIMENSION, TIMING, detected, say, scene, searching, settled
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.slow

# A request without a service behind it is an error of the browser, and not of the page.
FAILED_REQUEST = "Failed to load resource"
WIDE = jpeg(np.full((1000, 2000, 3), 90, np.uint8))


@contextlib.asynccontextmanager
async def encoding(server: NatsServer) -> AsyncIterator[list[int]]:
    """Answers in place of embed: any text means scene 1, any picture scene 0. Gives the pictures' widths."""
    client = await bus.connect(server.settings("embed"), "embed")
    widths: list[int] = []

    def encoded(n: int) -> tuple[bytes, dict[str, str]]:
        answer = Encoded(model="m", dimension=DIMENSION, vector=vectors.pack(scene(n)))
        return msgspec.json.encode(answer), {}

    async def text(_: bytes) -> tuple[bytes, dict[str, str]]:
        return encoded(1)

    async def image(payload: bytes) -> tuple[bytes, dict[str, str]]:
        widths.append(read(payload).shape[1])
        return encoded(0)

    endpoints = {"text": (names.EMBED_TEXT, text), "image": (names.EMBED_IMAGE, image)}
    service = await requests.serve(client, names.micro("embed"), "stands in", endpoints)
    try:
        yield widths
    finally:
        await service.stop()
        await client.close()


async def filmed(admin: Client, camera: str, n: int) -> None:
    """Eight seconds of a camera, just now, which look like scene `n`."""
    await add_camera(admin, camera)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=8)
    for second, seq in enumerate(await film(admin, 8, camera=camera, start=start)):
        time = start + dt.timedelta(seconds=second)
        event = Embeddings(
            camera=camera,
            segment=SegmentRef(stream=names.MEDIA, seq=seq, epoch="e", n=second),
            start=time,
            duration=1.0,
            model="m",
            dimension=DIMENSION,
            vectors=[Vector(time=time, vector=vectors.pack(scene(n, second)))],
            timing=TIMING,
        )
        await say(admin, event, f"embed/m/MEDIA/{seq}")


@contextlib.asynccontextmanager
async def world(server: NatsServer, admin: Client, folder: Path) -> AsyncIterator[tuple[Running, list[int]]]:
    """A console with a search service that has seen scene 1 at lobby and scene 0 at street."""
    await filmed(admin, "lobby", 1)
    await filmed(admin, "street", 0)
    await detected(admin, "street", 0, [("person", 0.9)])
    async with searching(server, folder), encoding(server) as widths, console_on(server, admin) as console:
        await settled(admin)
        yield console, widths


async def cameras(page: Page, *wanted: str) -> None:
    """Wait until these have been found, in this order."""
    shown = "[...document.querySelectorAll('.moment strong')].map((e) => e.textContent).join()"
    await becomes(page, f"{shown} === '{','.join(wanted)}'")
    await page.wait_for_selector(".moments:not([aria-busy])")


async def tokens(page: Page) -> list[str]:
    found: list[str] = await page.evaluate(
        "[...document.querySelectorAll('.tokens li span')].map((e) => e.textContent)"
    )
    return found


async def test_words_find_moments_that_show_their_clip(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with world(server, admin, tmp_path) as (console, _), browsing(console, "anna", "viewer") as page:
        await page.goto(f"{console.url}#/find")
        await page.wait_for_selector("text=Describe what you look for")
        await page.fill("input[name=text]", "a red door")
        await page.keyboard.press("Enter")
        await cameras(page, "lobby", "street")
        await becomes(page, "document.querySelector('.shot img').naturalWidth > 0")
        await page.hover(".moment .shot")
        await becomes(page, "document.querySelector('.shot video')?.currentTime > 0")
        await page.mouse.move(0, 0)
        await becomes(page, "!document.querySelector('.shot video')")
        await page.focus(".moment .shot")
        await becomes(page, "document.querySelector('.shot video')?.readyState > 2")
        await page.focus(".moment a")
        await becomes(page, "!document.querySelector('.shot video')")
        assert "text=a+red+door" in page.url
        await page.reload()
        await cameras(page, "lobby", "street")

        async with page.expect_download() as download:
            await page.click(".moment >> text=Download clip")
        clip = await (await download.value).path()
        assert clip.read_bytes()[4:8] == b"ftyp"
        async with page.expect_download() as download:
            await page.click("text=Export as CSV")
        rows = csv.DictReader(io.StringIO((await (await download.value).path()).read_text()))
        assert [row["camera"] for row in rows] == ["lobby", "street"]
        await page.click("text=Download 2 clips")
        await page.wait_for_selector("text=2 clips are saved.")
        await page.goto(f"{console.url}#/find?text=a%20red%20door&until=2020-01-01T00:00:00Z")
        await page.wait_for_selector("text=Nothing found")


async def test_filters_are_tokens_and_searches_are_saved(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with world(server, admin, tmp_path) as (console, _), browsing(console, "anna", "viewer") as page:
        await page.goto(f"{console.url}#/find?text=a%20red%20door")
        await cameras(page, "lobby", "street")
        await page.click(".moment >> text=More like this")
        await page.wait_for_selector(".tokens img")
        await cameras(page, "lobby", "street")
        assert await tokens(page) == ["like this moment"] and not await page.input_value("input[name=text]")
        await page.fill("input[placeholder='add a camera']", "street")
        await page.keyboard.press("Enter")
        await cameras(page, "street")
        assert await tokens(page) == ["like this moment", "camera street"] and "camera=street" in page.url
        await page.focus(".tokens li:last-child button")
        await page.keyboard.press("Enter")
        await cameras(page, "lobby", "street")
        assert await page.evaluate("document.activeElement.closest('.tokens') !== null")
        await page.click(".tokens button")
        await page.wait_for_selector("text=Describe what you look for")
        await page.fill("input[placeholder='add a label']", "person")
        await page.keyboard.press("Enter")
        await page.select_option("form[role=search] select >> nth=0", "604800")
        await cameras(page, "street")
        assert await tokens(page) == ["with person", "last 7 days"]

        await page.click("text=Save search")
        await page.fill("dialog input", "People, lately")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=“People, lately” is saved")
        await page.goto(f"{console.url}#/now")
        await page.goto(f"{console.url}#/find")
        await page.click("summary:has-text('Saved searches (1)')")
        await page.click("button:text-is('People, lately')")
        await cameras(page, "street")
        assert await tokens(page) == ["with person", "last 7 days"]
        await page.click("button[aria-label='Delete the search “People, lately”']")
        await page.click("dialog button.danger")
        await page.wait_for_selector(".saved", state="hidden")


GIVE = """([data, type, how]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "given", { type }));
  const at = document.querySelector("form[role=search]");
  const as = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
  at.dispatchEvent(how === "drop" ? new DragEvent("drop", as) : new ClipboardEvent("paste", as));
}"""


async def test_a_picture_is_chosen_dropped_or_pasted(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with world(server, admin, tmp_path) as (console, widths), browsing(console, "anna", "viewer") as page:
        await page.goto(f"{console.url}#/find")
        file = {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": WIDE}
        await page.set_input_files("input[type=file]", [file])  # type: ignore[list-item]
        await cameras(page, "street", "lobby")
        assert await tokens(page) == ["like this picture"] and widths == [1280], "it is made small before it is sent"
        for how in ("drop", "paste"):
            await page.click(".tokens button")
            await page.wait_for_selector("text=Describe what you look for")
            await page.evaluate(GIVE, [base64.b64encode(WIDE).decode(), "image/jpeg", how])
            await cameras(page, "street", "lobby")
        assert len(widths) == 3
        await page.evaluate(GIVE, [base64.b64encode(b"no picture").decode(), "image/jpeg", "drop"])
        await page.wait_for_selector(".toast.bad")
        await page.fill("input[name=text]", "a red door")
        await page.keyboard.press("Enter")
        await cameras(page, "lobby", "street")
        assert await tokens(page) == [], "words take the picture's place"


async def test_it_explains_how_to_start_search_and_that_an_index_is_empty(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    allowed = lambda text: FAILED_REQUEST in text  # noqa: E731
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=allowed) as page:
        await page.goto(f"{console.url}#/find")
        await page.wait_for_selector("text=start 'tidegate up --search'")
        async with searching(server, tmp_path):
            await page.reload()
            await page.wait_for_selector("text=The index holds nothing of your cameras yet")


@pytest.mark.parametrize("width", [360, 1280, 3840])
async def test_it_is_usable_at_every_width_and_accessible(
    server: NatsServer, admin: Client, tmp_path: Path, pytestconfig: pytest.Config, width: int
) -> None:
    async with world(server, admin, tmp_path) as (console, _), browsing(console, "anna", "viewer", width=width) as page:
        await page.goto(f"{console.url}#/find?text=a%20red%20door&camera=lobby,street&last=86400")
        await cameras(page, "lobby", "street")
        for theme in ("dark", "light"):
            await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            assert await violations(page, pytestconfig) == []
            assert await overflows(page) <= 0
