"""`tidegate rules`: what analytics is to tell of a camera, checked, stored, and drawn into its picture."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click
import msgspec
from nats.aio.client import Client

from shared.client import registry
from shared.client import rules as stored
from shared.contract import names
from shared.contract import rules as book
from shared.contract.rules import Mistakes, Rules
from shared.runtime.errors import SettingError
from tidegate.client import labels
from tidegate.client.files import written
from tidegate.commands import Group
from tidegate.commands.options import FILE, NEW_FILE, data_option, extra, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.records import Wrapped

FIELDS = ("camera", Wrapped("zones"), Wrapped("lines"), Wrapped("rules"))


@click.group(cls=Group)
def rules() -> None:
    """Zones, lines and what to tell of them: check, set, show and draw a camera's rules.

    \b
    Is it right?            tidegate rules check lobby.yaml
    Where is that?          tidegate rules draw lobby --file lobby.yaml --save lobby.png
    Take it:                tidegate rules set lobby lobby.yaml
    See what comes of it:   tidegate watch incidents.lobby
    """


@rules.command("check")
@click.argument("files", nargs=-1, required=True, type=FILE)
def check(files: tuple[Path, ...]) -> None:
    """Name every mistake in FILES, which are YAML or JSON, with its path. It needs no server.

    \b
    Before they are set:    tidegate rules check lobby.yaml yard.yaml
    """
    bad = 0
    for file in files:
        try:
            found = load(file)
            echo(f"{file}: {describe(found)}")
            _doubt(str(file), found)
        except Mistakes as e:
            bad += 1
            echo(str(e), err=True)
    if bad:
        raise SystemExit(1)


@rules.command("schema")
def schema() -> None:
    """Print the JSON Schema of a rule file, for editors.

    \b
    For VS Code:            tidegate rules schema > rules.schema.json
    """
    echo(json.dumps(book.json_schema(), indent=2))


@rules.command("set")
@data_option
@click.argument("camera")
@click.argument("file", type=FILE)
def set_(data: Path | None, camera: str, file: Path) -> None:
    """Give CAMERA the rules in FILE, in place of those it had. They hold from its next segment on.

    \b
    As they are checked:    tidegate rules set lobby lobby.yaml
    """
    names.check_camera(camera)
    found = load(file)

    async def work(client: Client) -> None:
        await stored.put(client, camera, found)
        echo(f"rules of {camera}: {describe(found)}")
        _doubt(str(file), found)
        if sentence := await registry.missing(client.jetstream(), camera):
            echo(sentence, err=True)

    with_admin(data, work)


@rules.command("show")
@data_option
@click.argument("camera")
def show(data: Path | None, camera: str) -> None:
    """Print CAMERA's rules as YAML, as 'set' takes them.

    \b
    To change them:         tidegate rules show lobby > lobby.yaml
    """

    async def work(client: Client) -> None:
        echo(msgspec.yaml.encode(await stored.get(client, camera)).decode(), nl=False)

    with_admin(data, work)


@rules.command("list")
@data_option
def list_(data: Path | None) -> None:
    """Show which cameras have rules, and what they are about.

    \b
    For a person:           tidegate rules list
    """

    async def work(client: Client) -> None:
        rows = []
        for camera in await stored.cameras(client):
            found = await stored.get(client, camera)
            kinds = ", ".join(f"{r.id} ({r.__struct_config__.tag})" for r in found.rules)
            rows.append((camera, ", ".join(found.zones), ", ".join(found.lines), kinds))
        records.show(screen(), FIELDS, rows, "no camera has rules: tidegate rules set lobby lobby.yaml")

    with_admin(data, work)


@rules.command("remove")
@data_option
@click.argument("camera")
def remove(data: Path | None, camera: str) -> None:
    """Forget CAMERA's rules. Incidents that last end; its objects are still followed.

    \b
    For good:               tidegate rules remove lobby
    """

    async def work(client: Client) -> None:
        await stored.remove(client, camera)
        echo(f"rules of {camera}: removed")

    with_admin(data, work)


@rules.command("draw")
@data_option
@click.argument("camera")
@click.option("--file", type=FILE, help="Draw the rules in this file, in place of those that the camera has.")
@click.option("--save", type=NEW_FILE, help="Write it to this file. Default: rules-CAMERA.png.")
def draw(data: Path | None, camera: str, file: Path | None, save: Path | None) -> None:
    """Save CAMERA's last keyframe with its zones, masks and lines drawn, and which way is in.

    \b
    As they are:            tidegate rules draw lobby
    Before they are set:    tidegate rules draw lobby --file lobby.yaml --save lobby.png
    """
    names.check_camera(camera)
    with extra("demo", "drawing"):
        from tidegate.drawing.scene import draw_rules

    path = save or Path(f"rules-{camera}.png")
    given = load(file) if file else None

    async def work(client: Client) -> None:
        found = given or await stored.get(client, camera)
        image = draw_rules(await stored.last_keyframe(client, camera), found)
        with written(path) as part:
            try:
                image.save(part)
            except ValueError as e:
                raise SettingError(f"--save {path} can't be written ({e}): name a .png or .jpg") from e
        echo(f"{path}: {describe(found)}")

    with_admin(data, work)


def load(file: Path) -> Rules:
    """Raises Mistakes, or SettingError if it can't be read."""
    try:
        return book.read(file.read_bytes(), str(file))
    except OSError as e:
        raise SettingError(f"{file} can't be read: {e.strerror}") from e


def _doubt(where: str, found: Rules) -> None:
    """Ask about labels that the embedded detector does not have."""
    for path, label in book.labels(found):
        if question := labels.doubt(label):
            echo(f"{where}: {path}: {question}", err=True)


def describe(found: Rules) -> str:
    """In a line: 2 zones, 1 line; rules: 1 enter, 2 crossing."""
    parts = [
        f"{len(part)} {name if len(part) != 1 else name[:-1]}"
        for name, part in (("zones", found.zones), ("masks", found.masks), ("lines", found.lines))
        if part
    ]
    kinds = Counter(str(r.__struct_config__.tag) for r in found.rules)
    rules = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none"
    return f"{', '.join(parts) or 'no zones or lines'}; rules: {rules}"
