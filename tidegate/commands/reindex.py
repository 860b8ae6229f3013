"""`tidegate reindex`: rebuild the index of `tidegate find`."""

from __future__ import annotations

import click
from nats.aio.client import Client

from shared.contract import names, topology
from shared.runtime.settings import load
from tidegate.commands.options import connected
from tidegate.view.inert import echo


@click.command()
@connected
async def reindex(client: Client) -> None:
    """Rebuild the index of 'find' from the events in EVENTS.

    \b
    After a lost disk:      tidegate reindex

    The running search service does the work, from its next event on.
    """
    js = client.jetstream()
    await topology.renew_consumer(js, load(topology.TopologySettings), names.EVENTS, "search")
    event_count = (await js.stream_info(names.EVENTS)).state.messages
    echo(f"the search service begins anew with the {event_count} events that EVENTS keeps")
