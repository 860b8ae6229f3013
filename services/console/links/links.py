"""A connection for each role: the console acts for a user with the rights of their role."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import nats.errors

from services.console.settings import ConsoleSettings
from services.console.web.asker import ROLES, Role
from shared import bus
from shared.bus.client import Connection
from shared.runtime.errors import SettingError


class Links:
    """The roles' connections. own: the console's own connection."""

    def __init__(self, settings: ConsoleSettings, own: Connection) -> None:
        self.own = own
        self._settings = settings
        self._of: dict[Role, Connection] = {}

    @property
    def viewer(self) -> Connection:
        return self._of["viewer"]

    @property
    def operator(self) -> Connection:
        return self._of["operator"]

    @property
    def admin(self) -> Connection:
        return self._of["admin"]

    @property
    def are_connected(self) -> bool:
        return self.own.is_connected and all(client.is_connected for client in self._of.values())

    async def __aenter__(self) -> Links:
        try:
            for role in ROLES:
                self._of[role] = await bus.connect(_settings(self._settings, role), f"console-{role}")
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        for client in self._of.values():
            with contextlib.suppress(OSError, TimeoutError, nats.errors.Error, asyncio.CancelledError):
                await client.close()


def _settings(s: ConsoleSettings, role: Role) -> ConsoleSettings:
    """Return the settings of a role's connection: all the same if the server needs no password. Raises SettingError."""
    if not s.nats_user:
        return s
    folder = s.console_passwords or (str(Path(s.nats_password_file).parent) if s.nats_password_file else "")
    user = f"{s.nats_user}-{role}"
    # A tenant's users have its name as prefix; files that are mounted alone may lack it.
    path = next((p for p in (Path(folder) / user, Path(folder) / f"console-{role}") if p.is_file()), None)
    if not folder or path is None:
        where = (
            f"there is no {Path(folder) / user}"
            if folder
            else "neither CONSOLE_PASSWORDS nor NATS_PASSWORD_FILE is set"
        )
        raise SettingError(f"the password of {user} is missing ({where}): set CONSOLE_PASSWORDS to the folder with it")
    return msgspec.structs.replace(
        s, nats_user=user, nats_password=path.read_text().strip(), nats_password_file=str(path), nats_msg_id_key=""
    )
