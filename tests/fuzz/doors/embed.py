"""The doors of embed: texts."""

from __future__ import annotations

from services.embed.queries import _text
from shared.runtime.errors import Refusal
from tests.fuzz import good, spoil
from tests.fuzz.door import Door
from tests.fuzz.refusal import refused

DOORS = (Door("embed.text", lambda: good.as_json({"text": "a man"}), refused(_text), (Refusal,), spoil.as_json),)
