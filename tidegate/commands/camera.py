"""`tidegate camera`: add, list, change and remove cameras at runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from nats.aio.client import Client

from shared.client import registry
from shared.contract import cameras, credentials, names
from shared.contract.cameras import Camera
from shared.contract.differences import differences, shown
from shared.contract.events import VIDEO_ARRIVES, CameraStatus, VideoStatus
from shared.contract.segment import rfc3339
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact
from tidegate.client import labels
from tidegate.commands import Group, passwords
from tidegate.commands.discover import discover
from tidegate.commands.options import combined, connected, data_option, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo, echo_json, one_line
from tidegate.view.records import Right, Wrapped

FIELDS = ("camera", "state", "video", Right("fps"), "url", Wrapped("reason"))
# The state of a camera whose entry in the bucket is invalid.
UNUSABLE = "unusable"


@click.group(cls=Group)
def camera() -> None:
    """Find, add, list, change and remove cameras at runtime.

    \b
    Find ONVIF cameras:     tidegate camera discover
    Add a camera:           tidegate camera add lobby rtsp://user@10.0.0.7/stream1 --fps 5
    List them:              tidegate camera list
    Analyse more frames:    tidegate camera set lobby --fps 10
    """


camera.add_command(discover)

# Fields that --unset can clear, by the name of the option that sets them.
_UNSET = {
    "fps": "fps",
    "min-score": "min_score",
    "classes": "classes",
    "tiles": "tiles",
    "model": "model",
    "caption-every": "caption_every_s",
    "caption-prompt": "caption_prompt",
    "priority": "priority",
    "password": "password",
    "detect": "detect",
}


def _labels(ctx: click.Context, param: click.Parameter, text: str | None) -> list[str] | None:
    if text is None:
        return None
    found = [label.strip() for label in text.split(",") if label.strip()]
    if not found:
        raise SettingError("--classes is empty: give labels with commas, or leave it out; 'set' has --unset classes")
    return found


def _transport(ctx: click.Context, param: click.Parameter, tcp: bool | None) -> str | None:
    return None if tcp is None else "tcp" if tcp else "udp"


# The options that 'add' and 'set' share, by the fields of a camera.
_settings = combined(
    click.option(
        "--detect",
        metavar="URL|PATH",
        help="Substream of the same camera, such as /stream2: it is analysed, and URL is recorded.",
    ),
    click.option("--fps", type=float, help="Analysed frames per second of video. Overrides CV_FPS."),
    click.option(
        "--priority",
        type=click.Choice(["high"]),
        help="Priority of its frames: high defers fewer of them while capacity is short.",
    ),
    click.option("--min-score", type=float, help="Minimum score of an object, 0 to 1. Overrides CV_MIN_SCORE."),
    click.option("--classes", callback=_labels, help="Labels to report, separated by commas. Overrides CV_CLASSES."),
    click.option(
        "--tiles",
        metavar="COLSxROWS",
        help="Tiles to analyse too, for small objects, such as 2x1. Overrides CV_TILES.",
    ),
    click.option("--model", metavar="NAME", help="Detection model, by its name in CV_MODELS. Overrides CV_MODEL."),
    click.option(
        "--always/--no-always",
        default=None,
        help="Analyse all of its video, or skip segments of static scenes (default).",
    ),
    click.option(
        "--caption-every",
        "caption_every_s",
        type=float,
        help="Seconds between captions; 0 disables captions. Overrides VLM_CAPTION_EVERY_S.",
    ),
    click.option("--caption-prompt", help="Prompt for captions. Overrides VLM_CAPTION_PROMPT."),
    click.option(
        "--tcp/--udp", "transport", default=None, callback=_transport, help="Transport of RTP: TCP (default) or UDP."
    ),
    click.option(
        "--verify-tls/--no-verify-tls",
        default=None,
        help="Verify the certificate of an rtsps camera against INGEST_CA (default), or accept any.",
    ),
    click.option("--loop/--no-loop", default=None, help="Repeat a file endlessly, or play it once (default)."),
    click.option(
        "--realtime/--fast",
        default=None,
        help="Read a file in real time (default), or as fast as the bus accepts it.",
    ),
)


@camera.command("add")
@data_option
@click.argument("id")
@click.argument("url")
@passwords.options
@_settings
@click.option("--replace", is_flag=True, help="Replace a camera of the same id, with all of its settings.")
def camera_add(data: Path | None, id: str, url: str, replace: bool, **options: Any) -> None:
    """Add camera ID. URL: rtsp://user@host/path, rtsps://… or a file, of H.264 or H.265.

    \b
    A camera:               tidegate camera add lobby rtsp://user@10.0.0.7/stream1 --fps 5
    In a script:            tidegate camera add lobby rtsp://user@10.0.0.7/stream1 --password-stdin < password
    A password in the URL:  tidegate camera add lobby - < url
    A file, as a camera:    tidegate camera add street street.mp4 --loop
    With a substream:       tidegate camera add lobby rtsp://user@10.0.0.7/stream1 --detect /stream2

    A terminal prompts for the password. It is stored apart from the camera's entry, only ingest can read it, and it is
    sent to no other address.
    """
    names.check_camera(id)
    login = passwords.take_options(options)
    argument, url = url, passwords.url_with_password(_as_url(passwords.address(url, login)), login)
    options["detect"] = _substream(options["detect"])
    entry, secret = cameras.new_camera(url, **_chosen_options(options))

    async def work(client: Client) -> None:
        write = registry.put if replace else registry.add
        await write(client.jetstream(), id, entry, secret)
        echo(f"camera {id}: {redact(url)}")
        passwords.warn(argument, options["detect"])
        _warn_unknown_labels(id, entry)

    with_admin(data, work)


@camera.command("set")
@data_option
@click.argument("id")
@click.option("--url", help="New address. The password stays if scheme, host and port stay.")
@passwords.options
@_settings
@click.option(
    "--unset",
    multiple=True,
    type=click.Choice(list(_UNSET)),
    help="Setting to reset to the service's default. May be repeated.",
)
def camera_set(data: Path | None, id: str, url: str | None, unset: tuple[str, ...], **options: Any) -> None:
    """Change settings of camera ID. All other settings stay, and so does the password.

    \b
    Analyse more:             tidegate camera set lobby --fps 10 --tiles 2x1
    Report all labels:        tidegate camera set lobby --unset classes
    A new password:           tidegate camera set lobby --password-stdin < password
    Another user:             tidegate camera set lobby --user viewer
    Analyse a substream:      tidegate camera set lobby --detect /stream2
    """
    login = passwords.take_options(options)
    options["detect"] = _substream(options["detect"])
    fields = _chosen_options(options) | _login_fields(login, url)
    for name in unset:
        if _UNSET[name] in fields:
            raise SettingError(f"--{name} and --unset {name} exclude each other: give one of them")
        fields[_UNSET[name]] = None
    if not fields:
        raise SettingError("say what to change, such as --fps 5: 'tidegate camera set --help' shows what there is")

    async def work(client: Client) -> None:
        change = await registry.change(client.jetstream(), id, fields)
        echo(one_line(f"camera {id}: {_differences(change)}"))
        passwords.warn(url, options["detect"])
        if warning := _password_warning(id, change, fields):
            echo(one_line(f"camera {id}: {warning}"), err=True)
        if fields.keys() & {"classes", "model"}:
            _warn_unknown_labels(id, change.after)

    with_admin(data, work)


def _password_warning(id: str, change: registry.Change, fields: dict[str, Any]) -> str:
    """Return a warning about the password after a change, or an empty string."""
    if change.has:
        encoded = credentials.encode(change.has)
        return credentials.login(id, change.after.url, change.after.verify_tls, encoded).withheld
    if change.had and not change.after.is_file and "password" not in fields:
        return (
            f"its password was for {change.had.origin or 'its old address'} and is forgotten: give the new address' "
            f"with 'tidegate camera set {id} --user NAME --password-stdin'"
        )
    return ""


def _login_fields(login: passwords.PasswordOptions, url: str | None) -> dict[str, Any]:
    """Return the fields of a camera from its new address, user and password."""
    fields = {} if url is None else {"url": _as_url(passwords.address(url, login))}
    password = passwords.resolve(fields.get("url"), login)
    return fields if password is None else fields | {"user": login.user, "password": password}


def _as_url(text: str) -> str:
    """Return a URL; a path becomes a file URL. Raise SettingError if the file does not exist."""
    if not text.strip():
        raise SettingError("URL is empty: give a file, or a URL such as rtsp://host/path")
    path = Path(text)
    # An address without a scheme is refused later, with its password hidden, unless such a file exists.
    if "://" in text or ("@" in text and not path.exists()):
        return text
    if path.is_dir():
        raise SettingError(f"{text} is a folder: give a file, or a URL such as rtsp://host/path")
    if not path.exists():
        raise SettingError(f"there is no file {text} here: give one that is, or a URL such as rtsp://host/path")
    return path.resolve().as_uri()


def _substream(text: str | None) -> str | None:
    """Return a substream's URL, or its path at the camera; the path of a file that exists is a file URL."""
    if text is None or "://" in text or (text.startswith("/") and not Path(text).is_file()):
        return text
    return _as_url(text)


