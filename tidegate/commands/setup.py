"""`tidegate setup`: streams, consumers and buckets, as this version wants them."""

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
    "--wait", type=Number(1, 3600), default=5, show_default=True, help="Wait so many seconds for a server to be there."
)
@click.option(
    "--hide-paths",
    is_flag=True,
    help="Move paths of cameras' URLs to where ingest alone reads them. Older ingests find no path there.",
)
def setup(data: Path | None, wait: float, hide_paths: bool) -> None:
    """Create or update streams, consumers and buckets. Running it twice changes nothing.

    \b
    On a server of yours:   NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate setup
    Once ingest is updated: NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate setup --hide-paths

    'tidegate up' does it by itself. Limits are settings such as MEDIA_MAX_AGE_S.
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
