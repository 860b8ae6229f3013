"""What a backup's file holds. Pure.

A file is a header, records in any number, and one `End`.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.names import END
from shared.runtime.errors import SettingError

# The version of the format. Increment it with each change that an older version can't restore.
FORMAT = 1
# Below the data directory: `secrets/admin`, `models/yard.json`, `index/labels.00000000.lance/data/….lance`.
_NAME = r"(?!\.\.?(?:/|(?![\s\S])))[A-Za-z0-9._@+=-]{1,200}"
PATH = rf"^(?:secrets|models|index)(?:/{_NAME}){{1,8}}{END}"
KEY = rf"^[A-Za-z0-9_=./-]{{1,512}}{END}"
# A subject without wildcards, and no longer than the server's lines.
SUBJECT = rf"^[^\s*>\x00-\x1f\x7f.]+(?:\.[^\s*>\x00-\x1f\x7f.]+){{1,63}}{END}"

Name = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_-]{{1,64}}{END}")]
Text = Annotated[str, Meta(max_length=1000)]
# A new stream begins at milliseconds since 1970, some 2e12.
Sequence = Annotated[int, Meta(ge=0, le=10**15)]
Count = Annotated[int, Meta(ge=0, le=10**15)]


class BadBackup(SettingError):
    """A file is no backup, is damaged, or was changed."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """tidegate: the version that wrote it. key: the id of the key that encrypts it, hexadecimal; empty: none does.

    id: random. passwords, streams: whether it has those. here: whether it has the files of a data directory.
    """

    format: Annotated[int, Meta(ge=1)]
    tidegate: Text
    time: dt.datetime
    host: Text
    id: Annotated[str, Meta(pattern=rf"^[0-9a-f]{{32}}{END}")]
    key: Annotated[str, Meta(pattern=rf"^(?:[0-9a-f]{{16}})?{END}")] = ""
    passwords: bool = True
    streams: bool = False
    here: bool = True


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """A part of the file's content."""


class Position(Record, frozen=True, kw_only=True, tag="position"):
    """The last sequence of a stream. created: when, which tells a stream from another of its name."""

    stream: Name
    seq: Sequence
    created: Text = ""


class Entry(Record, frozen=True, kw_only=True, tag="entry"):
    """An entry of a bucket."""

    bucket: Name
    key: Annotated[str, Meta(pattern=KEY)]
    value: bytes


class Message(Record, frozen=True, kw_only=True, tag="message"):
    """A message of a stream. time: when the server stored it."""

    stream: Name
    seq: Sequence
    subject: Annotated[str, Meta(pattern=SUBJECT, max_length=400)]
    time: dt.datetime
    data: bytes
    headers: Annotated[
        dict[Annotated[str, Meta(max_length=256)], Annotated[str, Meta(max_length=16_384)]], Meta(max_length=64)
    ] = {}


class Piece(Record, frozen=True, kw_only=True, tag="piece"):
    """The next bytes of a file. first, last: whether they begin it, and whether they end it."""

    path: Annotated[str, Meta(pattern=PATH, max_length=600)]
    data: bytes
    first: bool
    last: bool


class Note(Record, frozen=True, kw_only=True, tag="note"):
    """What people must know about this backup."""

    text: Text


class End(Record, frozen=True, kw_only=True, tag="end"):
    """The last record. counts: of all parts."""

    counts: Annotated[dict[Text, Count], Meta(max_length=100)]


AnyRecord = Position | Entry | Message | Piece | Note | End


def part_of(record: AnyRecord) -> str:
    """Return the part that a record counts for; empty for none. Files count by their last piece."""
    if isinstance(record, Entry):
        return f"bucket {record.bucket}"
    if isinstance(record, Message):
        return f"stream {record.stream}"
    if isinstance(record, Piece) and record.last:
        return f"files of {record.path.partition('/')[0]}"
    return ""
