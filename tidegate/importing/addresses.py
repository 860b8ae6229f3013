"""A stream's address without its password: for the site file, with the variables to set. Pure.

Example:
    address_of("rtsp://eve:secret@10.0.0.7/live", "lobby", report)
    # Address(url="rtsp://10.0.0.7/live", user="eve", password="${SITE_LOBBY_PASSWORD}", whole=False)
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from shared.contract.cameras import new_camera
from shared.runtime.errors import SettingError
from shared.runtime.redact import split_credentials, split_userinfo
from tidegate.importing.report import Report

# Frigate replaces {FRIGATE_NAME} by a variable, or by a Docker secret.
_OURS = re.compile(r"\$?\{(FRIGATE_[A-Za-z0-9_]{1,100})\}")
_OTHER = re.compile(r"[${}]")


class Address(NamedTuple):
    """whole: whether `url` is one variable for all of the address."""

    url: str
    user: str | None
    password: str | None
    whole: bool


def variable_name(camera: str, what: str) -> str:
    """Return the name of a camera's variable: SITE_LOBBY_PASSWORD."""
    return f"SITE_{re.sub('[^A-Z0-9]', '_', camera.upper())}_{what}"


def address_of(text: str, camera: str, report: Report) -> Address | None:
    """Return the address without literal passwords; None if it is none that Tidegate reads."""
    if text.startswith("/"):
        text = f"file://{text}"
    try:
        bare, userinfo = split_userinfo(text)
    except ValueError:
        return None
    bare = _escaped(bare)
    if not _readable(_OURS.sub("1", bare)):
        return None
    if userinfo is None:
        return _without_user(bare, camera, report)
    user, colon, password = userinfo.partition(":")
    if split_credentials(_OURS.sub("1", bare))[1] is not None:
        return Address(report.variable(variable_name(camera, "URL"), _WHOLE.format(camera)), None, None, True)
    shown_user = _replaced(unquote(user), camera, "USER", "user", report) if user else None
    if not colon or not shown_user:
        whole = report.variable(variable_name(camera, "URL"), _WHOLE.format(camera))
        return Address(whole, None, None, True)
    return Address(_references(bare, report), shown_user, _secret(password, camera, report), False)


_WHOLE = "the whole address of the stream of camera {}, as in the input"


def _without_user(text: str, camera: str, report: Report) -> Address:
    if split_credentials(_OURS.sub("1", text))[1] is not None:
        return Address(report.variable(variable_name(camera, "URL"), _WHOLE.format(camera)), None, None, True)
    return Address(_references(text, report), None, None, False)


def _escaped(url: str) -> str:
    """Percent-encode what could be a reference: `apply` would send that variable's value to an address of the input.

    References to Frigate's own variables remain.
    """
    parts = _OURS.split(url)
    # The split alternates texts and names.
    return "".join(
        f"{{{part}}}" if i % 2 else _OTHER.sub(lambda found: quote(found[0]), part) for i, part in enumerate(parts)
    )


def _readable(url: str) -> bool:
    """Return whether ingest reads an address of this form."""
    try:
        new_camera(url)
    except SettingError:
        return False
    return True


def _references(text: str, report: Report) -> str:
    return _OURS.sub(lambda found: report.variable(found[1], "as in Frigate's environment"), text)


def _replaced(text: str, camera: str, what: str, purpose: str, report: Report) -> str:
    """Return a text with references; one with other braces or dollars is a variable of its own."""
    if _OTHER.search(_OURS.sub("", text)) or len(text) > 256:
        return report.variable(variable_name(camera, what), f"the {purpose} of camera {camera}, as in the input")
    return _references(text, report)


def _secret(password: str, camera: str, report: Report) -> str:
    """Return the reference to the variable of a password."""
    if found := _OURS.fullmatch(password):
        return report.variable(found[1], f"the password of camera {camera}; without percent-encoding: @ for %40")
    name = variable_name(camera, "PASSWORD")
    return report.variable(name, f"the password of camera {camera}; without percent-encoding: @ for %40")
