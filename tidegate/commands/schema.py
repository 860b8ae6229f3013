"""`tidegate schema`: the JSON Schema of all events."""

from __future__ import annotations

import json

import click

from shared.contract import events, jobs


@click.command()
@click.option("--asyncapi", is_flag=True, help="The AsyncAPI 3 document, which names the subjects too.")
@click.option("--jobs", "of_jobs", is_flag=True, help="The JSON Schema of the jobs that vlm takes, instead.")
def schema(asyncapi: bool, of_jobs: bool) -> None:
    """Print the JSON Schema of all events."""
    document = events.asyncapi() if asyncapi else jobs.json_schema() if of_jobs else events.json_schema()
    click.echo(json.dumps(document, indent=2))
