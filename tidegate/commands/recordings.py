"""`tidegate recordings`: what is recorded of each camera, and what is to be."""

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
from shared.client import recordings as client_of
from shared.contract import geometry, names
from shared.recordings.opening import KEY_FILE
from shared.recordings.policy import DEFAULT, EffectivePolicy, Mask, Policy, camera_key, group_key
from shared.recordings.queries import LONGEST, ListedFile, RecordingTotals
from shared.recordings.records import HOUR, Hole, Sum
from shared.runtime.errors import SettingError
from tidegate.client.times import clock, instant, length, now_here
from tidegate.commands import Group
from tidegate.commands.clip import CAUSES
from tidegate.commands.options import NEW_FILE, TIME, Number, data_option, extra, screen, with_admin
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
# Cells of an hour: two minutes each.
BAR = 30
_DAYS = re.compile(r"(\d+(?:\.\d+)?)([hd])")


@click.group(cls=Group)
def recordings() -> None:
    """See what is recorded of each camera, and say what is to be.

    \b
    What is there?          tidegate recordings list
    Each file:              tidegate recordings list lobby --files
    With gaps:              tidegate recordings show lobby --since 6h
    For a month:            tidegate recordings set lobby --keep 30d
    What happens only:      tidegate recordings set lobby --record activity --label person
    Nothing may go:         tidegate recordings set lobby --hold

    It needs 'tidegate up --record'. The video of a time: 'tidegate clip'.
    """


@recordings.command("list")
@data_option
@click.argument("camera", required=False)
@click.option("--files", "by_file", is_flag=True, help="Name each file with its size and when it goes, and each gap.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a camera, or a file and a gap.")
@click.option("--parquet", type=NEW_FILE, help="Write files and gaps to this Parquet file, instead.")
def list_(data: Path | None, camera: str | None, by_file: bool, as_json: bool, parquet: Path | None) -> None:
    """What there is of CAMERA, or of each: hours, bytes, what is missing, and when the oldest goes.

    \b
    A catalogue:            tidegate recordings list --parquet catalogue.parquet
    In a pipe:              tidegate recordings list --files --json
    """
    if parquet and as_json:
        raise SettingError("--parquet writes a file and prints nothing: leave out --json")
    if camera:
        names.check_camera(camera)

    async def work(client: Client) -> None:
        found = await waited_for(client_of.totals(client, camera), "adding up")
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
    async for camera, one in _files(client, cameras):
        if as_json:
            echo_json({"camera": camera, **msgspec.to_builtins(one)})
        else:
            rows.append((camera, *_file_row(one, now)))
    if not as_json:
        records.show(screen(), FILE_FIELDS, rows, NOTHING)


async def _write_files(client: Client, cameras: Sequence[str], path: Path) -> None:
    with extra("archive", "--parquet"):
        from tidegate.client.catalogue import catalogue

    count = 0
    with catalogue(path) as add:
        async for camera, one in _files(client, cameras):
            add(camera, one)
            count += 1
    echo(f"{path}: {counted(count, 'row')}", err=True)


async def _files(client: Client, cameras: Sequence[str]) -> AsyncIterator[tuple[str, ListedFile | Hole]]:
    """All files and gaps, camera by camera, by time."""
    now = now_here()
    with telling() as tell:
        for n, camera in enumerate(cameras, 1):
            async for one, begin in client_of.listed(client, camera):
                tell(f"reading {camera}, {n} of {len(cameras)}: {clock(begin, now)}")
                yield camera, one


def _file_row(one: ListedFile | Hole, now: dt.datetime) -> tuple[str, ...]:
    if isinstance(one, Hole):
        return clock(one.since, now), length((one.until - one.since).total_seconds()), "", "", f"no video: {one.cause}"
    goes = clock(one.goes, now) if one.goes else "never"
    what = f"{one.key}, keyframes alone" if one.keyframes else one.key
    return clock(one.start, now), length((one.end - one.start).total_seconds()), sized(one.size), goes, what


