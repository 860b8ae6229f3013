"""`tidegate camera`: add, list, change and remove cameras, while everything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from nats.aio.client import Client
from rich.table import Table

from shared.contract import cameras, names
from shared.runtime.redact import redact
from tidegate.client import registry
from tidegate.commands.options import data_option, screen, with_admin


@click.group()
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
            screen().print(table if table.row_count else "no cameras: tidegate camera add lobby rtsp://…")

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
