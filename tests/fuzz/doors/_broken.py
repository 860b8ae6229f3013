"""Doors with faults, by which the tool is tested. They are tried where they are named alone."""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fuzz.child import TRIES
from tests.fuzz.door import MB, Door
from tests.fuzz.spoil import Others

FAULT = 1


def _door(name: str, then: Callable[[], Any], **more: Any) -> Door:
    def call(data: bytes) -> None:
        if data[0] == FAULT:
            then()

    return Door(f"_broken.{name}", lambda: [b"!"], call, (ValueError,), _either, **more)


def _either(dice: random.Random, data: bytes, others: Others) -> bytes:
    return bytes([dice.randrange(2)])


def _spin(times: list[float]) -> None:
    """For each of the times once."""
    end = time.process_time() + (times.pop() if times else 0)
    while time.process_time() < end:
        pass


def _fail() -> None:
    raise KeyError("a fault")


DOORS = (
    _door("sound", lambda: None),
    _door("refusing", lambda: int("x")),
    _door("failing", _fail),
    _door("crashing", lambda: ctypes.string_at(0)),
    _door("exiting", lambda: os._exit(0)),
    _door("slow", partial(_spin, [1.5] * TRIES)),
    _door("slow-once", partial(_spin, [1.5])),
    _door("large", lambda: b"x" * (64 * MB), most_bytes=32 * MB),
)
