"""All of Tidegate at work on real video, with its console: for the pages in a browser, and for their pictures.

Example:
    async with world(tmp_path) as site, browsing(site, "root", "admin") as page:
        await page.goto(f"{site.url}#/cameras")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from nats.aio.client import Client

from services.console.web.asker import Role
from shared.bus.log import Log
from shared.client import registry, rules
from shared.contract import cameras, names
from tests.support.waiting import patience_s
from tidegate.client.console import link
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.demo.incidents import ENVIRONMENT, STREET
from tidegate.local.scaling.scaled_objects import scaled_object
from tidegate.local.stack import Stack

CAMERAS = ("alley", "crossing", "alley-mirrored")
# One worker of each, all the time: scaling is not tested here.
ONE = {"cv": scaled_object("cv"), "embed": scaled_object("embed")}


class Site:
    """url: of its pages, with a slash at its end. alley: the camera that has rules, and incidents."""

    alley = "alley"

    def __init__(self, stack: Stack) -> None:
        self.url = f"{stack.console_url}/"
        self.stack = stack

    @property
    def admin(self) -> Client:
        return self.stack.admin

    async def link(self, name: str, role: Role = "admin") -> str:
        """The token of a one-time link."""
        return await link(self.admin, name, role)


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[Site]:
    """Three cameras, one of them with rules and incidents."""
    files = {path.stem: path for path in footage.embedded(footage.cache() / f"footage-{footage.VERSION}")}
    scaled = {
        name: msgspec.structs.replace(
            one, spec=msgspec.structs.replace(one.spec, min_replica_count=1, max_replica_count=1)
        )
        for name, one in ONE.items()
    }
    fields = {**ENVIRONMENT, "console": {"COST_PER_HOUR": "2.5"}}
    async with (
        Bank([files[name] for name in CAMERAS], folder / "bank") as bank,
        Stack(
            folder / "data", scaled, steady=("search", "analytics", "recorder", "console"), env=fields, port=0
        ) as stack,
    ):
        site = Site(stack)
        for name in CAMERAS:
            entry, secret = cameras.new_camera(bank.url(files[name].name), fps=5.0, always=True)
            await registry.put(stack.admin.jetstream(), name, entry, secret)
        await rules.put(stack.admin, Site.alley, STREET)
        await _incidents(stack.admin, 2)
        yield site


async def _incidents(client: Client, count: int) -> None:
    """Wait until `count` incidents are listed."""
    async with asyncio.timeout(2 * patience_s()), Log(client, names.EVENTS) as log:
        while len(await log.read(names.event("incidents", ">"), 1)) < count:
            await asyncio.sleep(0.2)
