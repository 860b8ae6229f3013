"""`tidegate explain`: why a service has the replicas that it has."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.commands.options import data_option, screen, with_admin


@click.command()
@data_option
@click.argument("service", default="cv")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def explain(data: Path | None, service: str, as_json: bool) -> None:
    """Why SERVICE has the replicas it has: every term of the demand, from the scaler that runs."""
    from tidegate.client.explain import run

    with_admin(data, lambda client: run(client, service, screen(), as_json))
