"""`tidegate rules`: check, store and draw a camera's zones, lines and rules."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click
import msgspec
from nats.aio.client import Client

from shared.client import registry
from shared.client import rules as rules_client
from shared.contract import names
from shared.contract import rules as rule_format
from shared.contract.reading.mistakes import Mistakes
from shared.contract.rules import Rules
from shared.runtime.errors import SettingError
from tidegate.client import labels
from tidegate.client.files import written
from tidegate.commands import Group
from tidegate.commands.options import FILE, NEW_FILE, connected, data_option, extra, force_option, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.records import Wrapped

FIELDS = ("camera", Wrapped("zones"), Wrapped("lines"), Wrapped("rules"))


@click.group(cls=Group)
def rules() -> None:
    """Check, set, show and draw a camera's zones, lines and incident rules.

    \b
    Check a file:           tidegate rules check lobby.yaml
    Draw its zones:         tidegate rules draw lobby --file lobby.yaml --save lobby.png
    Set the rules:          tidegate rules set lobby lobby.yaml
    Watch the incidents:    tidegate watch incidents.lobby
    """


@rules.command("check")
@click.argument("files", nargs=-1, required=True, type=FILE)
def check(files: tuple[Path, ...]) -> None:
    """Print every mistake in FILES with its path. They are YAML or JSON. The command needs no server.

    \b
    Check two files:        tidegate rules check lobby.yaml yard.yaml
    """
    mistakes = 0
    for file in files:
        try:
            rule_set = load(file)
            echo(f"{file}: {describe(rule_set)}")
            _warn_unknown_labels(str(file), rule_set)
        except Mistakes as e:
            mistakes += 1
            echo(str(e), err=True)
    if mistakes:
        raise SystemExit(1)


@rules.command("schema")
def schema() -> None:
    """Print the JSON Schema of a rule file, for editors.

    \b
    For VS Code:            tidegate rules schema > rules.schema.json
    """
    echo(json.dumps(rule_format.json_schema(), indent=2))


@rules.command("set")
@data_option
@click.argument("camera")
@click.argument("file", type=FILE)
@force_option
def set_(data: Path | None, camera: str, file: Path, force: bool) -> None:
    """Replace the rules of CAMERA by those in FILE. They apply from its next segment on.

    \b
    Set the rules:          tidegate rules set lobby lobby.yaml
    Of a later camera:      tidegate rules set gate gate.yaml --force
    """
    names.check_camera(camera)
    rule_set = load(file)

    async def work(client: Client) -> None:
        if not force:
            await registry.check(client.jetstream(), [camera])
        await rules_client.put(client, camera, rule_set)
        echo(f"rules of {camera}: {describe(rule_set)}")
        _warn_unknown_labels(str(file), rule_set)

    with_admin(data, work)


@rules.command("show")
@connected
@click.argument("camera")
async def show(client: Client, camera: str) -> None:
    """Print CAMERA's rules as YAML, the input format of 'set'.

    \b
    Edit the rules:         tidegate rules show lobby > lobby.yaml
    """
    echo(msgspec.yaml.encode(await rules_client.get(client, camera)).decode(), nl=False)


@rules.command("list")
@connected
async def list_(client: Client) -> None:
    """List the cameras that have rules, with zones, lines and rules.

    \b
    All of them:            tidegate rules list
    """
    rows = []
    for camera in await rules_client.cameras(client):
        rule_set = await rules_client.get(client, camera)
        kinds = ", ".join(f"{r.id} ({r.__struct_config__.tag})" for r in rule_set.rules)
        rows.append((camera, ", ".join(rule_set.zones), ", ".join(rule_set.lines), kinds))
    records.show(screen(), FIELDS, rows, "no camera has rules: tidegate rules set lobby lobby.yaml")


@rules.command("remove")
@connected
@click.argument("camera")
async def remove(client: Client, camera: str) -> None:
    """Remove CAMERA's rules. Open incidents end; analytics still tracks its objects.

    \b
    Remove the rules:       tidegate rules remove lobby
    """
    await rules_client.remove(client, camera)
    echo(f"rules of {camera}: removed")


@rules.command("draw")
@data_option
@click.argument("camera")
@click.option("--file", type=FILE, help="File of rules to draw, instead of the camera's own.")
@click.option("--save", type=NEW_FILE, help="File to write. Default: rules-CAMERA.png.")
def draw(data: Path | None, camera: str, file: Path | None, save: Path | None) -> None:
    """Save CAMERA's last keyframe with zones, masks and lines, and with the direction 'in' of lines.

    \b
    The present rules:      tidegate rules draw lobby
    Rules of a file:        tidegate rules draw lobby --file lobby.yaml --save lobby.png
    """
    names.check_camera(camera)
    with extra("demo", "drawing"):
        from tidegate.drawing.scene import draw_rules

    path = save or Path(f"rules-{camera}.png")
    override = load(file) if file else None

    async def work(client: Client) -> None:
        rule_set = override or await rules_client.get(client, camera)
        image = draw_rules(await rules_client.last_keyframe(client, camera), rule_set)
        with written(path) as part:
            try:
                image.save(part)
            except ValueError as e:
                raise SettingError(f"--save {path} can't be written ({e}): name a .png or .jpg") from e
        echo(f"{path}: {describe(rule_set)}")

    with_admin(data, work)


def load(file: Path) -> Rules:
    """Read a file of rules. Raise Mistakes, or SettingError if the file can't be read."""
    try:
        return rule_format.read(file.read_bytes(), str(file))
    except OSError as e:
        raise SettingError(f"{file} can't be read: {e.strerror}") from e


def _warn_unknown_labels(where: str, rule_set: Rules) -> None:
    """Warn about labels that the embedded detector does not have."""
    for path, label in rule_format.labels(rule_set):
        if question := labels.doubt(label):
            echo(f"{where}: {path}: {question}", err=True)


def describe(rule_set: Rules) -> str:
    """Return a summary in one line, such as `2 zones, 1 line; rules: 1 enter, 2 crossing`."""
    parts = [
        f"{len(part)} {name if len(part) != 1 else name[:-1]}"
        for name, part in (("zones", rule_set.zones), ("masks", rule_set.masks), ("lines", rule_set.lines))
        if part
    ]
    kinds = Counter(str(r.__struct_config__.tag) for r in rule_set.rules)
    rules = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none"
    return f"{', '.join(parts) or 'no zones or lines'}; rules: {rules}"
