"""`tidegate schema`: the JSON Schema of all events."""

from __future__ import annotations

import json

import click

from shared.contract import asyncapi, events
from shared.contract.work import jobs
from shared.site import format as site
from tidegate.view.inert import echo


@click.command()
@click.option("--asyncapi", "of_subjects", is_flag=True, help="Print the AsyncAPI 3 document, with subjects.")
@click.option("--jobs", "of_jobs", is_flag=True, help="Print the JSON Schema of vlm's jobs.")
@click.option("--site", "of_site", is_flag=True, help="Print the JSON Schema of a site file, for editors.")
def schema(of_subjects: bool, of_jobs: bool, of_site: bool) -> None:
    """Print the JSON Schema of all events.

    \b
    For a validator:        tidegate schema > events.schema.json
    With subjects:          tidegate schema --asyncapi > asyncapi.json
    Of a site file:         tidegate schema --site > site.schema.json
    """
    if of_site:
        document = site.json_schema()
    else:
        document = asyncapi.document() if of_subjects else jobs.json_schema() if of_jobs else events.json_schema()
    echo(json.dumps(document, indent=2))
