"""The file of keys that recordings are encrypted with: the first key encrypts, and all of them decrypt.

    keys = read(Path("recordings.key"), "RECORDER_KEY_FILE")
    write(path, text_of([Secret.new(), *keys.all]))               # rotation: a new key before the existing ones

One key a line, 256 random bits in base64; `#` begins a comment. With the line `encrypted-only` plain data is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from shared.runtime import install
from shared.runtime.errors import SettingError

SIZE = 32
ONLY = "encrypted-only"
ID_SIZE = 8
# Forbidden mode bits: all of others, and group write. Kubernetes gives Secrets to a pod by its group.
_OTHERS = 0o027
_MOST = 64 * 1024
_WORDS = "# Keys of recordings: the first encrypts, all decrypt. Whoever loses them loses the recordings.\n"


class Secret:
    """A key. id: identifies it, and reveals nothing about it."""

    __slots__ = ("bytes", "id")

    def __init__(self, data: bytes) -> None:
        """data: SIZE bytes."""
        self.bytes = data
        self.id = hashlib.sha256(b"id of a key of recordings" + data).digest()[:ID_SIZE]

    @classmethod
    def new(cls) -> Secret:
        return cls(secrets.token_bytes(SIZE))

    def __repr__(self) -> str:
        return f"Secret({self.id.hex()})"


class Keys(NamedTuple):
    """all: at least one, the first of which encrypts. only: whether plain data is refused."""

    all: tuple[Secret, ...]
    only: bool = False

    def find(self, id: bytes) -> Secret | None:
        return next((secret for secret in self.all if secret.id == id), None)


def read(path: Path, setting: str) -> Keys:
    """Read a file of keys. Raises SettingError, which names the setting and quotes nothing of the file."""
    named = f"{setting}={path}"
    try:
        # Non-blocking: opening a pipe would wait for a writer.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            stat = os.fstat(file)
            if not S_ISREG(stat.st_mode):
                raise SettingError(f"{named} is no file: give the path of a file of keys")
            if stat.st_mode & _OTHERS:
                raise SettingError(f"{named} can be read or changed by others: chmod 600 {path}")
            text = os.read(file, _MOST + 1)
        finally:
            os.close(file)
    except OSError as e:
        raise SettingError(
            f"{named} can't be read: {e.strerror}. 'tidegate recordings key' makes one; a lost one is in a backup, "
            "and every machine that reads recordings needs it at this path"
        ) from e
    return parse(text, named)


def parse(text: bytes, named: str) -> Keys:
    """Parse a file's text. named: the file, for errors. Raises SettingError."""
    lines = [(n, line.strip()) for n, line in enumerate(text[:_MOST].splitlines(), 1)]
    entries = [(n, line) for n, line in lines if line and not line.startswith(b"#")]
    found = [_secret(line, f"{named}, line {n}") for n, line in entries if line != ONLY.encode()]
    if not found or len(text) > _MOST:
        raise SettingError(f"{named} has no key, or is too long: make one by 'tidegate recordings key'")
    return Keys(tuple(found), only=len(found) < len(entries))


def text_of(keys: Keys) -> str:
    lines = [base64.urlsafe_b64encode(secret.bytes).decode() for secret in keys.all]
    return _WORDS + "".join(f"{line}\n" for line in [*([ONLY] if keys.only else []), *lines])


def _secret(line: bytes, named: str) -> Secret:
    try:
        data = base64.b64decode(line, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != SIZE:
        # Not `from` the error, which may contain the line.
        raise SettingError(f"{named} is no key: 'tidegate recordings key' makes lines of {SIZE} bytes in base64")
    return Secret(data)


def check_installed(setting: str) -> None:
    """Raise SettingError if the cryptography package is missing."""
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as e:
        raise SettingError(f"{setting} needs cryptography: {install.command('recorder')}") from e
