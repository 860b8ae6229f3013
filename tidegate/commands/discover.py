"""`tidegate camera discover`: cameras on the local network, and the streams of one, by ONVIF."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from nats.aio.client import Client

from shared.client import registry
from shared.contract import cameras, credentials, names
from shared.contract.cameras import Camera
from shared.runtime.errors import SettingError
from shared.runtime.redact import join_credentials, redact
from tidegate.commands import passwords
from tidegate.commands.options import NEW_FILE, Number, combined, data_option, extra, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo, echo_json, one_line
from tidegate.view.records import Right, Wrapped
from tidegate.view.waiting import waited_for

if TYPE_CHECKING:
    from tidegate.onvif.choice import Choice
    from tidegate.onvif.survey import Surveyed
    from tidegate.onvif.values import Address, Device, Login, Profile

FOUND = ("address", "name", "manufacturer", "model", Wrapped("streams"))
PROFILES = ("profile", "name", "video", Right("fps"), "suits", "url", Wrapped("note"))
_ELSEWHERE = "at another host"


class Wanted(NamedTuple):
    """The request for one device. trust_host: the host of its stream, if that is not the device's own."""

    add: str | None
    picture: Path | None
    profile: str | None
    one_stream: bool
    trust_host: str | None
    verify_tls: bool | None
    as_json: bool

    @property
    def opens(self) -> bool:
        return bool(self.add or self.picture)


