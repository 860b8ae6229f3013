"""Removes credentials from text: no log, message or metric carries them. Pure.

The text may be hostile. It is cut first, and read in one pass: the cost per character is at most the pattern's length.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

# The maximum length of text: a deep traceback fits.
MOST = 32_768
# A URL ends at one of these.
_END = re.compile(r"[\s'\"]")
_NAMES = (
    r"pass(?:word|wd)?|pwd|psw|pw|user(?:name)?|usr|login(?:use|pas|pass)?|(?:access_)?token|auth|secret|(?:api_?)?key"
)
_SECRETS = rf"(?:{_NAMES})="
# Query parameters in which cameras take passwords.
_QUERY = re.compile(rf"(?i)(?P<key>[?&]{_SECRETS})[^&\s'\"]*")
# Some take them in the path, /user=me_password=mine_channel=1: the end of the password is ambiguous.
_PATH = re.compile(rf"(?i)(?P<path>:(?=//))|(?P<query>\?)|[/_;]{_SECRETS}")


def redact(text: str, most: int = MOST) -> str:
    """Return `text`, first cut to `most` characters, with the credentials of every URL replaced by `***`."""
    if len(text) <= most:
        return _hide(text)
    # If the cut splits a URL, any part of it may be a password.
    return _hide(f"{text[:most]}@").removesuffix("@") + "…"


def _hide(text: str) -> str:
    parts: list[str] = []
    done = 0
    while (begin := text.find("://", done)) >= 0:
        end = found.start() if (found := _END.search(text, begin)) else len(text)
        parts += text[done:begin], _hide_in_url(text[begin:end])
        done = end
    return _QUERY.sub(r"\g<key>***", "".join([*parts, text[done:]]))


def _hide_in_url(url: str) -> str:
    """url: from its `://` on. User info extends to the last @, as cameras' passwords hold @ and /."""
    if (at := url.rfind("@")) > 0:
        if 0 < _end_of_name(url) <= at:  # the @ may be of that password, or that of the user info
            return "://***"
        url = f"://***{url[at:]}"
    end = _end_of_name(url)
    return f"{url[:end]}***" if end else url


def _end_of_name(url: str) -> int:
    """Return where a password begins in the path of a URL; 0 if there is none."""
    in_path = False
    for mark in _PATH.finditer(url):
        if mark["path"] or mark["query"]:
            in_path = bool(mark["path"])
        elif in_path:
            return mark.end()
    return 0


def split_credentials(url: str) -> tuple[str, str | None]:
    """Return (`url` without credentials, the input for `join_credentials` or None).

    The input is the literal `user:password` or, if they are not in the user info alone, the whole URL.
    """
    bare, userinfo = split_userinfo(url)
    if (public := _hide(bare)) != bare and "@" not in bare:
        return public, url
    return bare, userinfo


def split_userinfo(url: str) -> tuple[str, str | None]:
    """Return (`url` without `user:password@`, `user:password` or None). The rest may still hold a password."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), userinfo if at else None


def join_credentials(url: str, secret: str | None) -> str:
    """The inverse of `split_credentials`; characters that end a URL's user info are percent-encoded."""
    if not secret:
        return url
    if "://" in secret:
        return secret
    user, colon, password = secret.partition(":")
    safe = quote(unquote(user), safe="") + (":" + quote(unquote(password), safe="") if colon else "")
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{safe}@{parts.netloc}"))
