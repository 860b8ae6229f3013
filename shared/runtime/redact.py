"""Credentials out of text: nothing that is logged, published or counted carries them. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

# user[:password]@ of any URL inside a text; greedy to the last @, as cameras' passwords hold @ and /.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@")
_SECRETS = r"(?:pass(?:word|wd)?|pwd|user(?:name)?|token|auth|secret|key)="
# Query parameters that cameras take passwords in.
_QUERY = re.compile(rf"(?i)(?P<key>[?&]{_SECRETS})[^&\s'\"]*")
# Some take them in the path, /user=me_password=mine_channel=1: where the password ends can't be told.
_PATH = re.compile(rf"(?i)(?P<key>://[^\s'\"?]*?/(?:[^\s'\"?]*?[/_;])?{_SECRETS})[^\s'\"]*")


def redact(text: str) -> str:
    """`text` with the credentials of every URL in it replaced by `***`."""
    return _QUERY.sub(r"\g<key>***", _PATH.sub(r"\g<key>***", _USERINFO.sub(r"\g<scheme>***@", text)))


def split_credentials(url: str) -> tuple[str, str | None]:
    """(`url` without credentials, what `join_credentials` needs to put them back or None).

    That is `user:password` as given or, where they are not in the user info alone, the whole URL.
    """
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    if (public := redact(bare)) != bare and "@" not in bare:
        return public, url
    return bare, userinfo if at else None


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