def _interface(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else str(ipaddress.IPv4Address(text))
    except ValueError:
        raise SettingError(
            "--interface is no IPv4 address: give one of this machine's, as 'ip -4 address' shows"
        ) from None


_one_device = combined(
    click.option("--profile", metavar="NAME", help="One profile to use, by name or token. Default: those that suit."),
    click.option("--one-stream", is_flag=True, help="Add the stream for detection alone, without a main stream."),
    click.option("--picture", type=NEW_FILE, help="Save the first picture of the stream for detection as a JPEG file."),
    click.option("--add", metavar="ID", help="Add the streams as camera ID, with the login."),
    click.option(
        "--trust-host", metavar="HOST", help="Host that may get the login too, if the device names its stream there."
    ),
    click.option(
        "--verify-tls/--no-verify-tls",
        default=None,
        help="Verify the certificate of an https or rtsps device (default), or accept any.",
    ),
)


@click.command("discover")
@data_option
@click.argument("address", required=False)
@click.option(
    "--timeout", type=Number(0.2, 60), default=3.0, show_default=True, help="Seconds to wait for answers of devices."
)
@click.option(
    "--interface",
    metavar="ADDRESS",
    callback=_interface,
    help="IPv4 address of this machine, whose network to search. Default: all but loopback.",
)
@passwords.options
@_one_device
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a device, on a line.")
def discover(data: Path | None, address: str | None, timeout: float, interface: str | None, **options: Any) -> None:
    """List ONVIF cameras of the local network or, with ADDRESS, the streams of one.

    \b
    List them:              tidegate camera discover
    Streams of one:         tidegate camera discover 10.0.0.7 --user viewer
    Look at it:             tidegate camera discover 10.0.0.7 --user viewer --picture lobby.jpg
    Add it:                 tidegate camera discover 10.0.0.7 --user viewer --add lobby
    One stream of it:       tidegate camera discover 10.0.0.7 --user viewer --add lobby --one-stream
    On another port:        tidegate camera discover 10.0.0.7:8000 --user viewer

    The list sends one question by multicast, and no login. A login goes to ADDRESS alone: not to other devices, not
    along a redirect, and not to a stream on another host. A terminal prompts for the password.
    """
    login = passwords.take_options(options)
    wanted = Wanted(**{"as_json": options.pop("as_json"), **options})
    if wanted.add:
        names.check_camera(wanted.add)
    with extra("onvif", "camera discover"):
        import tidegate.onvif.http  # noqa: F401
    if address is None:
        _check_list_only(login, wanted)
        _list(interface, timeout, wanted.as_json)
    elif interface:
        raise SettingError("--interface is for the list of devices: leave it out, as ADDRESS names one")
    else:
        _one(data, address, login, wanted)


def _check_list_only(login: passwords.PasswordOptions, wanted: Wanted) -> None:
    """Raise SettingError for options that need the address of one device."""
    options = {
        "--user": login.user,
        "--password-stdin": login.password_stdin,
        "--password-file": login.password_file,
        "--add": wanted.add,
        "--picture": wanted.picture,
        "--profile": wanted.profile,
        "--one-stream": wanted.one_stream,
        "--trust-host": wanted.trust_host,
    }
    for option, value in options.items():
        if value:
            raise SettingError(f"{option} is for one device: give its ADDRESS, which 'tidegate camera discover' lists")


def _list(interface: str | None, timeout: float, as_json: bool) -> None:
    from tidegate.onvif.discovery import interfaces
    from tidegate.onvif.survey import survey

    addresses = [interface] if interface else interfaces()
    surveyed = asyncio.run(waited_for(survey(addresses, timeout), "waiting for cameras"))
    if as_json:
        for one in surveyed:
            echo_json(_found_as_json(one))
        return
    empty = (
        f"no camera answered on {', '.join(addresses)}: ONVIF may be off in it, or it is in another network; 'tidegate "
        "camera discover ADDRESS' asks one"
    )
    records.show(screen(), FOUND, [_found_row(one) for one in surveyed], empty)
    if any(one.found.address for one in surveyed):
        echo("log in to one: tidegate camera discover ADDRESS --user NAME", err=True)


def _found_row(one: Surveyed) -> Sequence[str]:
    streams = [f"{_video(profile)} {redact(profile.url)}" for profile in one.device.profiles if profile.url]
    if one.device.unread:
        streams.append(f"and {one.device.unread} more")
    found = one.found
    return (
        found.address.short if found.address else found.sender,
        found.name,
        one.device.manufacturer or found.manufacturer,
        one.device.model or found.model,
        one.note or ", ".join(streams) or "none",
    )


def _found_as_json(one: Surveyed) -> dict[str, Any]:
    found = one.found
    return {
        "address": found.address.url if found.address else None,
        "sender": found.sender,
        "endpoint": found.endpoint,
        "name": found.name,
        "manufacturer": one.device.manufacturer or found.manufacturer,
        "model": one.device.model or found.model,
        "location": found.location,
        "note": one.note,
        "profiles": [_profile_as_json(profile) for profile in one.device.profiles],
        "unread": one.device.unread,
    }


def _profile_as_json(profile: Profile) -> dict[str, Any]:
    return profile._asdict() | {"url": redact(profile.url)}


def _choice_as_json(choice: Choice) -> dict[str, Any]:
    detect = choice.detect.token if choice.detect else None
    return {"source": choice.main.source, "main": choice.main.token, "detect": detect, "reason": choice.reason}


def _video(profile: Profile) -> str:
    size = f" {profile.width}x{profile.height}" if profile.width and profile.height else ""
    return f"{profile.codec}{size}"


def _one(data: Path | None, text: str, options: passwords.PasswordOptions, wanted: Wanted) -> None:
    from tidegate.onvif.device import read
    from tidegate.onvif.values import Address, NotAuthorized, OnvifError, Unreachable

    address = Address.parse(text)
    login = _login(options)
    verify = wanted.verify_tls is not False
    try:
        device = asyncio.run(waited_for(read(address, login, verify=verify), f"reading {address.short}"))
    except NotAuthorized as e:
        if login is None:
            raise SettingError(f"{address.short} wants a login: give --user NAME") from e
        raise SettingError(
            f"{address.short} refuses this login: see the password and the device's list of ONVIF users, which may be "
            "apart from its other users"
        ) from e
    except Unreachable as e:
        raise SettingError(
            f"{address.short}: {e}: see that it is on, that ONVIF is enabled in it, and its port, as in HOST:8000"
        ) from e
    except OnvifError as e:
        raise SettingError(f"{address.short}: {e}: if it has an RTSP URL, add it by hand: 'tidegate camera add'") from e
    _show(address, device, wanted)
    if wanted.opens:
        _open(data, address, device, login, wanted)
    elif not wanted.as_json:
        user = " --user NAME" if login else ""
        echo(f"add it: tidegate camera discover {address.short}{user} --add ID", err=True)


def _login(options: passwords.PasswordOptions) -> Login | None:
    """Return the login of the options or the prompt; None without a user. Raise SettingError."""
    from tidegate.onvif.values import Login

    if options.user is None:
        if options.password_stdin or options.password_file:
            raise SettingError("a password needs its user: give --user NAME too")
        return None
    return Login(options.user, options.password() or "")


def _show(address: Address, device: Device, wanted: Wanted) -> None:
    from tidegate.onvif.choice import choices, foreign_host

    found = choices(device.profiles)
    best = {choice.analysed.token for choice in found}
    if wanted.as_json:
        profiles = [
            _profile_as_json(p) | {"suits": p.token in best, "foreign_host": foreign_host(p, address, device)}
            for p in device.profiles
        ]
        fields = {name: getattr(device, name) for name in ("manufacturer", "model", "firmware", "unread")}
        echo_json(
            {"address": address.url, **fields, "profiles": profiles, "streams": list(map(_choice_as_json, found))}
        )
        return
    words = " ".join(filter(None, (device.manufacturer, device.model, device.firmware))) or "names no model"
    echo(one_line(f"{address.short}: {words}"), err=True)
    rows = [
        (
            p.token,
            p.name,
            _video(p),
            f"{p.fps:g}" if p.fps else "",
            "yes" if p.token in best else "",
            redact(p.url),
            p.problem or (_ELSEWHERE if foreign_host(p, address, device) else ""),
        )
        for p in device.profiles
    ]
    records.show(screen(), PROFILES, rows, "no profile with video")
    if device.unread:
        echo(f"and {device.unread} more profiles, which are not read", err=True)
    for choice in [] if wanted.opens else found:
        echo(one_line(choice.reason), err=True)


def _open(data: Path | None, address: Address, device: Device, login: Login | None, wanted: Wanted) -> None:
    """Save the picture, add the camera. Raise SettingError, before anything is sent to a stream on another host."""
    from tidegate.onvif.choice import chosen, foreign_host

    choice = chosen(device, wanted.profile, wanted.one_stream)
    profile = choice.main
    host = foreign_host(profile, address, device)  # A substream has the address of its main stream.
    if host and host != (wanted.trust_host or "").strip("[]").lower():
        raise SettingError(
            f"the stream is at {credentials.origin(profile.url)}, and not at {address.short}: nothing is sent there. "
            f"If {host} is this camera too, give --trust-host {host}; or add it by hand: 'tidegate camera add'"
        )
    echo(one_line(choice.reason), err=True)
    verify = {} if wanted.verify_tls is None else {"verify_tls": wanted.verify_tls}
    if wanted.picture:
        _save_picture(wanted.picture, *cameras.new_camera(_url(choice.analysed, login), **verify), wanted.as_json)
    if wanted.add:
        detect = {"detect": choice.detect.url} if choice.detect else {}
        entry, secret = cameras.new_camera(_url(choice.main, login), **verify, **detect)
        _add(data, wanted.add, entry, secret, wanted.as_json)


def _url(profile: Profile, login: Login | None) -> str:
    if not login:
        return profile.url
    return join_credentials(profile.url, credentials.with_password(None, login.user, login.password))


def _save_picture(file: Path, entry: Camera, secret: str | None, as_json: bool) -> None:
    from tidegate.onvif.picture import first_picture
    from tidegate.onvif.values import OnvifError

    try:
        seen = asyncio.run(waited_for(first_picture(entry, secret), "opening the stream"))
    except OnvifError as e:
        raise SettingError(f"--picture: {e}") from e
    file.write_bytes(seen.jpeg)
    echo(f"{file}: {seen.codec} {seen.width}x{seen.height}, {seen.fps:g} fps", err=as_json)


def _add(data: Path | None, id: str, entry: Camera, secret: str | None, as_json: bool) -> None:
    async def work(client: Client) -> None:
        await registry.add(client.jetstream(), id, entry, secret)
        detect = f", detection by {redact(entry.detect)}" if entry.detect else ""
        echo(f"camera {id}: {redact(entry.url)}{detect}", err=as_json)

    with_admin(data, work)
