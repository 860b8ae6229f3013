"""`tidegate chaos`: kills under load, and a count of what came of them."""

from __future__ import annotations

import sys
from typing import Any

import click


@click.command()
@click.option("--kills", default=20, show_default=True, help="kill -9 of a worker.")
@click.option("--terms", default=6, show_default=True, help="SIGTERM of a worker.")
@click.option("--restarts", default=2, show_default=True, help="kill -9 and restart of the server.")
@click.option("--workers", default=3, show_default=True)
@click.option("--backlog", default=20, show_default=True, help="Segments kept waiting.")
@click.option("--service", type=click.Choice(["cv", "embed"]), default="cv", show_default=True, help="Whose workers.")
def chaos(**plan: Any) -> None:
    """Break workers and server under load, and count: every acknowledged segment must have exactly one event."""
    from tidegate.demo.chaos import Plan, run

    sys.exit(run(Plan(**plan)))
