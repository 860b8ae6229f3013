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
from shared.site.format import SiteCamera

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


def resolve(camera: SiteCamera, variables: Mapping[str, str]) -> Login:
    """Return a camera's login. An empty variable counts as not set. Raises SettingError for an unreadable file."""
    missing: list[str] = []
    texts = (camera.url, camera.user, camera.password, camera.detect)
    url, user, password, detect = (_filled(text, variables, missing) for text in texts)
    if camera.password_file is not None:
        password = _content(Path(camera.password_file))
    return Login(url, user, password, tuple(dict.fromkeys(missing)), detect)


def _filled(text: str | None, variables: Mapping[str, str], missing: list[str]) -> str | None:
    """Return the text with its variables' values; None if one is not set."""
    if text is None:
        return None
    unset = [name for name in _NAME.findall(text) if not variables.get(name)]
    missing += unset
    return None if unset else _NAME.sub(lambda match: variables[match[1]], text)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        password = text.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        raise SettingError(f"password_file {path} can't be read: {getattr(e, 'strerror', None) or e}") from e
    if len(text) > _MOST_BYTES or not password or "\n" in password:
        raise SettingError(f"password_file {path} is not one line of at most {_MOST_BYTES} bytes")
    return password
