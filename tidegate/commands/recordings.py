"""`tidegate recordings`: list recordings, and set the recording policy of cameras."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError
from rich.console import Console
from rich.text import Text

from shared.bus.mirror import bind
from shared.client import recordings as recordings_client
from shared.client import registry
from shared.contract import geometry, names
from shared.contract.reading.entries import entries
from shared.recordings.opening import KEY_FILE
from shared.recordings.policy import DEFAULT, EffectivePolicy, Mask, Policy, camera_key, group_key
from shared.recordings.queries import LONGEST, ListedFile, RecordingTotals
from shared.recordings.records import HOUR, Hole, HourTotals
from shared.runtime.errors import SettingError
from tidegate.client.times import clock, instant, length, now_here
from tidegate.commands import Group
from tidegate.commands.clip import CAUSES
from tidegate.commands.options import (
    NEW_FILE,
    TIME,
    Number,
    combined,
    data_option,
    extra,
    force_option,
    screen,
    with_admin,
)
from tidegate.local import recording_keys
from tidegate.local.running import default_data, prepare
from tidegate.view import records
from tidegate.view.inert import echo, echo_json
from tidegate.view.records import Right, Wrapped
from tidegate.view.waiting import telling, waited_for
from tidegate.view.words import counted, sized

NOTHING = "nothing is recorded yet: the first file is there after a minute"
FILE_FIELDS = ("camera", "since", Right("length"), Right("size"), "goes", "file")
FIELDS = ("camera", Right("video"), Right("size"), "since", "goes", "missing", Wrapped("kept"))
# Cells per hour, of two minutes each.
BAR = 30
_DAYS = re.compile(r"(\d+(?:\.\d+)?)([hd])")


@click.group(cls=Group)
def recordings() -> None:
    """List recordings, and set what to record of each camera.

    \b
    All cameras:            tidegate recordings list
    Files of a camera:      tidegate recordings list lobby --files
    A timeline:             tidegate recordings show lobby --since 6h
    Keep for a month:       tidegate recordings set lobby --keep 30d
    Only activity:          tidegate recordings set lobby --record activity --label person
    Delete nothing:         tidegate recordings set lobby --hold

    The commands need 'tidegate up --record'. 'tidegate clip' saves the video of a time range.
    """


@recordings.command("list")
@data_option
@click.argument("camera", required=False)
@click.option("--files", "by_file", is_flag=True, help="List files with size and expiry, and gaps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per camera, or per file and gap.")
@click.option("--parquet", type=NEW_FILE, help="Parquet file to write files and gaps to, instead of a table.")
def list_(data: Path | None, camera: str | None, by_file: bool, as_json: bool, parquet: Path | None) -> None:
    """List recordings of CAMERA, or of all: hours, bytes, gaps, and expiry of the oldest.

    \b
    A catalogue:            tidegate recordings list --parquet catalogue.parquet
    In a pipe:              tidegate recordings list --files --json
    """
    if parquet and as_json:
        raise SettingError("--parquet writes a file and prints nothing: leave out --json")
    if camera:
        names.check_camera(camera)

    async def work(client: Client) -> None:
        found = await waited_for(recordings_client.totals(client, camera), "adding up")
        cameras = [total.camera for total in found]
        if parquet:
            await _write_files(client, cameras, parquet)
        elif by_file:
            await _list_files(client, cameras, as_json=as_json)
        elif as_json:
            for total in found:
                echo_json(total)
        else:
            rows = [_row(total, now_here()) for total in found]
            records.show(screen(), FIELDS, rows, NOTHING)

    with_admin(data, work)


async def _list_files(client: Client, cameras: Sequence[str], *, as_json: bool) -> None:
    now, rows = now_here(), list[tuple[str, ...]]()
    async for camera, entry in _files(client, cameras):
        if as_json:
            echo_json({"camera": camera, **msgspec.to_builtins(entry)})
        else:
            rows.append((camera, *_file_row(entry, now)))
    if not as_json:
        records.show(screen(), FILE_FIELDS, rows, NOTHING)


async def _write_files(client: Client, cameras: Sequence[str], path: Path) -> None:
    with extra("archive", "--parquet"):
        from tidegate.client.catalogue import catalogue

    count = 0
    with catalogue(path) as add:
        async for camera, entry in _files(client, cameras):
            add(camera, entry)
            count += 1
    echo(f"{path}: {counted(count, 'row')}", err=True)


async def _files(client: Client, cameras: Sequence[str]) -> AsyncIterator[tuple[str, ListedFile | Hole]]:
    """Yield all files and gaps, by camera and time."""
    now = now_here()
    with telling() as tell:
        for n, camera in enumerate(cameras, 1):
            async for entry, begin in recordings_client.listed(client, camera):
                tell(f"reading {camera}, {n} of {len(cameras)}: {clock(begin, now)}")
                yield camera, entry


def _file_row(entry: ListedFile | Hole, now: dt.datetime) -> tuple[str, ...]:
    if isinstance(entry, Hole):
        return (
            clock(entry.since, now),
            length((entry.until - entry.since).total_seconds()),
            "",
            "",
            f"no video: {entry.cause}",
        )
    goes = clock(entry.goes, now) if entry.goes else "never"
    what = f"{entry.key}, keyframes alone" if entry.keyframes else entry.key
    return clock(entry.start, now), length((entry.end - entry.start).total_seconds()), sized(entry.size), goes, what


@recordings.command()
@data_option
@click.argument("camera")
@click.option("--since", metavar="TIME", default="1d", help=f"Start of the time range: {TIME}. Default: 1d.")
@click.option("--until", metavar="TIME", help="End of the time range, in the same formats. Default: now.")
def show(data: Path | None, camera: str, since: str, until: str | None) -> None:
    """Print a timeline of CAMERA by hour, with gaps and their causes."""
    now = now_here()
    begin = instant("--since", since, now)
    end = instant("--until", until, now) if until else now
    names.check_camera(camera)

    async def work(client: Client) -> None:
        (total,) = await waited_for(recordings_client.totals(client, camera), "reading")
        hours = [entry for entry in total.hours if entry.hour + HOUR > begin and entry.hour < end]
        out = screen()
        for entry in hours:
            out.print(_line(entry, now), soft_wrap=True)
        if not hours:
            missing = await registry.missing(client.jetstream(), camera)
            nothing = f"nothing of {camera} is recorded from {clock(begin, now)} to {clock(end, now)}"
            raise SettingError(f"{nothing}; {missing}" if missing else nothing)
        for at in range(0, max(1, (end - begin) // LONGEST + 1)):
            part = begin + at * LONGEST
            if part < end:
                found = await recordings_client.between(client, camera, part, min(end, part + LONGEST))
                _print_gaps(out, [hole for hole in found.holes if hole.since >= part or at == 0], now)

    with_admin(data, work)


def _days(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Parse a retention in hours or days, and return days. Raise SettingError."""
    if text is None:
        return None
    if not (match := _DAYS.fullmatch(text)) or not float(match[1]):
        raise SettingError(f"{param.opts[0]} {text!r} is no length: give hours or days, such as 12h or 14d")
    return float(match[1]) / (24 if match[2] == "h" else 1)


