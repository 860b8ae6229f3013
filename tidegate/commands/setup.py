"""`tidegate setup`: create or update the streams, consumers and buckets of this version."""

from __future__ import annotations

import os
from pathlib import Path

import click
from nats.aio.client import Client

from shared.client import registry
from shared.contract import topology
from shared.runtime.settings import load
from tidegate.commands.options import Number, data_option, with_admin
from tidegate.local import disk
from tidegate.view.inert import echo


@click.command()
@data_option
@click.option(
    "--wait",
    type=Number(1, 3600),
    default=5,
    show_default=True,
    help="Maximum seconds to wait for the server to start.",
)
@click.option(
    "--hide-paths",
    is_flag=True,
    help="Move paths of cameras' URLs to where only ingest can read them. Older versions of ingest can't.",
)
def setup(data: Path | None, wait: float, hide_paths: bool) -> None:
    """Create or update streams, consumers and buckets. A second run changes nothing.

    \b
    On your own server:     NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate setup
    After updating ingest:  NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate setup --hide-paths

    'tidegate up' does the same. Limits are settings such as MEDIA_MAX_AGE_S.
    """

    async def work(client: Client) -> None:
        js = client.jetstream()
        limits = load(topology.TopologySettings)
        if not os.environ.get("NATS_URL"):
            limits = disk.as_fitted(limits, {str(s.config.name): s for s in await js.streams_info()})
        changed = await topology.apply(js, limits)
        changed += await registry.bind_credentials(js)
        if hide_paths:
            changed += await registry.hide_paths(js)
        echo("\n".join(changed) or "nothing to change")

    with_admin(data, work, wait_s=wait)
