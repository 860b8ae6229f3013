"""Encrypted recordings: the store reveals nothing, and its objects cannot be swapped."""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import av
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.cutting.piece import Piece
from shared.client import recordings as client_of
from shared.recordings import opening
from shared.recordings.library import Library
from shared.recordings.records import Hour, Unreadable, hour_key, hour_of
from shared.recordings.store import StoreUnavailable
from shared.recordings.stores import keys, sealing
from shared.recordings.stores.folder import Folder
from shared.recordings.stores.keys import Keys, Secret
from shared.recordings.stores.sealed import Sealed
from shared.recordings.stores.sealing import CHUNK, HEAD, TAG
from shared.runtime.errors import SettingError
from tests.support.examples import examples
from tests.support.worlds.archive_world import planned
from tests.support.worlds.archive_world import store as archive
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, seconds_of, world
from tidegate.archive.frames import decoding
from tidegate.archive.sync_store import open_recordings
from tidegate.commands import tidegate
from tidegate.local import recording_keys

__all__ = ["archive", "second", "world"]
SETTING = "RECORDER_KEY_FILE"
KEY, OTHER = "cam/2026-11-29/10/0000-a-0.mp4", "cam/2026-11-29/10/0100-b-0.mp4"
SIZES = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17])
FIRST, SECOND = Secret.new(), Secret.new()


def sealed(folder: Path, *secrets: Secret, only: bool = False) -> Sealed:
    return Sealed(Folder(folder), Keys(secrets, only) if secrets else None, SETTING)


def key_file(path: Path, *secrets: Secret) -> str:
    path.write_text(keys.text_of(Keys(secrets)))
    path.chmod(0o600)
    return str(path)


