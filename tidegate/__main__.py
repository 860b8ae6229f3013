"""`tidegate`: the command line for people. A command is loaded when it is run."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from shared.runtime.errors import TidegateError

# Each is a file of `tidegate.commands`, with what the list of commands says of it.
COMMANDS = {
    "ask": "Ask a vision language model about a camera's video.",
    "camera": "Add, list, change and remove cameras.",
    "chaos": "Break workers and server under load, and count.",
    "demo": "See it work, in a minute and a half.",
    "dlq": "Look at what could not be processed; try it again.",
    "doctor": "Check what Tidegate needs here, and say the remedy.",
    "explain": "Say why a service has the replicas it has.",
    "find": "Find moments by words, pictures or labels.",
    "reindex": "Build the index of 'find' again.",
    "rules": "Say what analytics should tell of a camera.",
    "schema": "Print the JSON Schema of all events.",
    "setup": "Create or update streams, consumers and buckets.",
    "simulate": "Compare scaling policies on a trace of arrivals.",
    "summarize": "Sum up what happened on a camera.",
    "threshold": "Compute the lagThreshold of a ScaledObject.",
    "tracks": "Show what analytics followed, or save it as a video.",
    "up": "Run server, ingest and workers here.",
    "watch": "Print events as they come.",
}


class _Main(click.Group):
    """Loads a command when it is run. Turns our errors into one sentence and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"tidegate.commands.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        from shared.runtime import telemetry
        from shared.runtime.redact import redact

        telemetry.log_aside()
        try:
            return super().invoke(ctx)
        except TidegateError as e:
            click.echo(f"tidegate: {redact(str(e))}", err=True)
            sys.exit(1)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tidegate")
def main() -> None:
    """Elastic video inference on NATS JetStream.

    \b
    See it work:            tidegate demo
    Run it here:            tidegate up
    Give it a camera:       tidegate camera add lobby rtsp://user:pass@10.0.0.7/stream1 --fps 5
    See what it sees:       tidegate watch
    Find what was seen:     tidegate find "a man on a bicycle" --since 1h
    Ask about it:           tidegate ask "is the door open?" --camera lobby
    Be told of it:          tidegate rules set lobby lobby.yaml
    Why so many workers:    tidegate explain cv
    What if:                tidegate simulate --trace days --service-rate 2 --compare
    """


if __name__ == "__main__":
    main()
