"""`tidegate`: the command line for people."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from services.search.query import MAX_K, Query
from shared.contract import cameras, events, jobs, names, topology
from shared.runtime import telemetry
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.redact import redact
from shared.runtime.settings import load
from tidegate.client import registry, rules
from tidegate.commands import scaling
from tidegate.commands.options import data_option, with_admin
from tidegate.local import stack

out = Console(highlight=False)


class _Main(click.Group):
    """Turns our errors into one sentence and exit code 1; Ctrl-C into exit code 130."""

    def invoke(self, ctx: click.Context) -> Any:
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


@main.command()
@data_option
@click.option("--port", default=stack.DEFAULT_PORT, show_default=True, help="Of the NATS server; another if taken.")
@click.option("--search", is_flag=True, help="Embed too, and answer 'tidegate find'.")
@click.option("--analytics", is_flag=True, help="Tracks, zones and incidents: see 'tidegate rules'.")
@click.option("--vlm", is_flag=True, help="A vision language model, by VLM_URL or VLM_MODEL: 'tidegate ask'.")
@click.option("--scaled-object", envvar="SCALED_OBJECT", help="A KEDA ScaledObject. Default: deploy/keda/cv.yaml.")
@click.option("--speed", default=1.0, show_default=True, help="The autoscaler's clock over the real one.")
@click.option("--plain", is_flag=True, help="No live view: log lines alone.")
def up(data: Path | None, **options: Any) -> None:
    """Run server, ingest and workers here, until Ctrl-C. State stays in the data directory."""
    from tidegate.local.up import run

    asyncio.run(run(data or stack.default_data(), **options))


@main.command()
@click.option("--video", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your file.")
@click.option("--rtsp", multiple=True, help="Your camera's URL.")
@click.option("--output", default="demo-output", show_default=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--seconds", default=90, show_default=True, help="How long the story takes.")
@click.option("--keep", is_flag=True, help="Keep the data directory.")
def demo(video: tuple[Path, ...], rtsp: tuple[str, ...], output: Path, seconds: int, keep: bool) -> None:
    """Cameras, a surge, and workers that follow it: the whole of it for real, in a minute and a half."""
    from tidegate.demo.demo import Options, run

    sys.exit(run(Options(video=video, rtsp=rtsp, output=output, seconds=seconds, keep=keep)))


@main.command()
@data_option
def setup(data: Path | None) -> None:
    """Create or update streams, consumers and buckets. Running it twice changes nothing."""

    async def work(client: Client) -> None:
        changed = await topology.apply(client.jetstream(), load(topology.TopologySettings))
        click.echo("\n".join(changed) or "nothing to change")

    with_admin(data, work)


@main.command()
@data_option
def doctor(data: Path | None) -> None:
    """Check Python, packages, server, streams, weights and ports, and say the remedy."""
    from tidegate.commands.doctor import run

    sys.exit(0 if asyncio.run(run(data or stack.default_data(), out)) else 1)


@main.command()
@data_option
def reindex(data: Path | None) -> None:
    """Build the index of 'find' again from EVENTS, as far back as they are kept. The running service does it."""

    async def work(client: Client) -> None:
        js = client.jetstream()
        await topology.renew_consumer(js, load(topology.TopologySettings), names.EVENTS, "search")
        events_kept = (await js.stream_info(names.EVENTS)).state.messages
        click.echo(f"the search service begins anew with the {events_kept} events that EVENTS keeps")

    with_admin(data, work)


@main.command()
@data_option
@click.argument("subject", default=">")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def watch(data: Path | None, subject: str, as_json: bool) -> None:
    """Print events as they come: all, or those of SUBJECT such as 'detections', 'detections.lobby'.

    One that is said again, as after a crash, is printed once.
    """
    from tidegate.client.watch import run

    try:
        with_admin(data, lambda client: run(client, subject, as_json, out))
    except KeyboardInterrupt:
        pass


@main.command()
@data_option
@click.argument("text", required=False)
@click.option(
    "--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What looks like this file."
)
@click.option("--like", metavar="ID", help="What looks like a moment found before.")
@click.option("--camera", "cameras", multiple=True, help="On this camera alone; may be repeated.")
@click.option("--since", metavar="TIME", help="90s, 15m, 1h30m or 2d ago; 13:05 today; or 2026-11-24T13:05:00Z.")
@click.option("--until", metavar="TIME", help="The same.")
@click.option("--label", "labels", multiple=True, help="Where cv saw this too, such as person; may be repeated.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Of the similarity, or of a label's score.")
@click.option("-k", type=click.IntRange(1, MAX_K), default=10, show_default=True, help="Moments, at most.")
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), help="Put video and pictures in this folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def find(data: Path | None, text: str | None, save: Path | None, as_json: bool, **given: Any) -> None:
    """Find moments by TEXT, by a picture, by what is like one found before, or by labels.

    \b
    In words:               tidegate find "a man on a bicycle" --camera street --since 1h
    Seen by the detector:   tidegate find --label truck --since 13:05 --min-score 0.7
    More of the same:       tidegate find --like ID
    Keep the evidence:      tidegate find "a red car" --save clips/

    Video is there for as long as MEDIA keeps it, ten minutes by default; what was seen, for a week.
    """
    from tidegate.client import find as finding

    now = dt.datetime.now().astimezone()
    query = Query(
        text=text,
        image=finding.image(given["image"]) if given["image"] else None,
        like=given["like"],
        cameras=[names.check_camera(camera) for camera in given["cameras"]],
        since=finding.instant("--since", given["since"], now) if given["since"] else None,
        until=finding.instant("--until", given["until"], now) if given["until"] else None,
        labels=list(given["labels"]),
        min_score=given["min_score"],
        k=given["k"],
        picture=save is not None,
    ).check()
    with_admin(data, lambda client: finding.run(client, query, out, as_json=as_json, save=save))


def _of_stretch(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of what is asked about a camera's time."""
    for option in reversed(
        (
            click.option("--camera", required=True, help="Of this camera."),
            click.option("--since", metavar="TIME", help="90s, 15m, 1h30m or 2d ago; 13:05 today; or a full time."),
            click.option("--until", metavar="TIME", help="The same. Default: now."),
            click.option(
                "--wait", type=click.FloatRange(1, 600), default=300, show_default=True, help="Seconds for the answer."
            ),
            click.option("--json", "as_json", is_flag=True, help="The event, as JSON."),
        )
    ):
        function = option(function)
    return data_option(function)


