"""`tidegate chaos`: kills under load, and a count of what came of them."""

from __future__ import annotations

import sys
from typing import Any

import click


@click.command()
@click.option("--kills", type=click.IntRange(0), default=20, show_default=True, help="Kill a worker this often.")
@click.option("--terms", type=click.IntRange(0), default=6, show_default=True, help="Send a worker SIGTERM this often.")
@click.option(
    "--restarts", type=click.IntRange(0), default=2, show_default=True, help="Kill and restart the server this often."
)
@click.option("--workers", type=click.IntRange(1, 64), default=3, show_default=True, help="Run this many workers.")
@click.option("--backlog", type=click.IntRange(1), default=20, show_default=True, help="Keep so many segments waiting.")
@click.option("--service", type=click.Choice(["cv", "embed"]), default="cv", show_default=True, help="Whose workers.")
def chaos(**plan: Any) -> None:
    """Break workers and server under load, and count: every acknowledged segment must have exactly one event.

    \b
    As it is run in CI:     tidegate chaos
    A short one:            tidegate chaos --kills 3 --terms 1 --restarts 1

    It runs a server and workers of its own, and touches none that runs already.
    """
    from tidegate.demo.chaos import Plan, run

    sys.exit(run(Plan(**plan)))
