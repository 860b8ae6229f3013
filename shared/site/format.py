"""The site file: cameras, groups, rules, recording policies, readers and the webhook. Pure.

Example:
    site = read(b"cameras: {lobby: {url: rtsp://10.0.0.7/stream1, fps: 5}}", "site.yaml")   # raises Mistakes
    json_schema()                                                                           # for editors

A camera's own settings override those of its groups, which override `defaults`. Of two groups, the first by name wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from shared.contract import endpoint
from shared.contract.cameras import Camera, new_camera
from shared.contract.names import END, Token
from shared.contract.reading import handwritten
from shared.contract.reading.mistakes import Mistake, Mistakes, join, mistakes, nearest
from shared.contract.rights import readers
from shared.contract.rules import Rules
from shared.contract.rules import check as check_rules
from shared.recordings.policy import Policy
from shared.runtime.errors import SettingError
from shared.runtime.redact import split_credentials

# Room for thousands of cameras with rules.
MOST_BYTES = 16 * 1024 * 1024
# A reference to a variable. Nothing else may hold a password.
REFERENCE = rf"^\$\{{[A-Za-z_][A-Za-z0-9_]*\}}{END}"
Reference = Annotated[str, Meta(pattern=REFERENCE, description="a reference to a variable, such as ${LOBBY_PASSWORD}")]
VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
# Stands for the value of a variable, which no check can know.
_VALUE = "VALUE-OF-A-VARIABLE"
# Names that start so hold whatever an editor or a person needs.
EXTENSION = "x-"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the parts of a site file."""


