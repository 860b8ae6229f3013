"""The changes that turn the present state of a site into the declared one. Pure.

Example:
    found = plan(site, state, logins, prune={"cameras"})      # raises Mistakes
    for change in found.changes: ...                          # each a line for people, and writes for the buckets
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Literal, NamedTuple

import msgspec

from shared.contract import cameras, credentials, endpoint, names, rules
from shared.contract.cameras import Camera
from shared.contract.credentials import Credentials
from shared.contract.differences import differences
from shared.contract.reading.mistakes import Mistake, Mistakes, nearest
from shared.contract.rights.readers import Reader, new_reader
from shared.contract.rules import Rules
from shared.recordings.policy import DEFAULT, Policy, camera_key, group_key
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact
from shared.site import webhook
from shared.site.format import Site, SiteCamera, SiteWebhook
from shared.site.references import Login, Values
from shared.site.state import State

# Differences that one line lists.
_MOST_LISTED = 6
# Unknown cameras that are reported: for each the nearest name is searched for.
_MOST_UNKNOWN = 100
Kind = Literal["add", "change", "remove"]
_SIGNS = {"add": "+", "change": "~", "remove": "-"}


class Write(msgspec.Struct, frozen=True):
    """A new value of a bucket's key; None deletes it. before: its former revision; 0: there was none."""

    bucket: str
    key: str
    before: int
    value: bytes | None


class Change(NamedTuple):
    """what: such as `camera lobby`. reader: to add or remove, which no bucket has."""

    kind: Kind
    what: str
    details: str
    writes: tuple[Write, ...] = ()
    reader: Reader | None = None

    def __str__(self) -> str:
        return f"{_SIGNS[self.kind]} {self.what}" + f": {self.details}" * bool(self.details)


class Plan(NamedTuple):
    """notices: what stays although the file does not say so."""

    changes: list[Change]
    notices: list[str]


def plan(
    site: Site,
    state: State,
    logins: Mapping[str, Login],
    prune: Collection[str] = (),
    values: Values | None = None,
) -> Plan:
    """Return what to change. prune: sections of which everything goes that the file does not have. values: of the
    webhook. Raises Mistakes.
    """
    found = Plan([], [])
    mistakes = list(islice(_unknown_cameras(site, state), _MOST_UNKNOWN))
    for id, camera in site.cameras.items():
        try:
            found.changes.extend(_of_camera(id, camera, logins[id], state, found.notices))
        except SettingError as e:
            mistakes.append(Mistake(f"cameras.{id}", str(e)))
        found.changes.extend(_of_rules(id, camera.rules, state))
        found.changes.extend(_of_policy(f"recording of camera {id}", camera_key(id), camera.recording, state))
    found.changes.extend(_of_policy("recording of all cameras", DEFAULT, site.recording, state))
    for name, group in site.groups.items():
        policy = group.recording and msgspec.structs.replace(group.recording, cameras=tuple(group.cameras))
        found.changes.extend(_of_policy(f"recording of group {name}", group_key(name), policy, state))
    for name, reader in site.readers.items():
        try:
            found.changes.extend(_of_reader(new_reader(name, reader.kinds, reader.cameras), state))
        except SettingError as e:
            mistakes.append(Mistake(f"readers.{name}", str(e)))
    if site.webhook:
        try:
            found.changes.extend(_of_webhook(site.webhook, values or Values(), state, found.notices))
        except Mistakes as e:
            mistakes += e.all
    if mistakes:
        raise Mistakes("the site", mistakes)
    for section, change in _surplus(site, state):
        if section in prune:
            found.changes.append(change)
        else:
            found.notices.append(f"{change.what} is not in the file, and stays: --prune removes it")
    return found


def _unknown_cameras(site: Site, state: State) -> Iterator[Mistake]:
    there = {*site.cameras, *state.cameras}
    for section, members in (("groups", site.groups), ("readers", site.readers)):
        for name, part in members.items():
            for i, id in enumerate(part.cameras):
                if id not in there:
                    yield Mistake(f"{section}.{name}.cameras[{i}]", f"there is no camera {id!r}{nearest(id, there)}")


