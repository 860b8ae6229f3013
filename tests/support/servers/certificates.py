"""Certificates for tests: an authority, pairs of certificate and key as files, and a page that is read with them."""

from __future__ import annotations

import datetime as dt
import ssl
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

import trustme


class Pair(NamedTuple):
    cert: str
    key: str


class Authority:
    """A CA of its own. ca: the path of its certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, name: str = "localhost", *, from_day: int = -1, to_day: int = 30) -> Pair:
        """For a host name or address, valid between two days, counted from now."""
        now = dt.datetime.now(dt.UTC)
        built = self._ca.issue_cert(
            name, not_before=now + dt.timedelta(days=from_day), not_after=now + dt.timedelta(days=to_day)
        )
        stem = f"{name}{from_day}{to_day}"
        pair = Pair(str(self._folder / f"{stem}.pem"), str(self._folder / f"{stem}.key"))
        Path(pair.cert).write_bytes(b"".join(each.bytes() for each in built.cert_chain_pems))
        built.private_key_pem.write_to_path(pair.key)
        return pair


def answer(url: str, ca: str, own: Pair | None = None) -> int:
    """The status of a page. Raises URLError if the connection is refused."""
    context = ssl.create_default_context(cafile=ca)
    if own:
        context.load_cert_chain(*own)
    try:
        with urllib.request.urlopen(url, timeout=20, context=context) as page:
            page.read()
            return int(page.status)
    except HTTPError as e:
        return e.code
