"""`tidegate chaos`: faults under load, and a count of events."""

from __future__ import annotations

import sys
from typing import Any

import click


@click.command()
@click.option("--kills", type=click.IntRange(0), default=20, show_default=True, help="Number of kills of a worker.")
@click.option("--terms", type=click.IntRange(0), default=6, show_default=True, help="Number of SIGTERMs to a worker.")
@click.option(
    "--restarts",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Number of kills and restarts of the server.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=3, show_default=True, help="Number of workers.")
@click.option(
    "--backlog", type=click.IntRange(1), default=20, show_default=True, help="Number of segments to keep pending."
)
@click.option(
    "--each",
    is_flag=True,
    help="Break server, disk, network, clock and each service in turn instead, and report the cost of each fault.",
)
@click.option(
    "--hours", type=click.FloatRange(0, min_open=True), help="Hours to inject the same faults in a random order."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random order.")
@click.option(
    "--only", multiple=True, metavar="TEXT", help="Inject only faults with this text in their names. May be repeated."
)
@click.option(
    "--servers",
    type=click.Choice(["1", "3"]),
    default="1",
    show_default=True,
    help="Number of servers; 3 form a cluster.",
)
@click.option(
    "--ingests",
    type=click.IntRange(1, 16),
    default=2,
    show_default=True,
    help="Number of ingest replicas that share the cameras.",
)
@click.option("--cameras", type=click.IntRange(1, 20), default=4, show_default=True, help="Number of cameras.")
@click.option(
    "--service",
    type=click.Choice(["cv", "embed"]),
    default="cv",
    show_default=True,
    help="Service whose workers are killed.",
)
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
    """Kill workers and server under load, and check that every acknowledged segment has exactly one event.

    \b
    As in CI:               tidegate chaos
    A short run:            tidegate chaos --kills 3 --terms 1 --restarts 1
    Cost of each fault:     tidegate chaos --each --servers 3 --ingests 3
    One kind of fault:      tidegate chaos --each --only analytics --only clock
    For hours:              tidegate chaos --hours 2 --seed 7

    The command starts a separate server and workers, and touches no running ones.
    """
    if each or hours:
        _reject_options(ctx, tuple(plan), "can't be used with --each or --hours: leave it out")
        from tidegate.chaos import trial
        from tidegate.chaos.world import Size

        size = Size(servers=1 if servers == "1" else 3, ingests=ingests, cameras=cameras)
        sys.exit(trial.run(trial.Plan(size=size, hours=hours or 0.0, seed=seed, only=only)))

    _reject_options(
        ctx, ("seed", "only", "servers", "ingests", "cameras"), "goes with --each or --hours: give one of them"
    )
    from tidegate.chaos.kills import Plan, run

    sys.exit(run(Plan(**plan)))


def _reject_options(ctx: click.Context, names: tuple[str, ...], remedy: str) -> None:
    """Raise UsageError if the command line has one of these options, which this run ignores."""
    for name in names:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} {remedy}")