@main.command()
@_of_stretch
@click.argument("question")
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), help="Put what the model saw in this folder.")
def ask(data: Path | None, question: str, save: Path | None, as_json: bool, **given: Any) -> None:
    """Ask a vision language model QUESTION about a camera's video, by default of the last minute.

    
    What happens now:       tidegate ask "is anybody at the door?" --camera door
    What happened then:     tidegate ask "what did the van bring?" --camera yard --since 13:05 --until 13:10
    What it rests on:       tidegate ask "is the gate open?" --camera gate --save seen/

    It needs 'tidegate up --vlm'. Video is there for as long as MEDIA keeps it, ten minutes by default.
    """
    from tidegate.client import ask as asking

    query = asking.query("ask", given, question=question)
    with_admin(data, lambda client: asking.run(client, query, out, as_json=as_json, save=save))


@main.command()
@_of_stretch
@click.option("--prompt", default="", help="What to say of it, in place of the ordinary summary.")
def summarize(data: Path | None, prompt: str, as_json: bool, **given: Any) -> None:
    """Sum up what happened on a camera, out of its captions, with times.

    
    The last hour:          tidegate summarize --camera lobby --since 1h
    A day, with a focus:    tidegate summarize --camera dock --since 1d --prompt "List all deliveries, with times."

    Captions are made with VLM_CAPTION_EVERY_S, or 'tidegate camera add … --caption-every', and kept for a week.
    """
    from tidegate.client import ask as asking

    query = asking.query("summarize", given, prompt=prompt)
    with_admin(data, lambda client: asking.run(client, query, out, as_json=as_json, save=None))


@main.command()
@click.option("--asyncapi", is_flag=True, help="The AsyncAPI 3 document, which names the subjects too.")
@click.option("--jobs", "of_jobs", is_flag=True, help="The JSON Schema of the jobs that vlm takes, instead.")
def schema(asyncapi: bool, of_jobs: bool) -> None:
    """Print the JSON Schema of all events."""
    document = events.asyncapi() if asyncapi else jobs.json_schema() if of_jobs else events.json_schema()
    click.echo(json.dumps(document, indent=2))


