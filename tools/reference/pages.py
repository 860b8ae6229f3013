"""All pages of the reference that are generated from the code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from shared.contract import asyncapi, events
from tools.reference import cli, http, metrics, rules, scaledobject, settings, streams
from tools.reference import events as event_pages

FOLDER = Path(__file__).parent.parent.parent / "docs/reference"

PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli.text,
    "events.md": event_pages.events_page,
    "http.md": http.text,
    "jobs.md": event_pages.jobs_page,
    "metrics.md": metrics.text,
    "rules.md": rules.text,
    "scaledobject.md": scaledobject.text,
    "settings.md": settings.text,
    "streams.md": streams.text,
    "events.schema.json": lambda: json.dumps(events.json_schema(), indent=2) + "\n",
    "asyncapi.json": lambda: json.dumps(asyncapi.document(), indent=2) + "\n",
}
