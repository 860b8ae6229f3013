"""The passwords of users: one plain file each, for their owner alone, and hashed for the server.

The server's configuration may be read by many programs, and copied; its content gives no access.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from shared.contract import ids
from shared.contract.rights import identities
from shared.runtime import install
from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private

# bcrypt's minimum: the cost slows guessing, and 192 random bits can't be guessed. The server pays it at each connect.
COST = 4


def ensure(folder: Path, users: Iterable[str]) -> dict[str, str]:
    """Return the password of each user, from the folder's files; create missing ones."""
    folder.mkdir(parents=True, exist_ok=True)
    # Also for a folder that was restored from a backup, readable for all.
    folder.chmod(0o700)
    if not (folder / ".gitignore").exists():
        write_private(folder / ".gitignore", "# Passwords are for no repository.\n*\n")
    passwords = identities.new_passwords(users)
    for user, fresh in passwords.items():
        path = folder / user
        if path.exists():
            passwords[user] = path.read_text()
        else:
            write_private(path, fresh)
    return passwords


def discard(folder: Path, user: str) -> None:
    """Delete a password, so that `ensure` creates another. The first one still makes the ids of the user's messages."""
    path, key = folder / user, folder / f"{user}{ids.KEY_FILE}"
    if path.exists() and not key.exists():
        write_private(key, path.read_text())
    path.unlink(missing_ok=True)


def hashed(passwords: Mapping[str, str]) -> dict[str, str]:
    """Hash by bcrypt, each with its own salt, for nats-server's configuration. Raises SettingError."""
    return {user: _hashed(user, password) for user, password in passwords.items()}


@cache
def _hashed(user: str, password: str) -> str:
    """Hash once per process: an unchanged configuration need not be written, as on a full disk."""
    try:
        import bcrypt
    except ImportError as e:
        raise SettingError(f"bcrypt is not installed: {install.command('server')}") from e
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()
