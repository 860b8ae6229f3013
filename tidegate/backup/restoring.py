"""The way back: a backup's entries and messages into a server, and its files into a data directory.

Every step may be repeated: an entry that is there stays, files move when all are there, and streams go on after the
last restored message. So a second run completes one that was interrupted.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
from nats.aio.client import Client

from shared import bus
from shared.client import registry, secret_entries
from shared.contract import cameras, credentials, names
from shared.contract.reading.entries import entries as stored_entries
from shared.models import measured
from shared.runtime import lock
from shared.runtime.errors import SettingError
from tidegate.backup import entries, scope, streams
from tidegate.backup.contents import Contents, opened
from tidegate.backup.folder import Stage
from tidegate.backup.records import Entry, Message, Piece
from tidegate.local import tenants
from tidegate.local.server import NatsServer

_MOST_LINES = 100
Tell = Callable[[str], None]
# Called with what would be replaced; raises SettingError if it must not be.
Confirm = Callable[[list[str]], None]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A checked backup. key: the file with its key. replace: whether entries that it does not have are removed."""

    file: Path
    key: Path | None
    contents: Contents
    replace: bool = False


class Restored(msgspec.Struct, kw_only=True):
    """entries: restored ones by bucket. lines: what people must know."""

    entries: dict[str, int] = {}
    messages: int = 0
    files: dict[str, int] = {}
    lines: list[str] = []
    more: int = 0

    def say(self, line: str) -> None:
        """Add a line; of very many, count those beyond _MOST_LINES."""
        if len(self.lines) < _MOST_LINES:
            self.lines.append(line)
        else:
            self.more += 1


async def restore_here(data: Path, source: Source, confirm: Confirm, tell: Tell) -> Restored:
    """Restore into a data directory on which nothing runs. Raises SettingError, BusError and OSError."""
    taken = f"'tidegate up' runs on {data}: stop it, and run this again; a server takes passwords at its start"
    with contextlib.closing(lock.acquire(data / "lock", taken)):
        _check_room(data, source.contents)
        if (data / "jetstream").exists():
            async with _running(data) as client:
                confirm(await replaced(client, source.contents))
        done = Restored()
        if source.contents.header.here:
            done.files = _restore_files(data, source, tell)
        tell("starting nats-server")
        async with _running(data, set_up=True) as client:
            await _restore(client, source, done, tell)
        done.lines += _missing_models(data)
        return done


async def restore_into(client: Client, source: Source, confirm: Confirm, tell: Tell) -> Restored:
    """Restore into a server elsewhere, which `tidegate setup` has prepared. client: of admin. Raises as above."""
    confirm(await replaced(client, source.contents))
    done = Restored()
    await _restore(client, source, done, tell)
    if source.contents.header.here:
        done.lines.append("files of the data directory are not restored, as NATS_URL names a server elsewhere")
    return done


async def replaced(client: Client, contents: Contents) -> list[str]:
    """Return the cameras of the server that differ from those of the backup, or that it does not have.

    None differ after an interrupted restore. Raises BusError.
    """
    there = {
        id: entries.camera_of(value)
        for id, value in (await stored_entries(client.jetstream(), names.CAMERAS)).items()
        if not names.is_removed(id)
    }
    return sorted(id for id, camera in there.items() if camera is None or contents.cameras.get(id) != camera)


@contextlib.asynccontextmanager
async def _running(data: Path, *, set_up: bool = False) -> AsyncIterator[Client]:
    """Run the server of a data directory, and connect as admin. set_up: also create its streams and buckets."""
    async with NatsServer(data) as server:
        client = await bus.connect(server.settings("admin"), "admin")
        try:
            if set_up or not await _has_cameras(client):
                await server.set_up(client)
            yield client
        finally:
            await client.close()


async def _has_cameras(client: Client) -> bool:
    return any(info.config.name == f"KV_{names.CAMERAS}" for info in await client.jetstream().streams_info())


def _check_room(data: Path, contents: Contents) -> None:
    free = shutil.disk_usage(data).free
    if contents.files_bytes > free:
        raise SettingError(
            f"the files of the backup take {contents.files_bytes} bytes, and {free} are free at {data}: free some, or "
            "choose a folder on another disk with --data. Nothing was changed"
        )


def _restore_files(data: Path, source: Source, tell: Tell) -> dict[str, int]:
    """Move the files of the backup to their places, once all are there and the server will take its tenants."""
    stage = Stage(data)
    try:
        with opened(source.file, source.key) as reader:
            for record in reader.records():
                if isinstance(record, Piece) and _is_wanted(record.path):
                    tell(f"files: {record.path}")
                    stage.add(record)
        tenants.read(stage.folder / scope.SECRETS)
    except BaseException:
        stage.discard()
        raise
    return stage.place()


def _is_wanted(path: str) -> bool:
    """Return whether a file is restored: nothing in a backup replaces the store's key or the server's configuration."""
    folder, _, name = path.partition("/")
    return folder == scope.INDEX or ("/" not in name and (folder != scope.SECRETS or scope.has_secret(name)))