@recordings.command()
@data_option
@click.argument("camera")
@click.option("--since", metavar="TIME", default="1d", help=f"Begin there: {TIME}. Default: 1d.")
@click.option("--until", metavar="TIME", help="End there, given in the same ways. Default: now.")
def show(data: Path | None, camera: str, since: str, until: str | None) -> None:
    """A timeline of CAMERA, hour by hour, with its gaps and why they are."""
    now = now_here()
    begin = instant("--since", since, now)
    end = instant("--until", until, now) if until else now
    names.check_camera(camera)

    async def work(client: Client) -> None:
        (total,) = await waited_for(client_of.totals(client, camera), "reading")
        hours = [one for one in total.hours if one.hour + HOUR > begin and one.hour < end]
        out = screen()
        for one in hours:
            out.print(_line(one, now), soft_wrap=True)
        if not hours:
            raise SettingError(f"nothing of {camera} is recorded from {clock(begin, now)} to {clock(end, now)}")
        for at in range(0, max(1, (end - begin) // LONGEST + 1)):
            part = begin + at * LONGEST
            if part < end:
                found = await client_of.between(client, camera, part, min(end, part + LONGEST))
                _say_holes(out, [hole for hole in found.holes if hole.since >= part or at == 0], now)

    with_admin(data, work)


def _settings(function: Any) -> Any:
    for option in reversed(
        (
            click.option(
                "--record",
                type=click.Choice(["always", "activity", "incidents", "never"]),
                help="What stays: all; minutes in which something is seen; those around incidents; nothing.",
            ),
            click.option(
                "--rest",
                type=click.Choice(["nothing", "keyframes"]),
                help="What stays of the other minutes: nothing, or their keyframes, a picture every second or so.",
            ),
            click.option("--label", "labels", multiple=True, help="What is seen has to be one of these. Repeatable."),
            click.option("--zone", "zones", multiple=True, help="It has to be in one of these zones. Repeatable."),
            click.option("--before", "before_s", type=Number(0, 600), help="Seconds of video before it, too."),
            click.option("--after", "after_s", type=Number(0, 600), help="Seconds of video after it, too."),
            click.option("--keep", metavar="TIME", help="Keep it so long: 12h, 14d. At first: 7d."),
            click.option("--keep-incidents", metavar="TIME", help="What shows incidents: 30d, say. At first: 30d."),
            click.option("--most-gb", type=Number(0, 1e6), help="The oldest goes where it is more; 0: no limit."),
            click.option(
                "--mask",
                "masks",
                multiple=True,
                metavar="X,Y,X,Y,…",
                help="Record CAMERA with this polygon black: corners, as shares of the picture. Repeatable; names all.",
            ),
            click.option("--no-masks", is_flag=True, help="Record all of the picture again."),
            click.option("--hold/--no-hold", default=None, help="Whether nothing of it may go, whatever else is said."),
        )
    ):
        function = option(function)
    return function


@recordings.command("set")
@data_option
@click.argument("camera", required=False)
@click.option("--group", help="Say it of a group of cameras, instead of one.")
@click.option("--of", "cameras", multiple=True, help="Which cameras are in the group. Repeatable; names all of them.")
@_settings
def set_(data: Path | None, camera: str | None, group: str | None, **given: Any) -> None:
    """Say what is recorded of CAMERA; without one, of all cameras that say nothing else.

    \b
    Of several:             tidegate recordings set --group doors --of lobby --of gate --keep 30d
    Little of what is quiet: tidegate recordings set lobby --record activity --rest keyframes
    Not the neighbour's:    tidegate recordings set yard --mask 0.7,0,1,0,1,0.4,0.7,0.4
    """
    key, whom = _whose(camera, group)
    if given["cameras"] and not group:
        raise SettingError("--of names the cameras of a group: give --group NAME, too")
    change: dict[str, Any] = {
        "cameras": tuple(map(names.check_camera, given["cameras"])) or None,
        "record": given["record"],
        "rest": given["rest"],
        "labels": tuple(given["labels"]) or None,
        "zones": tuple(given["zones"]) or None,
        "before_s": given["before_s"],
        "after_s": given["after_s"],
        "keep_days": days("--keep", given["keep"]),
        "incidents_days": days("--keep-incidents", given["keep_incidents"]),
        "most_gb": given["most_gb"],
        "hold": given["hold"],
        "masks": _masks(given["masks"], given["no_masks"], camera),
    }
    change = {name: value for name, value in change.items() if value is not None}
    if not change:
        raise SettingError("say what is to change, such as --keep 14d: 'tidegate recordings set --help' shows all")

    async def work(client: Client) -> None:
        kv = await bind(client.jetstream(), names.RECORDINGS)
        policy = msgspec.structs.replace(await _policy(kv, key), **change)
        if group and not policy.cameras:
            raise SettingError(f"group {group} has no cameras: name them by --of")
        await kv.put(key, msgspec.json.encode(policy))
        echo(f"{whom}: {_said(policy)}")

    with_admin(data, work)


@recordings.command()
@data_option
@click.argument("camera", required=False)
@click.option("--group", help="Forget what was said of a group, and who is in it.")
def unset(data: Path | None, camera: str | None, group: str | None) -> None:
    """Forget what was said of CAMERA: what holds for all cameras holds again. Without one, what was said of all."""
    key, whom = _whose(camera, group)

    async def work(client: Client) -> None:
        kv = await bind(client.jetstream(), names.RECORDINGS)
        await kv.delete(key)
        echo(f"{whom}: nothing of its own is said any more")

    with_admin(data, work)


@recordings.command("key")
@data_option
@click.argument("file", type=NEW_FILE, required=False)
@click.option("--rotate", is_flag=True, help="Put a new key before those that are in FILE, which goes on being read.")
def key_(data: Path | None, file: Path | None, rotate: bool) -> None:
    """Make FILE, with a key by which recordings are encrypted. Its key is never shown.

    Without FILE it is RECORDER_KEY_FILE, or secrets/recordings.key in the data directory, which 'tidegate up --record'
    looks for as it starts: what is recorded from then on is encrypted. Whoever loses the file loses that.
    """
    named = os.environ.get(KEY_FILE)
    path = file or (Path(named) if named else recording_keys.usual(prepare(data or default_data())))
    try:
        made = recording_keys.make(path, rotate=rotate)
    except OSError as e:
        raise SettingError(f"{path} can't be written: {e.strerror}") from e
    echo(f"{path}: key {made.id.hex()}, for its owner alone")
    echo("keep a copy, apart from the recordings: without it nobody can read them")
    echo(f"it counts from the next start of 'tidegate up --record', or of a recorder with {KEY_FILE}")


def _whose(camera: str | None, group: str | None) -> tuple[str, str]:
    """(the key of what is said, of whom in words). Raises SettingError."""
    if camera and group:
        raise SettingError("give a camera or --group, and not both")
    if group:
        return group_key(names.check_token(group, "group")), f"group {group}"
    return (camera_key(names.check_camera(camera)), camera) if camera else (DEFAULT, "all cameras")


def _masks(texts: Sequence[str], none: bool, camera: str | None) -> tuple[Mask, ...] | None:
    """None: nothing was said of masks. Raises SettingError."""
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
    except msgspec.DecodeError as e:
        raise SettingError(f"what was said of {key} can't be read ({e}): 'tidegate recordings unset' forgets it") from e


def days(option: str, text: str | None) -> float | None:
    """Raises SettingError."""
    if text is None:
        return None
    if not (match := _DAYS.fullmatch(text)) or not float(match[1]):
        raise SettingError(f"{option} {text!r} is no length: give hours or days, such as 12h or 14d")
    return float(match[1]) / (24 if match[2] == "h" else 1)


def _row(total: RecordingTotals, now: dt.datetime) -> tuple[str, ...]:
    return (
        total.camera,
        length(total.seconds),
        sized(total.size),
        clock(total.first, now) if total.first else "",
        clock(total.goes, now) if total.goes else "never" if total.kept.hold else "",
        ", ".join(f"{length(seconds)} {cause}" for cause, seconds in sorted(total.lost.items())),
        _said(total.kept),
    )


def _said(policy: EffectivePolicy | Policy) -> str:
    """A policy in words."""
    said = [f"of {', '.join(policy.cameras)}"] if isinstance(policy, Policy) and policy.cameras else []
    if policy.record:
        seen = [*(policy.labels or ()), *(f"in {zone}" for zone in policy.zones or ())]
        said.append(policy.record + (f" of {', '.join(seen)}" if seen else ""))
    if policy.rest == "keyframes":
        said.append("keyframes of the rest")
    if policy.keep_days:
        said.append(f"{policy.keep_days:g} d")
    if policy.incidents_days:
        said.append(f"incidents {policy.incidents_days:g} d")
    if policy.most_gb:
        said.append(f"{policy.most_gb:g} GB at most")
    if policy.masks:
        said.append(counted(len(policy.masks), "mask"))
    if policy.hold:
        said.append("held")
    return ", ".join(said) or "nothing of its own"


def _line(one: Sum, now: dt.datetime) -> Text:
    """An hour: how much of it there is, as a bar."""
    filled = min(BAR, math.ceil(one.seconds / 3600 * BAR))
    local = one.hour.astimezone(now.tzinfo)
    missing = ", ".join(f"{length(seconds)} {cause}" for cause, seconds in sorted(one.lost.items()))
    bar = "█" * filled + "·" * (BAR - filled)
    text = f"{local:%Y-%m-%d %H:%M}  {bar}  {length(one.seconds):>7}  {sized(one.size):>9}"
    return Text(f"{text}  {'incident ' if one.incident else ''}{missing}".rstrip())


def _say_holes(out: Console, holes: Sequence[Hole], now: dt.datetime) -> None:
    for hole in holes:
        count = f", {hole.segments} segments" if hole.segments else ""
        out.print(Text(f"{clock(hole.since, now)} to {clock(hole.until, now)}: {CAUSES[hole.cause]}{count}"))