def _chosen_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _warn_unknown_labels(id: str, entry: Camera) -> None:
    """Warn about labels that the embedded detector does not have, unless another model analyses the camera."""
    for label in entry.classes or () if entry.model is None else ():
        if question := labels.doubt(label):
            echo(f"camera {id}: {question}", err=True)


def _differences(change: registry.Change) -> str:
    """Return the changes, such as `fps 2 (was 5), tiles 2x1, classes not set (was person)`."""
    parts = differences(msgspec.structs.asdict(change.before), msgspec.structs.asdict(change.after))
    if change.has and change.has != change.had:
        parts.append(f"password changed, for {change.has.origin}")
    elif change.had and not change.has:
        parts.append("password forgotten")
    return ", ".join(parts) or "nothing to change"


@camera.command("show")
@connected
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
async def camera_show(client: Client, id: str, as_json: bool) -> None:
    """Show the state of camera ID and its own settings. The services' defaults apply to all others.

    \b
    For a person:           tidegate camera show lobby
    For a program:          tidegate camera show lobby --json
    """
    js = client.jetstream()
    entry = await registry.read(js, id)
    status, password = await registry.last_status(js, id), await registry.credentials(js, id) is not None
    unreadable = await registry.unreadable(js, id)
    state = _state(entry, status, unreadable)
    if as_json:
        fields = {"camera": id, "state": state, "password": password, **msgspec.to_builtins(entry)}
        echo_json(fields)
        return
    rows = {
        "state": state,
        "reason": status.reason if status else "not seen yet: is ingest running?",
    }
    if unreadable and state == unreadable.state:
        rows["reason"] = f"{unreadable.segments} segments since {rfc3339(unreadable.since)}: {unreadable.reason}"
    rows |= {name: shown(value) for name, value in msgspec.structs.asdict(entry).items() if value is not None}
    rows["password"] = "kept apart, for ingest alone" if password else "none"
    width = max(map(len, rows))
    for name, text in rows.items():
        echo(f"{name:<{width}}  {one_line(text)}")