# The options of a policy, by its fields.
_settings = combined(
    click.option(
        "--record",
        type=click.Choice(["always", "activity", "incidents", "never"]),
        help="Video to keep: all, minutes with detections, minutes around incidents, or none.",
    ),
    click.option(
        "--rest",
        type=click.Choice(["nothing", "keyframes"]),
        help="Video to keep of the other minutes: nothing, or keyframes, about one picture per second.",
    ),
    click.option(
        "--label", "labels", multiple=True, help="Label that counts as activity. May be repeated. Default: all."
    ),
    click.option("--zone", "zones", multiple=True, help="Zone that counts as activity. May be repeated. Default: all."),
    click.option("--before", "before_s", type=Number(0, 600), help="Seconds of video to keep before a match."),
    click.option("--after", "after_s", type=Number(0, 600), help="Seconds of video to keep after a match."),
    click.option(
        "--keep",
        "keep_days",
        callback=_days,
        metavar="TIME",
        help="Retention in hours or days, such as 12h or 14d. Default: 7d.",
    ),
    click.option(
        "--keep-incidents",
        "incidents_days",
        callback=_days,
        metavar="TIME",
        help="Retention of video of incidents, such as 60d. Default: 30d.",
    ),
    click.option("--most-gb", type=Number(0, 1e6), help="Maximum GB; the oldest video is deleted first. 0: no limit."),
    click.option(
        "--mask",
        "masks",
        multiple=True,
        metavar="X,Y,X,Y,…",
        help="Polygon to black out: corners as shares of the picture. May be repeated; replaces all masks.",
    ),
    click.option("--no-masks", is_flag=True, help="Remove all masks."),
    click.option("--hold/--no-hold", default=None, help="Never delete its video, or apply the retention (default)."),
)