def bytes_of(size: int) -> bytes:
    return (b"%08x" * (size // 8 + 1) % tuple(range(size // 8 + 1)))[:size]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sealed")


# ---- sealed objects


@given(size=SIZES, cuts=st.lists(st.integers(0, 4 * CHUNK), max_size=5), data=st.data())
@settings(max_examples=examples(50), deadline=None)
def test_any_range_of_an_object_is_read(folder: Path, size: int, cuts: list[int], data: st.DataObject) -> None:
    plain = bytes_of(size)
    row = sorted({0, size, *(cut for cut in cuts if cut < size)})
    parts = [memoryview(plain)[a:b] for a, b in pairwise(row)]
    begin, end = data.draw(st.integers(0, size + 9)), data.draw(st.none() | st.integers(0, size + 9))

    async def work() -> None:
        store = sealed(folder, FIRST)
        await store.put(KEY, parts)
        assert await store.read(KEY) == plain
        for reader in (store, sealed(folder, SECOND, FIRST)):
            assert await reader.read(KEY, begin, end) == plain[begin:end]

    asyncio.run(work())
    there = (folder / KEY).read_bytes()
    assert all(plain[n : n + 16] not in there for n in range(0, size - 15, 4096))


@given(size=SIZES, data=st.data())
@settings(max_examples=examples(75), deadline=None)
def test_any_flipped_bit_is_an_error(folder: Path, size: int, data: st.DataObject) -> None:
    plain = bytes_of(size)
    store = sealed(folder, FIRST)
    asyncio.run(store.put(KEY, [plain]))
    there = bytearray((folder / KEY).read_bytes())
    at = data.draw(st.integers(0, HEAD - 1) | st.integers(0, len(there) - 1))
    there[at] ^= 1 << data.draw(st.integers(0, 7))
    (folder / KEY).write_bytes(there)
    with pytest.raises(Unreadable, match=rf"^{KEY} can't be decrypted: "):
        asyncio.run(sealed(folder, FIRST).read(KEY))
    begin = data.draw(st.integers(0, size))
    try:
        assert asyncio.run(sealed(folder, FIRST).read(KEY, begin, begin + 100)) == plain[begin : begin + 100]
    except Unreadable:
        touched = at < HEAD or begin // CHUNK <= (at - HEAD) // (CHUNK + TAG) <= (begin + 99) // CHUNK
        assert touched


def _swapped(there: bytes, older: bytes, other: bytes) -> bytes:
    return other


def _at(n: int) -> int:
    return HEAD + n * (CHUNK + TAG)


FORGED: dict[str, Callable[[bytes, bytes, bytes], bytes]] = {
    "another object": _swapped,
    "cut short at a chunk": lambda there, older, other: there[: _at(2)],
    "a head alone": lambda there, older, other: there[:HEAD],
    "nothing": lambda there, older, other: b"",
    "another order": lambda there, older, other: (
        there[: _at(0)] + there[_at(1) : _at(2)] + there[_at(0) : _at(1)] + there[_at(2) :]
    ),
    "a chunk twice": lambda there, older, other: there[: _at(1)] + there[_at(0) : _at(1)] + there[_at(2) :],
    "more chunks": lambda there, older, other: there + there[_at(1) : _at(2)],
    "a chunk of before": lambda there, older, other: there[: _at(1)] + older[_at(1) : _at(2)] + there[_at(2) :],
    "a head of before": lambda there, older, other: older[:HEAD] + there[HEAD:],
    "neither": lambda there, older, other: bytes(500),
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_writer_of_the_store_cannot_swap_objects(tmp_path: Path, how: str) -> None:
    plain = bytes_of(3 * CHUNK)
    await sealed(tmp_path, FIRST).put(KEY, [plain])
    older = (tmp_path / KEY).read_bytes()
    await sealed(tmp_path, FIRST).put(KEY, [plain])
    await sealed(tmp_path, FIRST).put(OTHER, [plain])
    there = (tmp_path / KEY).read_bytes()
    (tmp_path / KEY).write_bytes(FORGED[how](there, older, (tmp_path / OTHER).read_bytes()))
    with pytest.raises(Unreadable):
        await sealed(tmp_path, FIRST).read(KEY)
    # By parts, too: one of them is wrong, or missing.
    with pytest.raises(Unreadable):
        for begin in range(0, len(plain), 1000):
            assert await sealed(tmp_path, FIRST).read(KEY, begin, begin + 1000) == plain[begin : begin + 1000]
        assert how == "more chunks"
        raise Unreadable


# ---- keys


async def test_without_its_key_a_store_is_neither_damaged_nor_written(tmp_path: Path) -> None:
    await sealed(tmp_path, FIRST).put(KEY, [b"{}"])
    for store, reply in (
        (sealed(tmp_path), rf": set {SETTING} to the file with its key$"),
        (sealed(tmp_path, SECOND), rf"not in the file of {SETTING}: add it, from a backup"),
    ):
        for work in (store.read(KEY), store.read(KEY, 1, 2), store.put(OTHER, [b"x"])):
            with pytest.raises(StoreUnavailable, match=reply):
                await work
    assert not (tmp_path / OTHER).exists()


async def test_a_store_may_mix_plain_objects_and_two_keys(tmp_path: Path) -> None:
    for n, store in enumerate((sealed(tmp_path), sealed(tmp_path, FIRST), sealed(tmp_path, SECOND, FIRST))):
        await store.put(f"cam/{n}", [b'{"n": %d}' % n])
        assert [await store.read(f"cam/{k}") for k in range(n + 1)] == [b'{"n": %d}' % k for k in range(n + 1)]
        assert [await store.read(f"cam/{k}", 2, 3) for k in range(n + 1)] == [b"n"] * (n + 1)
    # The first key is not needed once its objects are removed.
    await sealed(tmp_path, SECOND).put("cam/3", [b"x"])
    only = sealed(tmp_path, SECOND, FIRST, only=True)
    assert await only.read("cam/1") == b'{"n": 1}'
    for part in ((), (2, 3)):
        with pytest.raises(
            StoreUnavailable, match=r"^cam/0 is not encrypted, which the file of RECORDER_KEY_FILE refuses"
        ):
            await only.read("cam/0", *part)


async def test_a_damaged_index_is_set_aside_and_recording_goes_on(tmp_path: Path) -> None:
    library, hour = Library(sealed(tmp_path, FIRST)), hour_of(BEGIN)
    key = hour_key("cam", hour)
    await library.close(Hour(camera="cam", hour=hour))
    there = (tmp_path / key).read_bytes()
    (tmp_path / key).write_bytes(there[:-1])
    with pytest.raises(Unreadable, match="is no index of recordings: "):
        await library.hour("cam", hour)
    await library.close(Hour(camera="cam", hour=hour))
    assert await library.hour("cam", hour) == Hour(camera="cam", hour=hour)
    assert (tmp_path / f"{key}.damaged").read_bytes() == there[:-1]
    # A damaged catalogue is rebuilt, too.
    (tmp_path / "cam/hours.json").write_bytes(there)
    assert [one.hour for one in (await library.catalogue("cam")).hours] == [hour]


# ---- the file of keys


def test_a_key_is_readable_by_its_owner_alone_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    path = tmp_path / "new" / "recordings.key"

    def ffprobe(*more: str) -> str:
        done = CliRunner().invoke(tidegate, ["recordings", "key", str(path), *more], catch_exceptions=True)
        return done.output + str(done.exception or "")

    output = ffprobe()
    first = keys.read(path, SETTING)
    assert path.stat().st_mode & 0o777 == 0o600 and first.all[0].id.hex() in output
    output += ffprobe()
    assert keys.read(path, SETTING).all[0].id == first.all[0].id, "it is not written over"
    output += ffprobe("--rotate")
    both = keys.read(path, SETTING)
    assert [one.id for one in both.all[1:]] == [first.all[0].id] and path.stat().st_mode & 0o777 == 0o600
    for secret in both.all:
        assert_silent(secret, output, repr(secret), repr(both))


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away: run the tests as root")
def test_a_rotation_by_root_keeps_the_owner(tmp_path: Path) -> None:
    """Otherwise a recorder of another user would no longer start."""
    path = tmp_path / "recordings.key"
    path.write_text(keys.text_of(Keys((Secret.new(),))))
    path.chmod(0o600)
    os.chown(path, 10001, 10002)
    recording_keys.make(path, rotate=True)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (10001, 10002, 0o600)


def assert_silent(secret: Secret, *texts: str) -> None:
    """Assert that no text has the key, in any encoding."""
    forms = base64.b64encode(secret.bytes), base64.urlsafe_b64encode(secret.bytes), secret.bytes.hex().encode()
    shown = [form.decode()[:40] for form in forms]
    assert not [text for text in texts for form in shown if form in text]


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (None, 0o600, "can't be read: No such file or directory"),
        ("<key>", 0o644, "can be read or changed by others: chmod 600"),
        ("<key>", 0o620, "can be read or changed by others: chmod 600"),
        ("", 0o600, "has no key"),
        ("# a word\nencrypted-only\n", 0o600, "has no key"),
        ("<key>\n<cut>", 0o600, "line 2 is no key"),
        ("\xe9 <key>", 0o600, "line 1 is no key"),
        ("# x\n" * 20_000 + "<key>", 0o600, "has no key, or is too long"),
    ],
)
def test_an_invalid_key_file_is_reported_without_its_content(
    tmp_path: Path, text: str | None, mode: int, words: str
) -> None:
    path, line = tmp_path / "keys", base64.urlsafe_b64encode(FIRST.bytes).decode()
    if text is not None:
        path.write_text(text.replace("<key>", line).replace("<cut>", line[:-3]))
        path.chmod(mode)
    with pytest.raises(SettingError, match=rf"^{SETTING}={re.escape(str(path))}.* {words}") as error:
        opening.read_keys(str(path))
    assert_silent(FIRST, str(error.value), str(error.getrepr(style="long", showlocals=False)))


def test_a_file_of_a_kubernetes_secret_is_accepted(tmp_path: Path) -> None:
    path = Path(key_file(tmp_path / "keys", FIRST, SECOND))
    path.chmod(0o440)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert [one.id for one in keys.read(link, SETTING).all] == [FIRST.id, SECOND.id]


# ---- the recorder


def plain_in(folder: Path, pieces: Sequence[Piece]) -> list[str]:
    """The files with readable text, except for the marker of encryption."""
    words = [b"\0\0\0\x10mfhd", b"VideoHandler", b'"camera"', b'"hour"', *(piece.payload[-64:-16] for piece in pieces)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(word in path.read_bytes() for word in words)]


@pytest.mark.slow
async def test_a_recorder_with_a_key_leaves_nothing_to_read(
    world: World, second: Sequence[Piece], tmp_path: Path
) -> None:
    secret = Secret.new()
    recorder = world.recorder(**{SETTING: key_file(tmp_path / "keys", secret)})
    world.library = Library(sealed(world.store, secret))
    await publish(world.admin, filmed(second, range(190)))
    await world.until_recorded(180)
    assert len([*world.store.rglob("*.mp4")]) >= 3 and [*world.store.rglob("index.json")]
    assert plain_in(world.store, second) == []
    # All video is there through the recorder's API.
    found = await client_of.between(world.admin, "cam", BEGIN, BEGIN + s(190))
    clip = b"".join([part async for part in client_of.clip(world.admin, "cam", found.plays)])
    (tmp_path / "clip.mp4").write_bytes(clip)
    with av.open(str(tmp_path / "clip.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 190 * 25
    process = Path(f"/proc/{recorder.process.pid}")
    existing = [(process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
    assert_silent(secret, *existing, recorder.log)
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_recorder_without_the_key_waits_and_writes_no_plain_text(
    world: World, second: Sequence[Piece], tmp_path: Path
) -> None:
    row = filmed(second, range(190))
    world.library = Library(sealed(world.store, SECOND, FIRST))
    before = world.recorder()
    await publish(world.admin, row[:70])
    await world.until_recorded(60)
    assert await before.end() == 0
    with_key = {SETTING: key_file(tmp_path / "keys", FIRST)}
    recorder = world.recorder(**with_key)
    await publish(world.admin, row[70:140])
    await world.until_recorded(120)
    assert await recorder.end() == 0
    there = set(world.store.rglob("*.mp4"))
    await publish(world.admin, row[140:])
    for env in ({}, {SETTING: key_file(tmp_path / "other", SECOND)}):
        wrong = world.recorder(**env)
        await wrong.until_it_says("/readyz", rf"recordings wait: .*{SETTING}")
        assert await wrong.end() == 0
    assert set(world.store.rglob("*.mp4")) == there
    recorder = world.recorder(**{SETTING: key_file(tmp_path / "both", SECOND, FIRST)})
    files, holes = await world.until_recorded(190)
    assert seconds_of(files) == {piece.segment.start: 1 for piece in row} and not holes
    # Objects without a key, by the first and by the second key, as one video.
    found = await client_of.between(world.admin, "cam", BEGIN, BEGIN + s(190))
    assert sum(play.seconds for play in found.plays) == pytest.approx(190)
    heads = [sealing.Head.read((world.store / file.key).read_bytes()) for file in files]
    assert {head and head.id for head in heads} == {None, FIRST.id, SECOND.id}
    assert [part async for part in client_of.clip(world.admin, "cam", found.plays)]
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_damaged_file_harms_nothing_else(world: World, second: Sequence[Piece], tmp_path: Path) -> None:
    recorder = world.recorder(**{SETTING: key_file(tmp_path / "keys", FIRST)})
    await publish(world.admin, filmed(second, range(130)))
    world.library = Library(sealed(world.store, FIRST))
    files, _ = await world.until_recorded(120)
    place = world.store / files[0].key
    place.write_bytes(place.read_bytes()[:-1])
    found = await client_of.between(world.admin, "cam", BEGIN, BEGIN + s(120))
    last = next(play for play in reversed(found.plays) if play.file == files[0].key)
    with pytest.raises(Exception, match=rf"{files[0].key} can't be decrypted"):
        await client_of.group(world.admin, "cam", last)
    assert await client_of.group(world.admin, "cam", found.plays[-1])
    assert await recorder.end() == 0


# ---- reanalysis


def test_an_encrypted_store_is_reanalysed_by_its_path_alone(archive: Path, tmp_path: Path) -> None:
    async def encrypt() -> None:
        store = sealed(tmp_path / "recordings", FIRST)
        for path in archive.rglob("*.*"):
            if path.is_file():
                await store.put(path.relative_to(archive).as_posix(), [path.read_bytes()])

    asyncio.run(encrypt())
    file = key_file(tmp_path / "keys", FIRST)
    job, pieces = planned(tmp_path / "recordings", tmp_path / "out", key_file=file)
    plain, same = planned(archive, tmp_path / "out")
    assert pieces == same and file in msgspec.json.encode(job).decode()
    assert_silent(FIRST, msgspec.json.encode(job).decode(), repr(job))
    with open_recordings(job) as remaining, open_recordings(plain) as before:
        one, other = (decoding.read_piece(place, pieces[0], job, None) for place in (remaining, before))
        assert one.images and all((a == b).all() for a, b in zip(one.images, other.images, strict=True))
        place = tmp_path / "recordings" / pieces[0].file.key
        place.write_bytes(place.read_bytes()[:-1])
        failed = decoding.read_piece(remaining, pieces[0], job, None)
        assert all(part.failed and "can't be decrypted" in part.failed for part in failed.segments)
    with pytest.raises(StoreUnavailable, match=f"set {SETTING}"):
        planned(tmp_path / "recordings", tmp_path / "out")
    (tmp_path / "keys").unlink()
    with pytest.raises(SettingError, match="every machine that reads recordings needs it at this path"):
        open_recordings(job)