def _state(entry: Camera, status: CameraStatus | None, unreadable: VideoStatus | None) -> str:
    """Return the state: of its entry, of its connection, and of its video."""
    if not entry.enabled:
        return "disabled"
    if status is None:
        return "new"
    return unreadable.state if unreadable and status.state == "online" else status.state


@camera.command("list")
@connected
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
async def camera_list(client: Client, as_json: bool) -> None:
    """List all cameras with their states.

    \b
    All of them:            tidegate camera list
    Those in trouble:       tidegate camera list | grep -wE 'offline|unreadable|unusable'
    """
    js = client.jetstream()
    rows = []
    for id, entry in (await registry.all(js, whole=True)).items():
        if isinstance(entry, SettingError):
            reason = f"{entry}: 'tidegate camera remove {id}', then add it again"
            rows.append((id, UNUSABLE, "", "", "", reason))
            if as_json:
                echo_json({"camera": id, "state": UNUSABLE, "reason": reason})
            continue
        status, unreadable = await registry.last_status(js, id), await registry.unreadable(js, id)
        state = _state(entry, status, unreadable)
        reason = status.reason if status and state != "disabled" and status.reason != VIDEO_ARRIVES else ""
        if unreadable and state == unreadable.state:
            reason = unreadable.reason
        if as_json:
            fields = {"fps": None, **msgspec.to_builtins(entry)}
            main = {"main": status and status.main} if entry.detect else {}
            echo_json({"camera": id, "state": state, "reason": reason, "video": _video(status), **main, **fields})
            continue
        video = f"{status.codec} {status.width}x{status.height}" if status and status.codec else ""
        urls = ", ".join(redact(part) for part in (entry.detect, entry.url) if part)
        rows.append((id, state, video, f"{entry.fps or ''}", urls, reason))
    if not as_json:
        records.show(screen(), FIELDS, rows, "no cameras: tidegate camera add lobby rtsp://…")


def _video(status: CameraStatus | None) -> dict[str, Any] | None:
    """Return codec and size of the video; None if it never arrived."""
    if status is None or not status.codec:
        return None
    return {"codec": status.codec, "width": status.width, "height": status.height}


@camera.command("remove")
@connected
@click.argument("id")
async def camera_remove(client: Client, id: str) -> None:
    """Remove camera ID and its credentials. Its events stay, and the pictures of its alerts.

    \b
    Remove a camera:        tidegate camera remove lobby
    Erase all of it too:    tidegate erase lobby
    Erase its pictures too: tidegate alert erase lobby
    """
    await registry.remove(client.jetstream(), id)
    echo(f"camera {id}: removed")


async def _set_enabled(client: Client, id: str, enabled: bool) -> None:
    await registry.change(client.jetstream(), id, {"enabled": enabled})
    echo(f"camera {id}: {'enabled' if enabled else 'disabled'}")


@camera.command("enable")
@connected
@click.argument("id")
async def camera_enable(client: Client, id: str) -> None:
    """Ingest camera ID again, after 'disable'.

    \b
    Enable it again:        tidegate camera enable lobby
    """
    await _set_enabled(client, id, True)


@camera.command("disable")
@connected
@click.argument("id")
async def camera_disable(client: Client, id: str) -> None:
    """Stop ingesting camera ID. Its entry stays.

    \b
    Disable a camera:       tidegate camera disable lobby
    """
    await _set_enabled(client, id, False)