@main.command()
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


# ---- scaling

main.add_command(scaling.threshold)
main.add_command(scaling.simulate)


@main.command()
@data_option
@click.argument("service", default="cv")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def explain(data: Path | None, service: str, as_json: bool) -> None:
    """Why SERVICE has the replicas it has: every term of the demand, from the scaler that runs."""
    from tidegate.client.explain import run

    with_admin(data, lambda client: run(client, service, out, as_json))


# ---- analytics

main.add_command(rules.rules)


@main.command()
@data_option
@click.argument("camera")
@click.option("--since", metavar="TIME", help="90s, 15m, 1h30m or 2d ago; 13:05 today; or a full time. Default: 30s.")
@click.option("--until", metavar="TIME", help="The same. Default: now.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Video with tracks, zones and lines.")
@click.option("--mot", type=click.Path(dir_okay=False, path_type=Path), help="Boxes as in MOTChallenge.")
@click.option("--fps", type=click.FloatRange(0, 120, min_open=True), default=10.0, show_default=True, help="Of --mot.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a track.")
def tracks(data: Path | None, camera: str, as_json: bool, **given: Any) -> None:
    """Show what analytics followed on CAMERA, or save it as a video.

    \b
    The last half minute:   tidegate tracks lobby
    To look at:             tidegate tracks lobby --since 1m --save lobby.mp4
    To be scored:           tidegate tracks lobby --since 13:05 --until 13:10 --mot lobby.txt --fps 5

    Video is there for as long as MEDIA keeps it, ten minutes by default; tracks, for a week.
    """
    from tidegate.client import tracks as following
    from tidegate.client.find import instant

    now = dt.datetime.now().astimezone()
    stretch = following.Stretch(
        camera=names.check_camera(camera),
        since=instant("--since", given["since"] or "30s", now),
        until=instant("--until", given["until"], now) if given["until"] else now,
    )
    save = following.Save(video=given["save"], mot=given["mot"], fps=given["fps"])
    with_admin(data, lambda client: following.run(client, stretch, out, as_json=as_json, save=save))


# ---- cameras


@main.group()
def camera() -> None:
    """Add, list, change and remove cameras, while everything runs."""


@camera.command("add")
@data_option
@click.argument("id")
@click.argument("url")
@click.option("--fps", type=float, help="Frames analysed per second of video, in place of CV_FPS.")
@click.option("--min-score", type=float, help="In place of CV_MIN_SCORE.")
@click.option("--classes", help="Labels to report, with commas, in place of CV_CLASSES.")
@click.option("--tiles", metavar="COLSxROWS", help="Look at tiles too, for small objects, in place of CV_TILES: 2x1.")
@click.option("--caption-every", type=float, help="Seconds between captions, in place of VLM_CAPTION_EVERY_S; 0: none.")
@click.option("--caption-prompt", help="What is asked of a caption, in place of VLM_CAPTION_PROMPT.")
@click.option("--udp", is_flag=True, help="RTP over UDP rather than TCP.")
@click.option("--loop", is_flag=True, help="Play a file over and over.")
@click.option("--realtime/--fast", default=True, help="A file at its own pace (default), or as the bus takes it.")
def camera_add(data: Path | None, id: str, url: str, **options: Any) -> None:
    """Add camera ID, or change it. URL: rtsp://user:pass@host/path, rtsps://… or a file, of H.264 or H.265.

    Credentials are kept apart from the camera's entry, where ingest alone can read them.
    """
    names.check_camera(id)
    if "://" not in url and Path(url).exists():
        url = Path(url).resolve().as_uri()
    fields: dict[str, Any] = {
        "transport": "udp" if options["udp"] else "tcp",
        "loop": options["loop"],
        "realtime": options["realtime"],
        "fps": options["fps"],
        "min_score": options["min_score"],
        "classes": [c.strip() for c in options["classes"].split(",")] if options["classes"] else None,
        "tiles": options["tiles"],
        "caption_every_s": options["caption_every"],
        "caption_prompt": options["caption_prompt"],
    }
    entry, credentials = cameras.new_camera(url, **fields)

    async def work(client: Client) -> None:
        await registry.put(client.jetstream(), id, entry, credentials)
        click.echo(f"camera {id}: {redact(url)}")

    with_admin(data, work)