def _of_camera(id: str, camera: SiteCamera, login: Login, state: State, notices: list[str]) -> Iterator[Change]:
    before = state.cameras.get(id)
    entry = state.credentials.get(id)
    had = msgspec.structs.replace(entry, path="", detect_path="") if entry and entry.secret else None
    if isinstance(before, Camera):
        _check_missing(camera, login, before, had, notices, id)
        after, has = cameras.changed(before, had, _fields(camera, login))
        if (after, has) == (before, had):
            return
        details = differences(msgspec.structs.asdict(before), msgspec.structs.asdict(after))
        if has != had:
            details.append("password forgotten" if has is None else f"password for {has.origin}")
    else:
        if login.missing:
            raise SettingError(f"the variable {login.missing[0]} is not set")
        after, has = _new(camera, login)
        details = differences({}, msgspec.to_builtins(after)) + ["password"] * (has is not None)
    stored, credentials_ = cameras.apart(after, has)
    writes = [Write(names.CAMERAS, id, state.revision(names.CAMERAS, id), cameras.encode(stored))]
    if credentials_ != entry:
        value = credentials.encode(credentials_) if credentials_ else None
        writes.append(Write(names.CREDENTIALS, id, state.revision(names.CREDENTIALS, id), value))
    yield Change("add" if before is None else "change", f"camera {id}", _listed(details), tuple(writes))


def _check_missing(
    camera: SiteCamera, login: Login, before: Camera, had: Credentials | None, notices: list[str], id: str
) -> None:
    """Add a notice if a variable is not set, and the stored value stays. Raise SettingError if none can stay."""
    if not login.missing:
        return
    name = login.missing[0]
    moved = login.url is not None and credentials.origin(login.url) != credentials.origin(before.url)
    if camera.password and had is None:
        raise SettingError(f"the variable {name} is not set, and no password is stored")
    if moved:
        raise SettingError(f"the variable {name} is not set, and the stored password is for another address")
    notices.append(f"camera {id}: {name} is not set: the stored {'login' if login.url is None else 'password'} stays")


def _fields(camera: SiteCamera, login: Login) -> dict[str, object]:
    """Return the fields of `cameras.changed`: all settings, and of the login those that are given."""
    named = ("url", "detect")
    fields: dict[str, object] = {name: getattr(camera, name) for name in Camera.__struct_fields__ if name not in named}
    if login.url is not None:
        fields["url"] = login.url
    # A substream of a variable that is not set stays.
    if login.detect is not None or camera.detect is None:
        fields["detect"] = login.detect
    if login.password is not None:
        fields |= {"user": login.user, "password": login.password}
    return fields


def _new(camera: SiteCamera, login: Login) -> tuple[Camera, Credentials | None]:
    fields = {name: value for name, value in _fields(camera, login).items() if value is not None}
    password = fields.pop("password", None)
    user = fields.pop("user", None)
    after, secret = cameras.new_camera(str(fields.pop("url")), **fields)
    if after.is_file:
        return after, None
    if password is not None:
        secret = credentials.with_password(secret, None if user is None else str(user), str(password))
    return after, credentials.bound(secret, after.url, not after.verify_tls)


def _of_rules(id: str, wanted: Rules | None, state: State) -> Iterator[Change]:
    before = state.rules.get(id)
    if wanted is None or wanted == before:
        return
    was = msgspec.to_builtins(before) if isinstance(before, Rules) else {}
    details = _listed(differences(was, msgspec.to_builtins(wanted))) if was else _counted(wanted)
    write = Write(names.RULES, id, state.revision(names.RULES, id), rules.encode(wanted))
    yield Change("add" if before is None else "change", f"rules of {id}", details, (write,))