@recordings.command("set")
@data_option
@click.argument("camera", required=False)
@click.option("--group", help="Group of cameras to set the policy of, instead of CAMERA.")
@click.option("--of", "cameras", multiple=True, help="Camera in the group. May be repeated; replaces all members.")
@force_option
@_settings
def set_(data: Path | None, camera: str | None, group: str | None, force: bool, **options: Any) -> None:
    """Set the recording policy of CAMERA; without one, the default for all cameras.

    \b
    A group of cameras:     tidegate recordings set --group doors --of lobby --of gate --keep 30d
    Save disk space:        tidegate recordings set lobby --record activity --rest keyframes
    Mask the neighbour:     tidegate recordings set yard --mask 0.7,0,1,0,1,0.4,0.7,0.4
    """
    key, scope = _scope(camera, group)
    if options["cameras"] and not group:
        raise SettingError("--of names the cameras of a group: give --group NAME, too")
    for name in options["cameras"]:
        names.check_camera(name)
    masks = _masks(options.pop("masks"), options.pop("no_masks"), camera)
    change = {name: value for name, value in options.items() if value not in (None, ())}
    change |= {} if masks is None else {"masks": masks}
    if not change:
        raise SettingError("say what is to change, such as --keep 14d: 'tidegate recordings set --help' shows all")

    async def work(client: Client) -> None:
        if not force and (of := [*options["cameras"], *([camera] if camera else [])]):
            await registry.check(client.jetstream(), of)
        kv = await bind(client.jetstream(), names.RECORDINGS)
        policy = msgspec.structs.replace(await _policy(kv, key), **change)
        if group and not policy.cameras:
            raise SettingError(f"group {group} has no cameras: name them by --of")
        await kv.put(key, msgspec.json.encode(policy))
        echo(f"{scope}: {_describe(policy)}")

    with_admin(data, work)


@recordings.command()
@data_option
@click.argument("camera", required=False)
@click.option("--group", help="Group whose policy and members to remove.")
def unset(data: Path | None, camera: str | None, group: str | None) -> None:
    """Remove the policy of CAMERA, so that the default applies again. Without CAMERA, remove the default."""
    key, scope = _scope(camera, group)

    async def work(client: Client) -> None:
        kv = await bind(client.jetstream(), names.RECORDINGS)
        if key not in await entries(client.jetstream(), names.RECORDINGS):
            missing = await registry.missing(client.jetstream(), camera) if camera else ""
            raise SettingError(missing or f"{scope}: there is no policy of its own to remove")
        await kv.delete(key)
        echo(f"{scope}: its own policy is removed")

    with_admin(data, work)


@recordings.command("key")
@data_option
@click.argument("file", type=NEW_FILE, required=False)
@click.option("--rotate", is_flag=True, help="Add a new key for encryption; the old keys in FILE still decrypt.")
def key_(data: Path | None, file: Path | None, rotate: bool) -> None:
    """Create FILE with a key that encrypts recordings. The command never prints the key.

    FILE defaults to RECORDER_KEY_FILE, or secrets/recordings.key in the data directory. 'tidegate up --record' reads it
    at its start and encrypts recordings from then on. Without the file nobody can decrypt them.
    """
    env_path = os.environ.get(KEY_FILE)
    path = file or (Path(env_path) if env_path else recording_keys.usual(prepare(data or default_data())))
    try:
        new_key = recording_keys.make(path, rotate=rotate)
    except OSError as e:
        raise SettingError(f"{path} can't be written: {e.strerror}") from e
    echo(f"{path}: key {new_key.id.hex()}, for its owner alone")
    echo("keep a copy, apart from the recordings: without it nobody can read them")
    echo(f"it counts from the next start of 'tidegate up --record', or of a recorder with {KEY_FILE}")