@camera.command("list")
@data_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def camera_list(data: Path | None, as_json: bool) -> None:
    """Show all cameras, and how they do."""

    async def work(client: Client) -> None:
        js = client.jetstream()
        table = Table("camera", "state", "video", "fps", "url", "reason")
        for id, entry in (await registry.all(js)).items():
            status = await registry.last_status(js, id)
            state = (status.state if status else "new") if entry.enabled else "disabled"
            if as_json:
                fields = msgspec.to_builtins(entry)
                click.echo(msgspec.json.encode({"camera": id, "state": state, **fields}).decode())
                continue
            video = f"{status.codec} {status.width}x{status.height}" if status and status.codec else ""
            reason = status.reason if status and state == "offline" else ""
            table.add_row(id, state, video, f"{entry.fps or ''}", redact(entry.url), reason)
        if not as_json:
            out.print(table if table.row_count else "no cameras: tidegate camera add lobby rtsp://…")

    with_admin(data, work)


@camera.command("remove")
@data_option
@click.argument("id")
def camera_remove(data: Path | None, id: str) -> None:
    """Forget camera ID and its credentials. Its events stay."""

    async def work(client: Client) -> None:
        await registry.remove(client.jetstream(), id)
        click.echo(f"camera {id}: removed")

    with_admin(data, work)


def _set_enabled(data: Path | None, id: str, enabled: bool) -> None:
    async def work(client: Client) -> None:
        await registry.set_enabled(client.jetstream(), id, enabled)
        click.echo(f"camera {id}: {'enabled' if enabled else 'disabled'}")

    with_admin(data, work)


@camera.command("enable")
@data_option
@click.argument("id")
def camera_enable(data: Path | None, id: str) -> None:
    """Ingest camera ID again."""
    _set_enabled(data, id, True)


@camera.command("disable")
@data_option
@click.argument("id")
def camera_disable(data: Path | None, id: str) -> None:
    """Stop ingesting camera ID, and keep its entry."""
    _set_enabled(data, id, False)


# ---- dead letters


@main.group()
def dlq() -> None:
    """What could not be processed: look at it, and try it again."""


@dlq.command("list")
@data_option
@click.option("--service", help="Of this service alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, without payloads.")
def dlq_list(data: Path | None, service: str | None, as_json: bool) -> None:
    """Show dead letters, and why they died."""
    from tidegate.client.dlq import letters

    async def work(client: Client) -> None:
        table = Table("letter", "service", "of", "subject", "bytes", "tries", "reason")
        async for x in letters(client.jetstream(), service):
            size = "expired" if x.payload is None else str(len(x.payload))
            if as_json:
                row = msgspec.to_builtins(x) | {"payload": None, "bytes": len(x.payload or b"")}
                click.echo(msgspec.json.encode(row).decode())
            else:
                of = f"{x.stream}/{x.stream_seq}"
                table.add_row(str(x.seq), x.service, of, x.subject, size, str(x.deliveries), x.reason)
        if not as_json:
            out.print(table if table.row_count else "no dead letters")

    with_admin(data, work)


@dlq.command("replay")
@data_option
@click.argument("letter", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All letters.")
@click.option("--service", help="With --all: of this service alone.")
def dlq_replay(data: Path | None, letter: tuple[int, ...], every: bool, service: str | None) -> None:
    """Put LETTERs back to work, for the service that gave them up alone.

    Each is published to its own subject again: other services of Tidegate pass over it, and subscribers of your own see
    it once more, an event with the same ce-id.
    """
    from tidegate.client.dlq import letters, replay

    if not letter and not every:
        raise SettingError("say which: the numbers that 'tidegate dlq list' shows, or --all")

    async def work(client: Client) -> None:
        js = client.jetstream()
        found = [x async for x in letters(js, service) if every or x.seq in letter]
        for missing in set(letter) - {x.seq for x in found}:
            click.echo(f"letter {missing}: not there", err=True)
        for x in found:
            click.echo(f"letter {x.seq}: sequence {await replay(client, js, x)} of {x.stream} for {x.service}")

    with_admin(data, work)


if __name__ == "__main__":
    main()
