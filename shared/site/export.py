"""The site file of a present state. Pure.

Example:
    text = document(state)      # YAML, with variables in place of passwords
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
import yaml

from shared.contract.cameras import Camera
from shared.contract.endpoint import EndpointSettings
from shared.contract.rules import Rules
from shared.recordings.policy import DEFAULT, Policy, camera_key, group_key
from shared.runtime.errors import SettingError
from shared.runtime.redact import join_credentials
from shared.site.state import State


def document(state: State) -> tuple[str, list[str]]:
    """Return (the YAML, a line for each entry that can't be read, which it leaves out)."""
    left = [
        f"{what} {key} is left out: {value}"
        for what, part in (("camera", state.cameras), ("rules of", state.rules), ("policy", state.policies))
        for key, value in part.items()
        if isinstance(value, SettingError)
    ]
    left += [f"webhook is left out: {state.endpoint}"] * isinstance(state.endpoint, SettingError)
    left += [f"rules and recording of {id} are left out: there is no such camera" for id in _orphans(state)]
    text = yaml.safe_dump(_short(value(state)), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return text, left


def value(state: State) -> dict[str, Any]:
    """Return the value of the site file, without empty sections but that of cameras."""
    variables = _variables(state)
    found: dict[str, Any] = {
        "cameras": {
            id: _camera(id, camera, state, variables[id])
            for id, camera in state.cameras.items()
            if isinstance(camera, Camera)
        },
        "groups": {
            key.removeprefix(group_key("")): _group(policy)
            for key, policy in state.policies.items()
            if key.startswith(group_key("")) and isinstance(policy, Policy) and policy.cameras
        },
        "readers": {
            reader.name: {"kinds": list(reader.kinds), "cameras": list(reader.cameras)}
            for reader in state.readers or ()
        },
    }
    if (policy := _built(state.policies.get(DEFAULT), Policy)) is not None:
        found["recording"] = policy
    if isinstance(state.endpoint, EndpointSettings):
        found["webhook"] = _webhook(state.endpoint)
    return {section: part for section, part in found.items() if part or section in ("cameras", "recording")}


def _camera(id: str, camera: Camera, state: State, variable: str) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(camera)
    entry = state.credentials.get(id)
    if entry and "://" in entry.secret:
        fields["url"] = f"${{{variable}_URL}}"
    elif entry and entry.secret.endswith(":"):
        # An empty password is no secret, and no variable can hold it.
        fields["url"] = join_credentials(camera.url, entry.secret)
    elif entry and entry.secret and not camera.is_file:
        fields["user"] = unquote(entry.secret.partition(":")[0])
        fields["password"] = f"${{{variable}_PASSWORD}}"
    for name, part, kind in (
        ("rules", state.rules.get(id), Rules),
        ("recording", state.policies.get(camera_key(id)), Policy),
    ):
        if (built := _built(part, kind)) is not None:
            fields[name] = built
    return fields


def _webhook(settings: EndpointSettings) -> dict[str, Any]:
    """Return the section, whose variables no camera has: theirs end otherwise."""
    parts = urlsplit(settings.url)
    login, _, host = parts.netloc.rpartition("@")
    is_bare = urlunsplit(parts._replace(scheme="", netloc="")) in ("", "/")
    path = parts.path if is_bare else "/${SITE_WEBHOOK_PATH}"
    url = f"{parts.scheme}://{'${SITE_WEBHOOK_LOGIN}@' if login else ''}{host}{path}"
    secret = {"secret": "${SITE_WEBHOOK_SECRET}"} if settings.secret else {}
    return {"url": url, **secret, "events": list(settings.events), "format": settings.format}


def _group(policy: Policy) -> dict[str, Any]:
    recording = _built(msgspec.structs.replace(policy, cameras=()), Policy)
    return {"cameras": list(policy.cameras), "recording": recording}


def _built(part: object, kind: type) -> Any:
    return msgspec.to_builtins(part) if isinstance(part, kind) else None


def _short(part: Any) -> Any:
    """Return the value with whole numbers as people write them."""
    if isinstance(part, dict):
        return {key: _short(item) for key, item in part.items()}
    if isinstance(part, list):
        return [_short(item) for item in part]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _orphans(state: State) -> list[str]:
    policies = {key.removeprefix(camera_key("")) for key in state.policies if key.startswith(camera_key(""))}
    return sorted((policies | state.rules.keys()) - state.cameras.keys())


def _variables(state: State) -> dict[str, str]:
    """Return a name for the variables of each camera; no two are equal."""
    found: dict[str, str] = {}
    for id in state.cameras:
        base = name = "SITE_" + re.sub(r"[^A-Z0-9]", "_", id.upper())
        number = 1
        while name in found.values():
            number += 1
            name = f"{base}_{number}"
        found[id] = name
    return found
