"""What a site has now: the entries of its buckets, each with its revision, and its readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from nats.js import JetStreamContext

from shared.contract import cameras, credentials, endpoint, names, rules
from shared.contract.cameras import Camera
from shared.contract.credentials import Credentials
from shared.contract.endpoint import EndpointSettings
from shared.contract.reading.entries import Entry, entries_with_revisions
from shared.contract.rights.readers import Reader
from shared.contract.rules import Rules
from shared.recordings.policy import Policy
from shared.runtime.errors import SettingError

T = TypeVar("T")


class State(NamedTuple):
    """Values by key; a SettingError for an entry that can't be read. revisions: by bucket and key.

    cameras: with their whole URL. readers: None if their server is configured elsewhere. endpoint: of alerts; None if
    there is none, or if its bucket was not read.
    """

    cameras: Mapping[str, Camera | SettingError]
    credentials: Mapping[str, Credentials]
    rules: Mapping[str, Rules | SettingError]
    policies: Mapping[str, Policy | SettingError]
    revisions: Mapping[tuple[str, str], int]
    readers: tuple[Reader, ...] | None = None
    endpoint: EndpointSettings | SettingError | None = None

    def revision(self, bucket: str, key: str) -> int:
        """Return the revision of an entry; 0 if there is none."""
        return self.revisions.get((bucket, key), 0)


# The buckets that a site file sets: those that the console may read, and all.
IN_CONSOLE = (names.CAMERAS, names.CREDENTIALS, names.RULES, names.RECORDINGS)
BUCKETS = (*IN_CONSOLE, names.ENDPOINT)


async def read(
    js: JetStreamContext, readers: tuple[Reader, ...] | None = None, buckets: Sequence[str] = BUCKETS
) -> State:
    """Return the present state. Raises BusError, Unread, nats.errors.Error or TimeoutError as `entries` does."""
    found = {bucket: await entries_with_revisions(js, bucket) for bucket in buckets}
    secrets = {id: credentials.decode(entry.value) for id, entry in found[names.CREDENTIALS].items() if entry.value}
    return State(
        cameras={
            id: _camera(entry, secrets.get(id))
            for id, entry in sorted(found[names.CAMERAS].items())
            if not names.is_removed(id)
        },
        credentials=secrets,
        rules={id: _rules(entry) for id, entry in sorted(found[names.RULES].items())},
        policies={key: _policy(key, entry) for key, entry in sorted(found[names.RECORDINGS].items())},
        revisions={
            (bucket, key): entry.revision
            for bucket, values in found.items()
            for key, entry in values.items()
            # The settings of a removed camera expire by themselves.
            if not names.is_removed(key)
        },
        readers=readers,
        endpoint=_endpoint(found.get(names.ENDPOINT, {}).get(endpoint.KEY)),
    )


def _camera(entry: Entry, secret: Credentials | None) -> Camera | SettingError:
    try:
        return cameras.joined(cameras.decode(entry.value), secret)
    except SettingError as e:
        return e


def _endpoint(entry: Entry | None) -> EndpointSettings | SettingError | None:
    try:
        return entry and endpoint.decode(entry.value)
    except SettingError as e:
        return e


def _rules(entry: Entry) -> Rules | SettingError:
    try:
        return rules.decode(entry.value)
    except SettingError as e:
        return e


def _policy(key: str, entry: Entry) -> Policy | SettingError:
    try:
        return msgspec.json.decode(entry.value, type=Policy)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        return SettingError(f"the recording policy {key!r} can't be read: {e}")
