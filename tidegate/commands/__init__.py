"""The commands, one per file: options and output. A command's module is imported when it runs.

| module | idea |
|---|---|
| `options`, `passwords` | what commands share: options, the connection, input of passwords |
| `discover` | a part of `camera`: cameras on the local network |
| `up`, `workers`, `demo`, `camera`, `console`, `doctor` | commands to start |
| `status`, `watch`, `reader`, `segment`, `tracks`, `rules` | commands to see what is wrong, events and tracks |
| `find`, `ask`, `summarize` | commands to search and ask |
| `clip`, `recordings`, `reanalyze` | commands for recorded video |
| `alert` | commands for alerts and their pictures |
| `explain`, `threshold`, `simulate`, `trace`, `audit` | commands to scale |
| `apply`, `diff`, `export`, `import_` | commands for a site file, and to convert others' to it |
| `model` | commands for detectors |
| `dashboards`, `accounts`, `cluster`, `setup` | commands to set up what is around |
| `backup`, `restore`, `erase`, `webhook`, `dlq`, `reindex`, `schema`, `chaos` | commands to operate |
"""

from __future__ import annotations

import difflib
import importlib
import keyword
import signal
import sys
from typing import Any, NamedTuple

import click

from shared.runtime import install
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.redact import redact
from tidegate.view.inert import echo

INTERRUPTED = 130


class CommandInfo(NamedTuple):
    """text: the description in the list of commands. extra: extras that provide missing modules."""

    text: str
    extra: str


# Each name is a module of this folder.
SECTIONS: dict[str, dict[str, CommandInfo]] = {
    "Start": {
        "demo": CommandInfo("Run a demo of a minute and a half.", "demo"),
        "up": CommandInfo("Run server, ingest and workers on this machine.", "up"),
        "workers": CommandInfo("Run autoscaled workers for a server elsewhere.", "cv"),
        "console": CommandInfo("Create links that sign people in to the console.", "console"),
        "camera": CommandInfo("Add, list, change and remove cameras.", "server"),
        "model": CommandInfo("Measure a detector, and run it.", "cv"),
        "doctor": CommandInfo("Check this machine, and print remedies.", "demo"),
    },
    "Declare": {
        "apply": CommandInfo("Make a server's cameras and rules those of a file.", "server"),
        "diff": CommandInfo("Print what 'apply' would change.", "server"),
        "export": CommandInfo("Write the site file of what runs.", "server"),
        "import": CommandInfo("Convert a configuration of Frigate, VSS or KEDA.", "server"),
    },
    "See": {
        "status": CommandInfo("Show what is wrong, cameras, services and room.", "server"),
        "watch": CommandInfo("Print events as they arrive.", "analytics"),
        "find": CommandInfo("Find moments by text, image or label.", "search"),
        "clip": CommandInfo("Save a camera's video of a time range.", "server"),
        "recordings": CommandInfo("List recordings, and set what to record.", "server"),
        "reanalyze": CommandInfo("Analyse recordings again.", "archive"),
        "segment": CommandInfo("Save the video segment of an event.", "cv"),
        "tracks": CommandInfo("Show tracks, or save them as a video.", "analytics,demo"),
        "reader": CommandInfo("Give your app a durable consumer of events.", "server"),
        "rules": CommandInfo("Set a camera's zones, lines and incident rules.", "analytics"),
        "alert": CommandInfo("List alerts, and save their pictures.", "server"),
        "ask": CommandInfo("Ask a vision language model about a camera's video.", "vlm"),
        "summarize": CommandInfo("Summarize what happened on a camera.", "vlm"),
    },
    "Scale": {
        "audit": CommandInfo("Compare the costs of policies on your arrivals.", "simulate"),
        "explain": CommandInfo("Explain why a service has its replicas.", "server"),
        "simulate": CommandInfo("Compare scaling policies on a trace of arrivals.", "simulate"),
        "trace": CommandInfo("Export arrivals for the simulator.", "simulate"),
        "threshold": CommandInfo("Compute the lagThreshold of a ScaledObject.", "server"),
    },
    "Operate": {
        "dashboards": CommandInfo("Configure Prometheus and Grafana for this machine.", "server"),
        "accounts": CommandInfo("Create passwords and accounts for your own server.", "server"),
        "cluster": CommandInfo("Prepare a Kubernetes cluster.", "server"),
        "setup": CommandInfo("Create or update streams, consumers and buckets.", "server"),
        "backup": CommandInfo("Write settings and people into a file.", "server,recorder"),
        "restore": CommandInfo("Bring a backup back, also elsewhere.", "server,recorder"),
        "webhook": CommandInfo("Show, move and test the posts of alerts.", "webhook"),
        "erase": CommandInfo("Erase a camera, or a time range of it.", "server"),
        "dlq": CommandInfo("List, replay and remove dead letters.", "server"),
        "reindex": CommandInfo("Rebuild the index of 'find'.", "search"),
        "schema": CommandInfo("Print the JSON Schema of all events.", "server"),
        "chaos": CommandInfo("Test delivery with kills under load.", "demo"),
    },
}
COMMANDS = {name: info for section in SECTIONS.values() for name, info in section.items()}


