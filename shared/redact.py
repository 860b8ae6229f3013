"""Credentials out of text: nothing that is logged, published or counted carries them. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

# user[:password]@ of any URL inside a text; greedy to the last @ before the path, as cameras' passwords hold @.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s'\"]*@")
# query parameters that cameras take passwords in
_QUERY = re.compile(r"(?i)(?P<key>[?&](?:pass(?:word|wd)?|pwd|user(?:name)?|token|auth|secret|key)=)[^&\s'\"]*")


def redact(text: str) -> str:
    """`text` with the credentials of every URL in it replaced by `***`."""
    return _QUERY.sub(r"\g<key>***", _USERINFO.sub(r"\g<scheme>***@", text))


def split_credentials(url: str) -> tuple[str, str | None]:
    """(`url` without user info, `user:password` as given or None)."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), userinfo if at else None


def join_credentials(url: str, userinfo: str | None) -> str:
    """The inverse of `split_credentials`; characters that end a URL's user info are percent-encoded."""
    if not userinfo:
        return url
    user, colon, password = userinfo.partition(":")
    safe = quote(unquote(user), safe="") + (":" + quote(unquote(password), safe="") if colon else "")
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{safe}@{parts.netloc}"))