async def _restore(client: Client, source: Source, done: Restored, tell: Tell) -> None:
    """Restore streams and then entries, in the order of the file."""
    js, contents = client.jetstream(), source.contents
    done.lines += contents.notes
    done.lines += await streams.lift(js, contents.positions)
    restorer = streams.Restorer(client, contents.header.id, contents.positions)
    into = _Buckets(client, done)
    with opened(source.file, source.key) as reader:
        for record in reader.records():
            if isinstance(record, Message):
                await restorer.add(record)
                tell(f"{record.stream}: {restorer.count} messages")
            elif isinstance(record, Entry):
                tell(f"bucket {record.bucket}")
                await into.add(record)
    await restorer.flush()
    if restorer.event_seq:
        tell("consumers of EVENTS")
        await streams.skip_restored(client, restorer.event_seq)
    await into.finish()
    if source.replace:
        await into.remove_others(passwords=contents.header.passwords)
    done.messages = restorer.count
    done.lines += [f"{stream} is the stream that was backed up: it stays as it is" for stream in sorted(restorer.same)]
    if restorer.left_out:
        done.lines.append(f"{restorer.left_out} messages are left out: the server does not take them")


class _Buckets:
    """Writes entries of buckets. Cameras and credentials are written last, as pairs."""

    def __init__(self, client: Client, done: Restored) -> None:
        self._js = client.jetstream()
        self._done = done
        self._there: dict[str, dict[str, bytes]] = {}
        self._restored: dict[str, set[str]] = {}
        self._cameras: dict[str, bytes] = {}
        self._credentials: dict[str, bytes] = {}

    async def add(self, entry: Entry) -> None:
        """Write an entry that is valid and differs. Raises BusError."""
        if not await self._is_valid(entry):
            return
        self._restored.setdefault(entry.bucket, set()).add(entry.key)
        if entry.bucket == names.CAMERAS:
            self._cameras[entry.key] = entry.value
        elif entry.bucket == names.CREDENTIALS:
            self._credentials[entry.key] = entry.value
        else:
            await self._put(entry)

    async def _is_valid(self, entry: Entry) -> bool:
        try:
            entries.check(entry.bucket, entry.key, entry.value)
            return True
        except SettingError as e:
            self._done.say(f"{entry.bucket} {entry.key} is left out: {e}")
            return False

    async def _put(self, entry: Entry) -> None:
        if entry.bucket not in self._there:
            self._there[entry.bucket] = await stored_entries(self._js, entry.bucket)
        ttl_s = entries.ttl_s(entry.bucket, entry.key, entry.value)
        if ttl_s is not None and ttl_s < 1:
            return
        self._count(entry.bucket)
        if self._there[entry.bucket].get(entry.key) == entry.value:
            return
        if entry.bucket in secret_entries.BUCKETS:
            await secret_entries.write(self._js, entry.bucket, entry.key, entry.value)
        else:
            await self._js.publish(f"$KV.{entry.bucket}.{entry.key}", entry.value, msg_ttl=ttl_s and int(ttl_s))

    async def finish(self) -> None:
        """Write cameras, each after its credentials. Raises BusError."""
        stored = await stored_entries(self._js, names.CAMERAS)
        secrets = await stored_entries(self._js, names.CREDENTIALS)
        for id, value in self._cameras.items():
            camera, entry = cameras.decode(value), self._credentials.get(id)
            has = credentials.decode(entry) if entry else None
            self._count(names.CAMERAS)
            if has:
                self._count(names.CREDENTIALS)
            is_same = id in stored and entries.camera_of(stored[id]) == camera
            if not is_same or (has and (id not in secrets or credentials.decode(secrets[id]) != has)):
                await registry.restore(self._js, id, camera, has)

    async def remove_others(self, *, passwords: bool) -> None:
        """Remove the entries that the backup does not have. passwords: whether it has those. Raises BusError."""
        for id in await stored_entries(self._js, names.CAMERAS):
            if not names.is_removed(id) and id not in self._cameras:
                await registry.remove(self._js, id)
        for bucket in scope.buckets(passwords=passwords):
            if bucket in (names.CAMERAS, names.CREDENTIALS):
                continue
            for key in await stored_entries(self._js, bucket):
                if key not in self._restored.get(bucket, ()) and entries.is_taken(bucket, key, passwords=passwords):
                    await self._delete(bucket, key)

    async def _delete(self, bucket: str, key: str) -> None:
        if bucket in secret_entries.BUCKETS:
            await secret_entries.write(self._js, bucket, key, None)
        else:
            await (await self._js.key_value(bucket)).delete(key)

    def _count(self, bucket: str) -> None:
        self._done.entries[bucket] = self._done.entries.get(bucket, 0) + 1


def _missing_models(data: Path) -> list[str]:
    """Return a line if files of the active model are not on this machine."""
    try:
        active = measured.active(data / measured.FOLDER)
    except SettingError as e:
        return [str(e)]
    missing = [path for path in active.files if not Path(path).exists()] if active else []
    if not active or not missing:
        return []
    return [
        f"the active model {active.name} needs {', '.join(missing[:5])}, which is in no backup: copy it there, or "
        f"'{measured.DEFAULT}' goes back"
    ]
