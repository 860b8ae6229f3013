"""Makes hostile input of good input: bytes, JSON, MP4, and messages with headers. Pure, but for its dice."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Others: TypeAlias = Sequence[bytes]
Spoil: TypeAlias = Callable[[random.Random, bytes, Others], bytes]
# The most bytes of an input: the doors' own limits are below it, and the default limit of NATS is a megabyte.
MOST = 96 * 1024

_TOKENS = (
    b"\x00",
    b"\xff",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\t",
    b" ",
    b"://",
    b"@",
    b"/",
    b"?",
    b"&pass=",
    b"user=",
    b":",
    b",",
    b"'",
    b'"',
    b"`",
    b"\\",
    b"[" * 2000,
    b'{"a":' * 2000,
    b"-",
    b"1e999",
    b"-1",
    b"9" * 25,
    b"9" * 5000,
    b"NaN",
    b"Infinity",
    b"0x",
    b"null",
    b"true",
    b"~",
    b"!!",
    b"&a",
    b"*a",
    b"%s%n",
    b"%00",
    b"{0}",
    b"\x1b[2J",
    "\u0664".encode(),
    "\u00b2".encode(),
    "\u202e".encode(),
    "\U0010ffff".encode(),
    b"rtsp://a:b@[::1",
    b"2026-11-24T13:00:00Z",
    b"0001-01-01T00:00:00+14:00",
    b"9999-12-31T23:59:59.999999-14:00",
)
_TEXTS = (
    "",
    "\x00",
    "a" * 70,
    "a" * 5000,
    "\ud800",
    "\u0000\u001f",
    "\U0010ffff",
    "é" * 300,
    "a.b",
    "a b",
    "*",
    ">",
    "..",
    "lobby\n",
    "9" * 400,
    "9" * 5000,
    "1e400",
    "-0",
    "NaN",
    "inf",
    "0x10",
    "1_000",
    "\u0661",
    "\u00b2",
    "https://[",
    "rtsp://u:p@h/",
    "file:///",
    "a@b://" * 40,
    "%" * 99,
    "{" * 99,
    "[/x]",
    "[bold]",
    "$JS.API.>",
    "'; drop",
    "../../../etc/passwd",
    "22:00",
    "24:00",
    "7:5",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "2026-11-24T13:00:00",
    "2026-11-24T13:00:00Z",
    "1969-12-31T23:59:59Z",
    "2026-02-30T00:00:00Z",
)
_NUMBERS = (
    0,
    -1,
    1,
    2,
    127,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**19,
    10**30,
    -(2**63),
    -(2**63) - 1,
    0.0,
    -0.0,
    0.5,
    1.0000001,
    1e-320,
    1e19,
    1e300,
    1.7e308,
    -1e308,
    1e-7,
)


def any_bytes(dice: random.Random, data: bytes, others: Others) -> bytes:
    """One to eight changes of what may be any bytes."""
    spoilt = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        dice.choice(_CHANGES)(dice, spoilt, others)
    return bytes(spoilt[:MOST])


def as_json(dice: random.Random, data: bytes, others: Others) -> bytes:
    """Another value somewhere in a JSON document; now and then its bytes are changed too."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return any_bytes(dice, data, others)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 5))):
        tree = _change_json(dice, tree)
    out = json.dumps(tree, ensure_ascii=dice.random() < 0.8).encode(errors="surrogatepass")
    return (any_bytes(dice, out, others) if dice.random() < 0.15 else out)[:MOST]


def as_mp4(dice: random.Random, data: bytes, others: Others) -> bytes:
    """A box of another size or kind, fields of other values, boxes lost and doubled; and changed bytes of video."""
    spoilt = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 3, 5))):
        boxes = list(_boxes(spoilt, 0, len(spoilt)))
        if not boxes or dice.random() < 0.3:
            dice.choice(_CHANGES)(dice, spoilt, others)
            continue
        at, size = dice.choice(boxes)
        _change_box(dice, spoilt, at, size)
    return bytes(spoilt[:MOST])


