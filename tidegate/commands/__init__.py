"""One command a file: its options, and what it prints. A command is loaded when it is run."""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
from typing import Any, NamedTuple

import click

from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.redact import redact
from tidegate.view.inert import echo

INTERRUPTED = 130


class Listed(NamedTuple):
    """text: what the list of commands says. extra: what to install where a module is missing."""

    text: str
    extra: str


# Each is a file of this folder.
SECTIONS: dict[str, dict[str, Listed]] = {
    "Start": {
        "demo": Listed("See it work, in a minute and a half.", "demo"),
        "up": Listed("Run server, ingest and workers here.", "cv,server"),
        "console": Listed("Let people in to the pages.", "console"),
        "camera": Listed("Add, list, change and remove cameras.", "server"),
        "doctor": Listed("Check what Tidegate needs here, and say the remedy.", "demo"),
    },
    "See": {
        "watch": Listed("Print events as they come.", "analytics"),
        "find": Listed("Find moments by words, by a picture or by labels.", "search"),
        "clip": Listed("Save the video of a camera's time.", "server"),
        "recordings": Listed("See what is recorded, and say what is to be.", "server"),
        "reanalyze": Listed("Look at what was recorded once more.", "archive"),
        "segment": Listed("Save the video that an event was made from.", "cv"),
        "tracks": Listed("Show what analytics followed, or save it as a video.", "analytics,demo"),
        "reader": Listed("Let an app of yours read events at its own pace.", "server"),
        "rules": Listed("Say what analytics should tell of a camera.", "analytics"),
        "ask": Listed("Ask a vision language model about a camera's video.", "vlm"),
        "summarize": Listed("Sum up what happened on a camera.", "vlm"),
    },
    "Scale": {
        "audit": Listed("Say what each way to scale would have cost here.", "simulate"),
        "explain": Listed("Say why a service has the replicas it has.", "server"),
        "simulate": Listed("Compare scaling policies on a trace of arrivals.", "simulate"),
        "trace": Listed("Take out what arrived, for the simulator.", "simulate"),
        "threshold": Listed("Compute the lagThreshold of a ScaledObject.", "server"),
    },
    "Operate": {
        "accounts": Listed("Make passwords and accounts for a server of yours.", "server"),
        "cluster": Listed("Prepare a Kubernetes cluster.", "server"),
        "setup": Listed("Create or update streams, consumers and buckets.", "server"),
        "dlq": Listed("Look at dead letters, and try them again.", "server"),
        "reindex": Listed("Build the index of 'find' again.", "search"),
        "schema": Listed("Print the JSON Schema of all events.", "server"),
        "chaos": Listed("Break workers and server under load, and count.", "demo"),
    },
}
COMMANDS = {name: listed for section in SECTIONS.values() for name, listed in section.items()}


class Group(click.Group):
    """Commands below one name. One that is mistyped is answered with the nearest there is."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], known, n=1, cutoff=0.5)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            ctx.fail(f"there is no command {args[0]!r}: {meant}")
        return super().resolve_command(ctx, args)


class _Main(Group):
    """Loads a command when it is run. Turns our errors into one sentence and exit code 1; Ctrl-C into exit code 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        try:
            command: click.Command = getattr(importlib.import_module(f"{__name__}.{name}"), name)
        except ModuleNotFoundError as e:
            raise _missing(name, e) from e
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(f"{name:<{width}}", listed.text) for name, listed in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TidegateError as e:
            _end(1, redact(str(e)))
        except ModuleNotFoundError as e:
            _end(1, str(_missing(ctx.invoked_subcommand or "", e)))
        except BrokenPipeError:
            raise
        except OSError as e:
            if e.filename is None:
                raise
            _end(1, f"{e.filename} can't be used ({(e.strerror or '').lower()}): see that it is there and is yours")
        except KeyboardInterrupt:
            _end(INTERRUPTED)


def _missing(command: str, error: ModuleNotFoundError) -> SettingError:
    """The sentence on a module that is not installed. One of our own is a fault, raised as it is."""
    if error.name is None or error.name.partition(".")[0] in ("tidegate", "services", "shared") or not command:
        raise error
    return SettingError(
        f"{command} needs {error.name}, which is not installed: pip install 'tidegate[{COMMANDS[command].extra}]'"
    )


def _end(code: int, sentence: str = "") -> None:
    if sentence:
        echo(f"tidegate: {sentence}", err=True)
    sys.exit(code)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tidegate")
def tidegate() -> None:
    """Elastic video inference on NATS JetStream.

    \b
    See it work:            tidegate demo
    Run it here:            tidegate up
    Give it a camera:       tidegate camera add lobby rtsp://user@10.0.0.7/stream1 --fps 5
    See what it sees:       tidegate watch
    Find what was seen:     tidegate find "a man on a bicycle" --since 1h
    Ask about it:           tidegate ask "is the door open?" --camera lobby
    Be told of it:          tidegate rules set lobby lobby.yaml
    Why so many workers:    tidegate explain cv
    What it would cost:     tidegate audit cv --price 3
    What if:                tidegate simulate --trace days --service-rate 2 --compare

    'tidegate COMMAND --help' explains a command, with examples.
    """
    # The command is loaded. What it begins it also ends: from here on Ctrl-C is an exception.
    signal.signal(signal.SIGINT, signal.default_int_handler)
