"""The passwords of users: plain in a file each, for their owner alone, and hashed for the server.

The server's configuration is read by more programs than it should, and copied; nobody can connect with what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from shared.contract import identities, ids
from shared.runtime.errors import BusError
from tidegate.local.encryption import write_private

# bcrypt's least: the cost slows guessing down, and nobody guesses 192 random bits. The server pays it at each connect.
COST = 4


def kept(folder: Path, users: Iterable[str]) -> dict[str, str]:
    """The password of each user, from the folder's files; those that are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    # Also one that a backup was unpacked into, for all to read.
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
    """Forget a password, for `kept` to make another. The first goes on making the ids of what the user stores."""
    path, key = folder / user, folder / f"{user}{ids.KEY_FILE}"
    if path.exists() and not key.exists():
        write_private(key, path.read_text())
    path.unlink(missing_ok=True)


def hashed(passwords: Mapping[str, str]) -> dict[str, str]:
    """By bcrypt, each with a salt of its own, as nats-server's configuration takes them. Raises BusError."""
    return {user: _hashed(user, password) for user, password in passwords.items()}


@cache
def _hashed(user: str, password: str) -> str:
    """The same each time in a process: a configuration that says the same need not be written, as on a full disk."""
    try:
        import bcrypt
    except ImportError as e:
        raise BusError("bcrypt is not installed: pip install 'tidegate[server]'") from e
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()