def _scope(camera: str | None, group: str | None) -> tuple[str, str]:
    """Return (the policy's key, its scope in words). Raise SettingError."""
    if camera and group:
        raise SettingError("give a camera or --group, and not both")
    if group:
        return group_key(names.check_token(group, "group")), f"group {group}"
    return (camera_key(names.check_camera(camera)), camera) if camera else (DEFAULT, "all cameras")


def _masks(texts: Sequence[str], none: bool, camera: str | None) -> tuple[Mask, ...] | None:
    """Return the masks of the options, or None to leave them. Raise SettingError."""
    if (texts or none) and not camera:
        raise SettingError("masks are of one camera: name it")
    if texts and none:
        raise SettingError("give --mask or --no-masks, and not both")
    return tuple(map(_mask, texts)) if texts or none else None


def _mask(text: str) -> Mask:
    try:
        shares = [float(part) for part in text.split(",")]
        mask = msgspec.convert(list(zip(shares[::2], shares[1::2], strict=True)), Mask)
    except (ValueError, msgspec.ValidationError) as e:
        raise SettingError(
            f"--mask {text!r} is no polygon: give three corners or more, such as 0,0,0.3,0,0.3,0.4, all from 0 to 1"
        ) from e
    if flaw := geometry.flaw(mask):
        raise SettingError(f"--mask {text!r}: {flaw}")
    return mask


async def _policy(kv: Any, key: str) -> Policy:
    try:
        return msgspec.json.decode((await kv.get(key)).value or b"{}", type=Policy)
    except KeyNotFoundError:
        return Policy()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise SettingError(
            f"the policy {key} can't be read ({e}): run 'tidegate recordings unset', and set it again"
        ) from e


def _row(total: RecordingTotals, now: dt.datetime) -> tuple[str, ...]:
    return (
        total.camera,
        length(total.seconds),
        sized(total.size),
        clock(total.first, now) if total.first else "",
        clock(total.goes, now) if total.goes else "never" if total.policy.hold else "",
        ", ".join(f"{length(seconds)} {cause}" for cause, seconds in sorted(total.lost.items())),
        _describe(total.policy),
    )


def _describe(policy: EffectivePolicy | Policy) -> str:
    """Describe a policy."""
    parts = [f"of {', '.join(policy.cameras)}"] if isinstance(policy, Policy) and policy.cameras else []
    if policy.record:
        seen = [*(policy.labels or ()), *(f"in {zone}" for zone in policy.zones or ())]
        parts.append(policy.record + (f" of {', '.join(seen)}" if seen else ""))
    if policy.rest == "keyframes":
        parts.append("keyframes of the rest")
    if policy.keep_days:
        parts.append(f"{policy.keep_days:g} d")
    if policy.incidents_days:
        parts.append(f"incidents {policy.incidents_days:g} d")
    if policy.most_gb:
        parts.append(f"{policy.most_gb:g} GB at most")
    if policy.masks:
        parts.append(counted(len(policy.masks), "mask"))
    if policy.hold:
        parts.append("held")
    return ", ".join(parts) or "nothing of its own"


def _line(entry: HourTotals, now: dt.datetime) -> Text:
    """Return a line for an hour, with a bar of its recorded share."""
    filled = min(BAR, math.ceil(entry.seconds / 3600 * BAR))
    local = entry.hour.astimezone(now.tzinfo)
    missing = ", ".join(f"{length(seconds)} {cause}" for cause, seconds in sorted(entry.lost.items()))
    bar = "█" * filled + "·" * (BAR - filled)
    text = f"{local:%Y-%m-%d %H:%M}  {bar}  {length(entry.seconds):>7}  {sized(entry.size):>9}"
    return Text(f"{text}  {'incident ' if entry.incident else ''}{missing}".rstrip())


def _print_gaps(out: Console, holes: Sequence[Hole], now: dt.datetime) -> None:
    for hole in holes:
        count = f", {hole.segments} segments" if hole.segments else ""
        out.print(Text(f"{clock(hole.since, now)} to {clock(hole.until, now)}: {CAUSES[hole.cause]}{count}"))