def message(
    payload: Callable[[random.Random, bytes, Others], bytes],
) -> Callable[[random.Random, bytes, Others], bytes]:
    """The same of a message as `wire` writes it: its subject, its headers, or its payload by a function of its own."""

    def spoil(dice: random.Random, data: bytes, others: Others) -> bytes:
        subject, lines, body = read_wire(data)
        which = dice.random()
        if which < 0.05:
            return any_bytes(dice, data, others)
        if which < 0.15:
            subject = any_bytes(dice, subject, ()).replace(b"\n", b"")
        elif which < 0.5 and lines:
            lines = _change_lines(dice, lines)
        else:
            body = payload(dice, body, [read_wire(other)[2] for other in others])
        return wire(subject, lines, body)

    return spoil


def wire(subject: bytes, lines: Sequence[bytes], payload: bytes) -> bytes:
    """A message as one file: its subject, its headers and an empty line, its payload."""
    return b"\n".join([subject, *(line.replace(b"\n", b" ") for line in lines if line), b"", payload])


def read_wire(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """(subject, lines of headers, payload)."""
    head, _, payload = data.partition(b"\n\n")
    subject, *lines = head.split(b"\n")
    return subject, lines, payload


def lines(dice: random.Random, data: bytes, others: Others) -> bytes:
    """A protocol of lines, such as RTSP and HTTP: lines lost, doubled, swapped, and made endless; and changed bytes."""
    if dice.random() < 0.4:
        return any_bytes(dice, data, others)
    return b"\r\n".join(_change_lines(dice, data.split(b"\r\n")))[:MOST]


# ---- bytes


def _span(dice: random.Random, data: bytearray) -> tuple[int, int]:
    begin = dice.randrange(len(data) + 1)
    return begin, min(len(data), begin + dice.choice((1, 1, 2, 4, 4, 8, 16, 64, 256, 4096)))


def _flip(dice: random.Random, data: bytearray, _: Others) -> None:
    for _n in range(dice.choice((1, 1, 2, 8))):
        if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _set(dice: random.Random, data: bytearray, _: Others) -> None:
    begin, end = _span(dice, data)
    data[begin:end] = dice.randbytes(end - begin)


def _field(dice: random.Random, data: bytearray, _: Others) -> None:
    begin = dice.randrange(len(data) + 1)
    kind = dice.choice(("B", ">H", "<H", ">I", "<I", ">Q"))
    size = struct.calcsize(kind)
    value = dice.choice((0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
    data[begin : begin + size] = struct.pack(kind, value % 2 ** (8 * size))


def _lose(dice: random.Random, data: bytearray, _: Others) -> None:
    begin, end = _span(dice, data)
    del data[begin:end]


def _double(dice: random.Random, data: bytearray, _: Others) -> None:
    begin, end = _span(dice, data)
    many = dice.choice((1, 1, 2, 3, 16, 1000))
    data[begin:begin] = (data[begin:end] * many)[: max(0, MOST - len(data))]


def _cut(dice: random.Random, data: bytearray, _: Others) -> None:
    del data[dice.randrange(len(data) + 1) :]


def _token(dice: random.Random, data: bytearray, _: Others) -> None:
    begin, end = _span(dice, data)
    data[begin : end if dice.random() < 0.5 else begin] = dice.choice(_TOKENS) * dice.choice((1, 1, 1, 2, 50))


def _splice(dice: random.Random, data: bytearray, others: Others) -> None:
    other = dice.choice(others) if others else b""
    begin, end = _span(dice, data)
    start = dice.randrange(len(other) + 1)
    data[begin:end] = other[start : start + dice.choice((4, 64, 1024, MOST))]


_CHANGES = (_flip, _flip, _set, _field, _lose, _double, _cut, _token, _token, _splice)


# ---- JSON


def _change_json(dice: random.Random, tree: Any) -> Any:
    """The tree with one node changed, at any depth."""
    if isinstance(tree, (dict, list)) and tree and dice.random() < 0.85:
        key = dice.choice(list(tree)) if isinstance(tree, dict) else dice.randrange(len(tree))
        which = dice.random()
        if which < 0.7:
            tree[key] = _change_json(dice, tree[key])
        elif which < 0.8:
            del tree[key]
        elif isinstance(tree, dict):
            tree[dice.choice((*_TEXTS, key + "s", key.upper()))] = tree[key]
        else:
            tree[key:key] = [tree[key]] * dice.choice((1, 2, 100))
        return tree
    return _value(dice, tree)


def _value(dice: random.Random, old: Any) -> Any:
    which = dice.random()
    if isinstance(old, str) and which < 0.4:
        return dice.choice((*_TEXTS, old + dice.choice(_TEXTS), old * 40, old[: len(old) // 2], old.upper()))
    if isinstance(old, (int, float)) and not isinstance(old, bool) and which < 0.6:
        return dice.choice((*_NUMBERS, -old, old * 1e6, old + 1, old / 3, float("nan"), float("inf")))
    if which < 0.7:
        return dice.choice(_TEXTS)
    if which < 0.85:
        return dice.choice(_NUMBERS)
    return dice.choice((None, True, False, [], {}, [old], {"a": old}, [old] * 300, [[[[[[]]]]]], {"": None}))


# ---- lines


def _change_lines(dice: random.Random, lines: Sequence[bytes]) -> list[bytes]:
    changed = list(lines)
    for _ in range(dice.choice((1, 1, 2, 3))):
        n = dice.randrange(len(changed)) if changed else 0
        which = dice.random()
        if not changed or which < 0.1:
            changed.insert(n, dice.choice(_TOKENS))
        elif which < 0.25:
            del changed[n]
        elif which < 0.35:
            changed[n:n] = [changed[n]] * dice.choice((1, 2, 200))
        elif which < 0.45:
            changed[n], changed[-1] = changed[-1], changed[n]
        else:
            name, colon, value = changed[n].partition(b":")
            new = dice.choice(
                (any_bytes(dice, value, ()), b" " + _text(dice), b" " + str(dice.choice(_NUMBERS)).encode())
            )
            changed[n] = name + (colon or b":") + new
    return changed


def _text(dice: random.Random) -> bytes:
    return dice.choice(_TEXTS).encode(errors="surrogatepass")


# ---- MP4

_KINDS = (b"free", b"moov", b"mdat", b"stsd", b"tkhd", b"uuid", b"meta", b"hev1", b"avc1")
_FIELDS = (0, 1, 2, 255, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1)
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"dinf", b"edts", b"udta"}


def _boxes(data: bytearray, at: int, end: int) -> Any:
    """(offset, size) of every box, those within others too."""
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > end:
            return
        yield at, size
        if bytes(data[at + 4 : at + 8]) in _CONTAINERS:
            yield from _boxes(data, at + 8, at + size)
        at += size


def _change_box(dice: random.Random, data: bytearray, at: int, size: int) -> None:
    which = dice.random()
    if which < 0.15:
        del data[at : at + size]
    elif which < 0.3:
        data[at:at] = data[at : at + size]
    elif which < 0.45:
        data[at : at + 4] = struct.pack(
            ">I", dice.choice((0, 1, 7, 8, size - 1, size + 1, size * 2, 2**31, 2**32 - 1)) % 2**32
        )
    elif which < 0.5:
        data[at + 4 : at + 8] = dice.choice(
            (b"free", b"moov", b"mdat", b"stsd", b"tkhd", b"uuid", b"meta", b"hev1", b"avc1")
        )
    else:
        field = at + 8 + 4 * dice.randrange(max(1, (size - 8) // 4))
        data[field : field + 4] = struct.pack(
            ">I", dice.choice((0, 1, 2, 255, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1))
        )
