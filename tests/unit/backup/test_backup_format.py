"""The file of a backup: it returns the written records, and no other bytes pass for it."""

from __future__ import annotations

import datetime as dt
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.recordings.stores.keys import Secret
from tests.support.examples import examples
from tests.support.worlds.backups import header, read, signed, unchecked, written
from tidegate.backup import format
from tidegate.backup.format import FRAME, MAGIC, MOST, Writer
from tidegate.backup.records import FORMAT, AnyRecord, BadBackup, Entry, Message, Note, Piece, Position

SECRET = Secret(bytes(32))
KEYS = st.sampled_from([None, SECRET])
TOKENS = st.text("abcXYZ019_-", min_size=1, max_size=12)
RECORDS = st.lists(
    st.one_of(
        st.builds(Position, stream=TOKENS, seq=st.integers(0, 10**15)),
        st.builds(Entry, bucket=TOKENS, key=TOKENS, value=st.binary(max_size=300)),
        st.builds(
            Message,
            stream=TOKENS,
            seq=st.integers(0, 10**15),
            subject=st.lists(TOKENS, min_size=2, max_size=4).map(".".join),
            time=st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),
            data=st.binary(max_size=300),
            headers=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3),
        ),
        st.builds(
            Piece,
            path=TOKENS.map("index/labels.lance/{}".format),
            data=st.binary(max_size=300),
            first=st.booleans(),
            last=st.booleans(),
        ),
        st.builds(Note, text=st.text(max_size=50)),
    ),
    max_size=8,
)
SMALL: list[AnyRecord] = [Entry(bucket="cameras", key=f"cam-{n}", value=bytes(50)) for n in range(3)]


@given(RECORDS, KEYS)
@settings(max_examples=examples(200))
def test_a_file_returns_what_was_written(records: list[AnyRecord], secret: Secret | None) -> None:
    assert list(read(written(records, secret), secret)) == records


@given(RECORDS, KEYS, st.data())
@settings(max_examples=examples(200))
def test_a_truncated_file_is_refused(records: list[AnyRecord], secret: Secret | None, data: st.DataObject) -> None:
    whole = written(records, secret)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BadBackup, match=r"truncated|no backup"):
        list(read(whole[:end], secret))


@given(RECORDS, KEYS, st.data())
@settings(max_examples=examples(300))
def test_a_changed_file_is_refused(records: list[AnyRecord], secret: Secret | None, data: st.DataObject) -> None:
    whole = bytearray(written(records, secret))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((BadBackup, LookupError)):
        list(read(bytes(whole), secret))


@given(st.binary(max_size=2000), st.booleans())
@settings(max_examples=examples(300))
def test_foreign_bytes_are_refused(data: bytes, is_begun: bool) -> None:
    with pytest.raises(BadBackup):
        list(read(MAGIC + data if is_begun else data, SECRET))


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(BadBackup, match="changed"):
        list(read(written(SMALL) + b"x"))


def test_a_newer_format_is_refused_in_words() -> None:
    newer = written([], head=replace(header(format=FORMAT + 1), tidegate="9.1"))
    with pytest.raises(BadBackup, match=rf"its format is {FORMAT + 1}, of Tidegate 9\.1.*install that version"):
        list(read(newer))


def test_every_byte_of_an_encrypted_file_counts() -> None:
    whole = written(SMALL, SECRET)
    for place in range(len(whole)):
        with pytest.raises((BadBackup, LookupError)):
            list(read(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], SECRET))


def test_frames_of_an_encrypted_file_have_their_place() -> None:
    records: list[AnyRecord] = [Entry(bucket="cameras", key=f"cam-{n}", value=bytes([n]) * FRAME) for n in range(3)]
    whole = written(records, SECRET)
    begin = len(MAGIC) + 4 + int.from_bytes(whole[len(MAGIC) : len(MAGIC) + 4])
    frames, at = [], begin
    while at < len(whole) - 32:
        size = 4 + int.from_bytes(whole[at : at + 4])
        frames.append(whole[at : at + size])
        at += size
    assert len(frames) == 4
    for other in (frames[1:], [frames[1], frames[0], *frames[2:]], [*frames[:2], frames[-1]], [frames[0], *frames]):
        with pytest.raises(BadBackup, match=r"changed|truncated"):
            list(read(signed(whole[:begin] + b"".join(other)), SECRET))


def test_a_bomb_is_refused_in_bounded_memory() -> None:
    bomb = zlib.compress(bytes(3 * MOST), 1)
    assert len(bomb) < MOST // 50
    with pytest.raises(BadBackup, match="changed"):
        list(read(unchecked(packed=bomb)))


def test_an_unchecked_file_of_valid_records_is_read() -> None:
    assert list(read(unchecked(SMALL[0]))) == SMALL[:1]


@pytest.mark.parametrize(
    "path", ["secrets/../../x", "secrets/..", "/etc/passwd", "index/./x", "jetstream/x", "secrets/a\n", "index//x"]
)
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(BadBackup):
        list(read(unchecked(Piece(path=path, data=b"", first=True, last=True))))


@pytest.mark.parametrize("subject", ["events.>", "events.*", "a b.c", "a..b", "$JS\r\n.x", "events", ""])
def test_a_subject_that_is_none_is_refused(subject: str) -> None:
    message = Message(stream="EVENTS", seq=1, subject=subject, time=dt.datetime.now(dt.UTC), data=b"")
    with pytest.raises(BadBackup):
        list(read(unchecked(message)))


def test_a_writer_returns_to_a_mark() -> None:
    file = BytesIO()
    writer = Writer(file, header(SECRET), SECRET)
    writer.add(SMALL[0])
    mark = writer.mark()
    writer.add(SMALL[1])
    writer.mark()
    writer.rewind(mark)
    writer.add(SMALL[2])
    writer.end()
    assert list(read(file.getvalue(), SECRET)) == [SMALL[0], SMALL[2]]
    assert writer.counts == {"bucket cameras": 2}


def test_a_record_that_no_backup_takes_is_a_note() -> None:
    """Else the whole file would be refused where it is needed."""
    file = BytesIO()
    writer = Writer(file, header(), None)
    writer.add(Entry(bucket="cameras", key="two words", value=b""))
    writer.add(SMALL[0])
    writer.end()
    [note, entry] = read(file.getvalue())
    assert isinstance(note, Note)
    assert "bucket cameras" in note.text
    assert entry == SMALL[0]
    assert writer.notes == [note.text]


def test_the_largest_message_fits_a_frame() -> None:
    message = Message(
        stream="DLQ", seq=1, subject="dlq.cv", time=dt.datetime.now(dt.UTC), data=bytes(format.MAX_PAYLOAD)
    )
    assert list(read(written([message], SECRET), SECRET)) == [message]