class Group(click.Group):
    """A group of commands. It answers a mistyped command with the closest match."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        available = self.list_commands(ctx)
        if args[0] not in available and not args[0].startswith("-"):
            matches = difflib.get_close_matches(args[0], available, n=1, cutoff=0.5)
            suggestion = f"did you mean {matches[0]!r}?" if matches else f"there are {', '.join(available)}"
            ctx.fail(f"there is no command {args[0]!r}: {suggestion}")
        return super().resolve_command(ctx, args)


class _Main(Group):
    """Imports a command when it runs. Turns TidegateError into a sentence and exit code 1, and Ctrl-C into 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        try:
            # A module can't have the name of a keyword.
            module = f"{name}_" if keyword.iskeyword(name) else name
            command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), module)
        except ModuleNotFoundError as e:
            raise _missing_module(name, e) from e
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(f"{name:<{width}}", info.text) for name, info in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TidegateError as e:
            _exit(1, redact(str(e)))
        except ModuleNotFoundError as e:
            _exit(1, str(_missing_module(ctx.invoked_subcommand or "", e)))
        except BrokenPipeError:
            raise
        except OSError as e:
            if e.filename is None:
                raise
            _exit(1, f"{e.filename} can't be used ({(e.strerror or '').lower()}): see that it is there and is yours")
        except KeyboardInterrupt:
            _exit(INTERRUPTED)


def _missing_module(command: str, error: ModuleNotFoundError) -> SettingError:
    """Return the error for a module that is not installed. Raise the original error if the module is ours."""
    if error.name is None or error.name.partition(".")[0] in ("tidegate", "services", "shared") or not command:
        raise error
    remedy = install.command(*COMMANDS[command].extra.split(","))
    return SettingError(f"{command} needs {error.name}, which is not installed: {remedy}")


def _exit(code: int, sentence: str = "") -> None:
    if sentence:
        echo(f"tidegate: {sentence}", err=True)
    sys.exit(code)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tidegate")
def tidegate() -> None:
    """Elastic video inference on NATS JetStream.

    \b
    Run a demo:             tidegate demo
    Run it on this machine: tidegate up
    Add a camera:           tidegate camera add lobby rtsp://user@10.0.0.7/stream1 --fps 5
    See what is wrong:      tidegate status
    Print its events:       tidegate watch
    Find a moment:          tidegate find "a man on a bicycle" --since 1h
    Ask about the video:    tidegate ask "is the door open?" --camera lobby
    Get alerts:             tidegate rules set lobby lobby.yaml
    Explain the scaling:    tidegate explain cv
    Compare costs:          tidegate audit cv --price 3
    Simulate policies:      tidegate simulate --trace days --service-rate 2 --compare

    'tidegate COMMAND --help' explains a command, with examples.
    """
    # The command is imported. From here on Ctrl-C raises, so that the command can clean up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
