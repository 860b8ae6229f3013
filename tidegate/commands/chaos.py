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
@click.option(
    "--each",
    is_flag=True,
    help="Break server, disk, network, clock and each service instead, in turn, and say what each fault costs.",
)
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="The same in a random order, for so long.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random order.")
@click.option("--only", multiple=True, metavar="TEXT", help="Only faults with this in their names; may be repeated.")
@click.option(
    "--servers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="One server, or a cluster."
)
@click.option(
    "--ingests", type=click.IntRange(1, 16), default=2, show_default=True, help="Share the cameras among them."
)
@click.option("--cameras", type=click.IntRange(1, 20), default=4, show_default=True, help="Play so many cameras.")
@click.option("--service", type=click.Choice(["cv", "embed"]), default="cv", show_default=True, help="Whose workers.")
@click.pass_context
def chaos(
    ctx: click.Context,
    /,
    each: bool,
    hours: float | None,
    seed: int,
    only: tuple[str, ...],
    servers: str,
    ingests: int,
    cameras: int,
    **plan: Any,
) -> None:
    """Break workers and server under load, and count: every acknowledged segment must have exactly one event.

    \b
    As it is run in CI:     tidegate chaos
    A short one:            tidegate chaos --kills 3 --terms 1 --restarts 1
    What each fault costs:  tidegate chaos --each --servers 3 --ingests 3
    One kind of fault:      tidegate chaos --each --only analytics --only clock
    For hours:              tidegate chaos --hours 2 --seed 7

    It runs a server and workers of its own, and touches none that runs already.
    """
    if each or hours:
        _check_given(ctx, tuple(plan), "can't be used with --each or --hours: leave it out")
        from tidegate.chaos import trial
        from tidegate.chaos.world import Size

        size = Size(servers=1 if servers == "1" else 3, ingests=ingests, cameras=cameras)
        sys.exit(trial.run(trial.Plan(size=size, hours=hours or 0.0, seed=seed, only=only)))

    _check_given(
        ctx, ("seed", "only", "servers", "ingests", "cameras"), "goes with --each or --hours: give one of them"
    )
    from tidegate.chaos.kills import Plan, run

    sys.exit(run(Plan(**plan)))


def _check_given(ctx: click.Context, others: tuple[str, ...], remedy: str) -> None:
    """Raises UsageError where one of the options was given that this run does not heed."""
    for name in others:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} {remedy}")