def _of_policy(what: str, key: str, wanted: Policy | None, state: State) -> Iterator[Change]:
    before = state.policies.get(key)
    if wanted is None or wanted == before:
        return
    was = msgspec.to_builtins(before) if isinstance(before, Policy) else {}
    write = Write(names.RECORDINGS, key, state.revision(names.RECORDINGS, key), msgspec.json.encode(wanted))
    details = _listed(differences(was, msgspec.to_builtins(wanted)))
    yield Change("add" if before is None else "change", what, details, (write,))


def _of_webhook(declared: SiteWebhook, values: Values, state: State, notices: list[str]) -> Iterator[Change]:
    before = state.endpoint
    after, stays = webhook.wanted(declared, values, before)
    notices += stays
    if after == before:
        return
    write = Write(names.ENDPOINT, endpoint.KEY, state.revision(names.ENDPOINT, endpoint.KEY), endpoint.encode(after))
    yield Change("add" if before is None else "change", "webhook", ", ".join(webhook.details(before, after)), (write,))


def _of_reader(wanted: Reader, state: State) -> Iterator[Change]:
    if state.readers is None:
        raise SettingError("readers are of a server that is configured elsewhere: give --accounts")
    before = next((reader for reader in state.readers if reader.name == wanted.name), None)
    if before == wanted:
        return
    if before is not None:
        raise SettingError("it reads something else now, and a reader's rights never change: choose another name")
    yield Change("add", f"reader {wanted.name}", f"reads {', '.join(wanted.subjects)}", reader=wanted)


def _surplus(site: Site, state: State) -> Iterator[tuple[str, Change]]:
    """Yield (the section, its removal) of everything that the file does not have."""
    for id, camera in state.cameras.items():
        if id not in site.cameras:
            details = redact(camera.url) if isinstance(camera, Camera) else "unusable"
            change = _removal(f"camera {id}", details, names.CAMERAS, id, state)
            secret = _removal("", "", names.CREDENTIALS, id, state).writes if id in state.credentials else ()
            yield "cameras", change._replace(writes=change.writes + secret)
    for id in state.rules:
        if id not in site.cameras or site.cameras[id].rules is None:
            yield "cameras", _removal(f"rules of {id}", "", names.RULES, id, state)
    declared = {camera_key(id) for id, camera in site.cameras.items() if camera.recording is not None}
    declared |= {group_key(name) for name, group in site.groups.items() if group.recording is not None}
    declared |= {DEFAULT} if site.recording is not None else set()
    for key in state.policies:
        if key not in declared:
            kind, _, name = key.partition(".")
            what = f"recording of {kind} {name}" if name else "recording of all cameras"
            section = "recording" if not name else "cameras" if kind == "camera" else "groups"
            yield section, _removal(what, "", names.RECORDINGS, key, state)
    if state.endpoint is not None and site.webhook is None:
        details = "unusable" if isinstance(state.endpoint, SettingError) else f"url {state.endpoint.where}"
        yield "webhook", _removal("webhook", details, names.ENDPOINT, endpoint.KEY, state)
    for reader in state.readers or ():
        if reader.name not in site.readers:
            details = f"reads {', '.join(reader.subjects)}"
            yield "readers", Change("remove", f"reader {reader.name}", details, reader=reader)


def _removal(what: str, details: str, bucket: str, key: str, state: State) -> Change:
    return Change("remove", what, details, (Write(bucket, key, state.revision(bucket, key), None),))


def _counted(wanted: Rules) -> str:
    parts = (("zone", wanted.zones), ("mask", wanted.masks), ("line", wanted.lines), ("rule", wanted.rules))
    return ", ".join(f"{len(part)} {name}{'s' * (len(part) != 1)}" for name, part in parts if part) or "empty"


def _listed(details: list[str]) -> str:
    more = f" and {len(details) - _MOST_LISTED} more" if len(details) > _MOST_LISTED else ""
    return ", ".join(details[:_MOST_LISTED]) + more
