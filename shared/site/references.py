"""The variables and files that a site file refers to. Only `resolve` reads files.

Example:
    login = resolve(camera, {"LOBBY_PASSWORD": "…"})    # url, user and password, and the variables that are not set
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from shared.runtime.errors import SettingError
from shared.site.format import SiteCamera, SiteWebhook

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A password file is one line.
_MOST_BYTES = 4096


class Login(NamedTuple):
    """url, user, password, detect: None if not given, or if a variable is unset. missing: variables that are unset."""

    url: str | None
    user: str | None
    password: str | None
    missing: tuple[str, ...] = ()
    detect: str | None = None

    def __repr__(self) -> str:
        return f"Login({'with' if self.password else 'without'} a password, missing={self.missing})"


class Values(NamedTuple):
    """The webhook's URL and secret: None if not given, or if a variable is unset, whose name `missing_…` has."""

    url: str | None = None
    secret: str | None = None
    missing_url: str = ""
    missing_secret: str = ""

    def __repr__(self) -> str:
        return f"Values(missing_url={self.missing_url!r}, missing_secret={self.missing_secret!r})"


def resolve(camera: SiteCamera, variables: Mapping[str, str]) -> Login:
    """Return a camera's login. An empty variable counts as not set. Raises SettingError for an unreadable file."""
    missing: list[str] = []
    texts = (camera.url, camera.user, camera.password, camera.detect)
    url, user, password, detect = (_filled(text, variables, missing) for text in texts)
    if camera.password_file is not None:
        password = _content("password_file", Path(camera.password_file))
    return Login(url, user, password, tuple(dict.fromkeys(missing)), detect)


def resolve_webhook(webhook: SiteWebhook, variables: Mapping[str, str]) -> Values:
    """Return the values of the webhook, as `resolve` does."""
    of_url: list[str] = []
    of_secret: list[str] = []
    url, secret = _filled(webhook.url, variables, of_url), _filled(webhook.secret, variables, of_secret)
    if webhook.secret_file is not None:
        secret = _content("secret_file", Path(webhook.secret_file))
    return Values(url, secret, *("".join(missing[:1]) for missing in (of_url, of_secret)))


def _filled(text: str | None, variables: Mapping[str, str], missing: list[str]) -> str | None:
    """Return the text with its variables' values; None if one is not set."""
    if text is None:
        return None
    unset = [name for name in _NAME.findall(text) if not variables.get(name)]
    missing += unset
    return None if unset else _NAME.sub(lambda match: variables[match[1]], text)


def _content(field: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        password = text.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        raise SettingError(f"{field} {path} can't be read: {getattr(e, 'strerror', None) or e}") from e
    if len(text) > _MOST_BYTES or not password or "\n" in password:
        raise SettingError(f"{field} {path} is not one line of at most {_MOST_BYTES} bytes")
    return password
