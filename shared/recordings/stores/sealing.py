"""Encrypts an object in chunks, any of which can be read alone. Pure, but for random bits.

    data = b"".join(seal(secret, "lobby/2026-11-29/10/index.json", parts))
    head = Head.read(data)                                  # None: it is not encrypted
    plain = open_chunks(secret, path, head, data[head.place(0):], first=0)

Each object has a key of its own, derived (HKDF-SHA256) from the secret, 256 random bits and the object's path. Each
chunk is AES-256-GCM under it, with its number as nonce, and bound to the head, which has the object's size. So a chunk
that is another object's, out of place, changed or missing is an error. An earlier version of an object, under the same
path, passes for it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from shared.recordings.records import Unreadable
from shared.recordings.store import Bytes
from shared.recordings.stores.keys import ID_SIZE, Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# No JSON and no MP4 begins like this, even with one bit flipped.
MAGIC = b"\x89TGS\x00\r\n\x1a"
VERSION = 1
CHUNK = 64 * 1024
TAG = 16
_SALT = 32
# The fields, a checksum that distinguishes damage from another key, and a tag that detects forgery.
_HEAD = struct.Struct(f">{len(MAGIC)}sB{ID_SIZE}s{_SALT}sQ")
_SUM = struct.Struct(">I")
HEAD = _HEAD.size + _SUM.size + TAG
_OF_HEAD = 2**96 - 1


class Head(NamedTuple):
    """The head of an object. raw: its bytes. id: of the secret. size: plain bytes."""

    raw: bytes
    version: int
    id: bytes
    salt: bytes
    size: int

    @classmethod
    def read(cls, data: bytes) -> Head | None:
        """Parse at least an object's first HEAD bytes. None: it is not sealed. Raises Unreadable."""
        if not data.startswith(MAGIC):
            return None
        raw = data[:HEAD]
        if len(raw) < HEAD or zlib.crc32(raw[: _HEAD.size]) != _SUM.unpack_from(raw, _HEAD.size)[0]:
            raise Unreadable("what says how it is encrypted is damaged")
        _, version, id, salt, size = _HEAD.unpack_from(raw)
        return cls(raw, version, id, salt, size)

    @property
    def chunks(self) -> int:
        return -(-self.size // CHUNK)

    @property
    def whole(self) -> int:
        """Bytes of the sealed object."""
        return HEAD + self.size + self.chunks * TAG

    def place(self, chunk: int) -> int:
        """Return the offset of a chunk."""
        return min(self.whole, HEAD + chunk * (CHUNK + TAG))


def seal(secret: Secret, path: str, parts: Sequence[Bytes]) -> Iterator[bytes]:
    """Yield the sealed object of these concatenated bytes, in parts."""
    salt, size = os.urandom(_SALT), sum(memoryview(part).nbytes for part in parts)
    header = _HEAD.pack(MAGIC, VERSION, secret.id, salt, size)
    header += _SUM.pack(zlib.crc32(header))
    cipher = _cipher(secret, salt, path)
    head = header + cipher.encrypt(_nonce(_OF_HEAD), b"", header)
    yield head
    for n, chunk in enumerate(_chunks(parts)):
        yield cipher.encrypt(_nonce(n), chunk, head)


def check_head(secret: Secret, path: str, head: Head) -> None:
    """Raise Unreadable if a head was not sealed for this path."""
    _opened(_cipher(secret, head.salt, path), _OF_HEAD, head.raw[-TAG:], head.raw[:-TAG])


def open_chunks(secret: Secret, path: str, head: Head, data: Bytes, first: int) -> bytes:
    """Return the plain bytes of consecutive whole chunks. first: the number of the first. Raises Unreadable."""
    cipher, view = _cipher(secret, head.salt, path), memoryview(data)
    begins = range(0, len(view), CHUNK + TAG)
    return b"".join(_opened(cipher, first + n, view[at : at + CHUNK + TAG], head.raw) for n, at in enumerate(begins))


def _opened(cipher: AESGCM, number: int, data: Bytes, about: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(_nonce(number), data, about)
    except (InvalidTag, ValueError) as e:
        raise Unreadable("it is not what was encrypted: damaged, or put there by somebody") from e


def _chunks(parts: Sequence[Bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of CHUNK, and the rest."""
    row, room = list[memoryview](), CHUNK
    for part in parts:
        left = memoryview(part).cast("B")
        while len(left) >= room:
            yield b"".join((*row, left[:room]))
            left = left[room:]
            row, room = [], CHUNK
        if len(left):
            row.append(left)
            room -= len(left)
    if row:
        yield b"".join(row)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _cipher(secret: Secret, salt: bytes, path: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(SHA256(), 32, salt, b"tidegate recordings 1\0" + path.encode()).derive(secret.bytes))