class SiteCamera(Camera, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A camera: its settings, login, rules and recording policy.

    url, user, detect: may hold `${NAME}`, a variable. password: a variable. password_file, rules_file: relative to the
    site file. password, rules, recording: unset leaves those of a present camera as they are.
    """

    user: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    password: Reference | None = None
    password_file: str | None = None
    rules: Rules | None = None
    rules_file: str | None = None
    recording: Policy | None = None


# The settings that groups and `defaults` can have: all of a camera but its addresses, all optional.
_ADDRESSES = ("url", "detect")
Settings = msgspec.defstruct(
    "Settings",
    [
        (name, kind | None, None)
        for name, kind in get_type_hints(Camera, include_extras=True).items()
        if name not in _ADDRESSES
    ],
    bases=(_Part,),
    module=__name__,
    namespace={"__doc__": "Settings of many cameras."},
    frozen=True,
    kw_only=True,
)


class Group(_Part, frozen=True, kw_only=True):
    """Cameras with common settings, and with a common recording policy."""

    cameras: Annotated[list[Token], Meta(min_length=1, max_length=10_000)]
    settings: Settings | None = None  # type: ignore[valid-type]
    recording: Policy | None = None


class SiteReader(_Part, frozen=True, kw_only=True):
    """An app that reads events. Empty: all kinds, all cameras."""

    kinds: list[Token] = []
    cameras: list[Token] = []


class SiteWebhook(_Part, frozen=True, kw_only=True):
    """Where alerts are posted. url: may hold `${NAME}`, a variable. secret: a variable that signs requests.

    secret_file: relative to the site file. Without either, a stored secret stays at its address.
    """

    url: Annotated[str, Meta(min_length=1, max_length=endpoint.MOST_URL)]
    secret: Reference | None = None
    secret_file: str | None = None
    events: Annotated[tuple[Literal["alerts", "incidents"], ...], Meta(min_length=1, max_length=2)] = ("alerts",)
    format: endpoint.Format = "cloudevents"


class Site(_Part, frozen=True, kw_only=True):
    """All that a site file declares. recording: the policy of cameras without one of their own or of a group."""

    defaults: Settings | None = None  # type: ignore[valid-type]
    cameras: dict[Token, SiteCamera] = {}
    groups: dict[Token, Group] = {}
    recording: Policy | None = None
    readers: dict[Token, SiteReader] = {}
    webhook: SiteWebhook | None = None


def parse(text: bytes, where: str) -> tuple[Any, list[Mistake]]:
    """Return (the value of a file, its duplicate names). Raises Mistakes if it is neither YAML nor JSON."""
    value, doubled = handwritten.parse(text, where, MOST_BYTES)
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if not str(key).startswith(EXTENSION)}
    return ({} if value is None else value), doubled


def read(text: bytes, where: str) -> Site:
    """Return the site of one file, in which settings of groups and defaults are the cameras' own. Raises Mistakes."""
    value, doubled = parse(text, where)
    return site_of(value, where, doubled)


def site_of(value: Any, where: str, doubled: list[Mistake] | None = None) -> Site:
    """Return the site of a file's value. Raises Mistakes."""
    try:
        found = [*(doubled or []), *check(value)]
    except RecursionError as e:
        raise Mistakes(where, [Mistake("", "it is nested too deeply")]) from e
    if found:
        raise Mistakes(where, found)
    return msgspec.convert(_expanded(value), Site)


def check(value: Any) -> list[Mistake]:
    """Return every mistake in a file's value. No mistake repeats a password."""
    hidden, secrets = _without_secrets(value)
    hidden, more = _without_endpoint(hidden)
    secrets += more
    return [*secrets, *mistakes(hidden, Site), *_meaning(hidden)] or _of_cameras(hidden)


def json_schema() -> dict[str, Any]:
    """Return JSON Schema 2020-12 of a site file."""
    schema = msgspec.json.schema(Site)
    schema["$defs"]["Site"]["patternProperties"] = {f"^{EXTENSION}": {}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Tidegate site", **schema}


def _expanded(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value with the settings of defaults and groups in each camera of the file."""
    defaults = value.get("defaults") or {}
    groups = sorted((value.get("groups") or {}).items(), reverse=True)
    cameras = {}
    for id, own in (value.get("cameras") or {}).items():
        row = [defaults, *(group.get("settings") or {} for _, group in groups if id in group["cameras"]), own]
        cameras[id] = {name: part for settings in row for name, part in settings.items()}
    return {**value, "defaults": None, "cameras": cameras}


def _without_secrets(value: Any) -> tuple[Any, list[Mistake]]:
    """Return (the value without literal passwords, a mistake for each): no message may repeat one."""
    found: list[Mistake] = []
    cameras = value.get("cameras") if isinstance(value, dict) else None
    if not isinstance(cameras, dict):
        return value, found
    shown = {}
    for id, camera in cameras.items():
        at = join("cameras", id)
        if isinstance(camera, dict):
            camera = dict(camera)
            if not _is_reference(camera.get("password", "${X}")) and camera["password"] is not None:
                found.append(Mistake(f"{at}.password", "give a variable, such as ${LOBBY_PASSWORD}: no password here"))
                del camera["password"]
            if "url" in camera and (flaw := _flaw_of(camera["url"])):
                found.append(Mistake(f"{at}.url", flaw))
                camera["url"] = "rtsp://host"
            if camera.get("detect") is not None and (flaw := _flaw_of(camera["detect"])):
                found.append(Mistake(f"{at}.detect", flaw))
                del camera["detect"]
        shown[id] = camera
    return {**value, "cameras": shown}, found


def _without_endpoint(value: Any) -> tuple[Any, list[Mistake]]:
    """Return (the value without unusable parts of `webhook`, a mistake for each): each may be a secret."""
    webhook = value.get("webhook") if isinstance(value, dict) else None
    if webhook is None:
        return value, []
    if not isinstance(webhook, dict):
        return {**value, "webhook": None}, [Mistake("webhook", "an object is expected, with 'url'")]
    flaws = {
        "url": _flaw_of_endpoint(webhook.get("url", "${X}")),
        "secret": "" if _is_reference(webhook.get("secret") or "${X}") else _LITERAL,
        "secret_file": "" if isinstance(webhook.get("secret_file") or "", str) else "a text is expected",
    }
    found = {name: flaw for name, flaw in flaws.items() if flaw}
    shown = {name: "https://host" if name == "url" and name in found else part for name, part in webhook.items()}
    shown = {name: part for name, part in shown.items() if name == "url" or name not in found}
    return {**value, "webhook": shown}, [Mistake(f"webhook.{name}", flaw) for name, flaw in found.items()]


_LITERAL = "give a variable, such as ${WEBHOOK_SECRET}: no secret here"


def fixed_origin(url: str) -> tuple[str, str, int] | None:
    """Return the origin of a webhook's URL; None if a variable is a part of it, or if it is no URL."""
    found = endpoint.origin(VARIABLE.sub(_VALUE, url))
    return None if found is None or _VALUE.lower() in found[1] else found


def _flaw_of_endpoint(url: Any) -> str:
    """Return the flaw of a webhook's URL: a literal login, or no address. An empty string: none."""
    if not isinstance(url, str):
        return "a text is expected"
    if len(url) > endpoint.MOST_URL:
        return f"at most {endpoint.MOST_URL} characters are expected"
    text = VARIABLE.sub(_VALUE, url)
    head = re.match(r"[^/?#]*(?://[^/?#]*)?", text)[0]  # type: ignore[index]
    scheme, _, netloc = head.partition("//")
    login, _, host = netloc.rpartition("@")
    if login and _VALUE not in (login.partition(":")[2] or login):
        return "it has a login: give a variable for it, such as https://${HOOK_LOGIN}@example.org/alerts"
    if _VALUE in f"{scheme}{host}" or endpoint.origin(text):
        return ""
    return f"it {endpoint.NO_URL}"


def _is_reference(value: Any) -> bool:
    try:
        msgspec.convert(value, Reference)
    except msgspec.ValidationError:
        return False
    return True


def _flaw_of(url: Any) -> str:
    """Return the flaw of an address: no text, or a literal password in it. An empty string: none."""
    if not isinstance(url, str):
        return "a text is expected"
    try:
        secret = split_credentials(VARIABLE.sub(_VALUE, url))[1]
    except ValueError:
        return "it can't be read: give rtsp://host/path"
    password = (secret or "").partition(":")[2]
    if not password or _VALUE in password:
        return ""
    return "it has a password: give 'user' and 'password', or a variable for all of it, such as ${LOBBY_URL}"


def _meaning(value: Any) -> Iterator[Mistake]:
    """Yield mistakes in the meaning: each part may be well formed, and the whole still wrong."""
    if not isinstance(value, dict):
        return
    for id, camera in _items(value, "cameras"):
        at = join("cameras", id)
        yield from (Mistake(join(f"{at}.rules", m.path), m.text) for m in _of_rules(camera.get("rules")))
        if isinstance(recording := camera.get("recording"), dict) and "cameras" in recording:
            yield Mistake(f"{at}.recording.cameras", "only a group has cameras: leave it out")
        if camera.get("rules") is not None and camera.get("rules_file") is not None:
            yield Mistake(at, "give one of 'rules' and 'rules_file'")
        if camera.get("password") is not None and camera.get("password_file") is not None:
            yield Mistake(at, "give one of 'password' and 'password_file'")
        if camera.get("user") is not None and not {"password", "password_file"} & camera.keys():
            yield Mistake(f"{at}.user", "a user needs 'password' or 'password_file'")
    for name, group in _items(value, "groups"):
        recording = group.get("recording")
        if isinstance(recording, dict):
            for field in sorted({"cameras", "masks"} & recording.keys()):
                yield Mistake(f"groups.{name}.recording.{field}", _NOT_OF_A_GROUP[field])
    if isinstance(recording := value.get("recording"), dict):
        for field in sorted({"cameras", "masks"} & recording.keys()):
            yield Mistake(f"recording.{field}", "this policy is of all cameras: leave it out")
    for name, reader in _items(value, "readers"):
        yield from _of_reader(name, reader)
    webhook = value.get("webhook")
    if isinstance(webhook, dict) and webhook.get("secret") is not None and webhook.get("secret_file") is not None:
        yield Mistake("webhook", "give one of 'secret' and 'secret_file'")


_NOT_OF_A_GROUP = {"cameras": "the group's own 'cameras' are meant: leave it out", "masks": "only a camera has masks"}


def _of_rules(rules: Any) -> Iterator[Mistake]:
    """Yield mistakes that the types of a rule file don't show."""
    if isinstance(rules, dict) and not mistakes(rules, Rules):
        yield from check_rules(rules)


def _of_reader(name: Any, reader: dict[str, Any]) -> Iterator[Mistake]:
    if mistakes(reader, SiteReader):
        return
    there = readers.kinds_there_are()
    for i, kind in enumerate(reader.get("kinds", [])):
        if kind not in there:
            yield Mistake(f"readers.{name}.kinds[{i}]", f"there is no kind of event {kind!r}{nearest(kind, there)}")


def _of_cameras(value: Any) -> list[Mistake]:
    """Return mistakes that show once settings of groups and defaults are the cameras' own."""
    found = []
    for id, camera in _expanded(value)["cameras"].items():
        url = camera["url"]
        if "${" in url:
            camera = camera | {"url": "rtsp://host"}
        found += mistakes(camera, SiteCamera, f"cameras.{id}")
        try:
            new_camera(camera["url"])
        except SettingError as e:
            found.append(Mistake(f"cameras.{id}.url", str(e).removeprefix("camera url ")))
            continue
        found += _of_substream(id, url, camera.get("detect"))
    return found


def _of_substream(id: str, url: str, detect: str | None) -> list[Mistake]:
    """Return a mistake in a substream's address, as far as that can be judged without the values of variables."""
    if detect is None or "${" in detect or ("${" in url and not detect.startswith("/")):
        return []
    try:
        new_camera("rtsp://host" if "${" in url else url, detect=detect)
    except SettingError as e:
        return [Mistake(f"cameras.{id}.detect", str(e).removeprefix("camera detect "))]
    return []


def _items(value: Mapping[str, Any], field: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    part = value.get(field)
    yield from (
        (name, item) for name, item in (part if isinstance(part, dict) else {}).items() if isinstance(item, dict)
    )
