"""`tidegate schema`: the JSON Schema of all events."""

from __future__ import annotations

import json

import click

from shared.contract import asyncapi, events
from shared.contract.work import jobs
from tidegate.view.inert import echo


@click.command()
@click.option("--asyncapi", "of_subjects", is_flag=True, help="Print the AsyncAPI 3 document, with subjects.")
@click.option("--jobs", "of_jobs", is_flag=True, help="Print the JSON Schema of vlm's jobs.")
def schema(of_subjects: bool, of_jobs: bool) -> None:
    """Print the JSON Schema of all events.

    \b
    For a validator:        tidegate schema > events.schema.json
    With subjects:          tidegate schema --asyncapi > asyncapi.json
    """
    document = asyncapi.document() if of_subjects else jobs.json_schema() if of_jobs else events.json_schema()
    echo(json.dumps(document, indent=2))
