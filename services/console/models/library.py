"""The measured models of the folder CONSOLE_MODELS, and the active one. All of its I/O runs in threads.

Example:
    library = Library(Path("/data/models"))
    found = await library.read()
    await library.use("yard", instead_of="street", before=record)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from services.console.web.refused import Refused
from shared.contract.names import check_token
from shared.models import measured
from shared.models.measured import StoredModel
from shared.runtime.errors import ModelError, SettingError

SHEET, SCALED_OBJECT = ".jpg", ".yaml"
# Models that the page lists.
MOST = 200
MOST_SHEET_BYTES = 8 * 1024 * 1024
_MOST_TEXT_BYTES = 64 * 1024
_JPEG = b"\xff\xd8\xff"
# A page waits this long for the fingerprint of large files, and shows the rest meanwhile.
PATIENCE_S = 2.0

# The expected fingerprint, and paths of files with their sizes and times.
_Seen = tuple[str, tuple[tuple[str, int, int], ...]]


class Found(NamedTuple):
    """A stored model. model: None if its file can't be read: `error` is why.

    is_checked: False while its files are read. warning: that they changed, or that one is missing. scaled_object: empty
    if it is not in the folder.
    """

    name: str
    model: StoredModel | None = None
    error: str = ""
    warning: str = ""
    is_checked: bool = True
    scaled_object: str = ""
    has_sheet: bool = False


class Models(NamedTuple):
    """active: its name, empty for the default. more: how many are not listed."""

    found: list[Found]
    active: str
    more: int


class Library:
    """See the module. folder: None if there is none here."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._changing = asyncio.Lock()
        self._checks: dict[str, tuple[_Seen, asyncio.Task[str]]] = {}

    async def read(self) -> Models:
        """Return the stored models by name. Raises SettingError if the folder can't be read."""
        if self.folder is None:
            return Models([], "", 0)
        found, active, more = await asyncio.to_thread(_read, self.folder)
        names = {one.name for one in found}
        self._checks = {name: check for name, check in self._checks.items() if name in names}
        return Models([await self._checked(one) for one in found], active, more)

    async def sheet(self, name: str) -> bytes:
        """Return the frames with boxes as JPEG. Raises Refused if there is none."""
        folder = self._folder()
        try:
            # A picture without its model is none of the page's.
            await asyncio.to_thread(_find, folder, name)
            data = await asyncio.to_thread(measured.read, measured.path_of(folder, name, SHEET), MOST_SHEET_BYTES)
        except (OSError, SettingError):
            data = b""
        if not data.startswith(_JPEG):
            raise Refused(404, f"there is no picture of the model {name[:64]!r}")
        return data

    async def use(self, name: str | None, *, instead_of: str, before: Callable[[], Awaitable[None]]) -> None:
        """Make a model the active one; None: the default.

        instead_of: the active one as the user sees it. before: called after all checks, before the change. Raises
        Refused for an unknown name, for another active model, and for changed or missing files.
        """
        folder = self._folder()
        async with self._changing:
            active = await asyncio.to_thread(measured.active_name, folder)
            if active != instead_of:
                now = f"the model {active[:64]!r}" if active else "the default"
                raise Refused(409, f"somebody else has chosen {now} meanwhile: look again, then choose")
            if name is not None:
                await asyncio.to_thread(_check, folder, name)
            await before()
            try:
                await asyncio.to_thread(measured.use, folder, name)
            except SettingError as e:
                raise Refused(503, f"nothing was changed: {e}") from e

    def _folder(self) -> Path:
        if self.folder is None:
            raise Refused(
                404,
                "this console has no measured models: 'tidegate up' gives it those of its data directory; "
                "elsewhere set CONSOLE_MODELS to their folder",
            )
        return self.folder

    async def _checked(self, found: Found) -> Found:
        """Add whether the model's files changed. Files with the same sizes and times are not read again."""
        if found.model is None or not found.model.files or found.warning:
            return found
        name, model = found.name, found.model
        seen = await asyncio.to_thread(_seen, model)
        known, task = self._checks.get(name, (None, None))
        if task is None or known != seen:
            task = asyncio.create_task(asyncio.to_thread(_changed, model))
            self._checks[name] = seen, task
        done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
        return found._replace(warning=task.result()) if done else found._replace(is_checked=False)


def _read(folder: Path) -> tuple[list[Found], str, int]:
    names = measured.names(folder)
    return [_found(folder, name) for name in names[:MOST]], measured.active_name(folder), max(0, len(names) - MOST)


def _found(folder: Path, name: str) -> Found:
    try:
        model = measured.find(folder, name)
    except SettingError as e:
        return Found(name, error=str(e))
    return Found(
        name,
        model,
        warning=model.missing,
        scaled_object=_text(folder, name),
        has_sheet=measured.path_of(folder, name, SHEET).is_file(),
    )


def _text(folder: Path, name: str) -> str:
    try:
        data = measured.read(measured.path_of(folder, name, SCALED_OBJECT), _MOST_TEXT_BYTES)
    except OSError:
        return ""
    return data.decode(errors="replace")


def _find(folder: Path, name: str) -> StoredModel:
    check_token(name, "model name")
    if name not in measured.names(folder):
        raise Refused(404, f"no model is called {name!r}: it may have been removed meanwhile")
    return measured.find(folder, name)


def _check(folder: Path, name: str) -> None:
    """Raises Refused if a model can't become the active one."""
    try:
        changed = _find(folder, name).changed
    except (SettingError, ModelError) as e:
        raise Refused(409, str(e)) from e
    if changed:
        raise Refused(409, changed)


def _seen(model: StoredModel) -> _Seen:
    try:
        stats = [(str(path), path.stat()) for path in measured.files_of(model.files)]
    except OSError:
        stats = []
    return model.fingerprint, tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def _changed(model: StoredModel) -> str:
    try:
        return model.changed
    except (SettingError, ModelError) as e:
        return str(e)
