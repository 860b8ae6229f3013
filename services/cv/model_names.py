"""What CV_MODELS names: further models, by the names that cameras select. Pure.

Example:
    parse("plates=/models/plates.onnx, yard=hf:/models/yard")     # {"plates": "/models/plates.onnx", "yard": …}
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.contract.names import check_token
from shared.runtime.errors import SettingError

SETTING = "CV_MODELS"
# Every replica holds all of them in memory.
MOST = 8


def parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield each name, and its value of CV_MODEL; empty if the text has none. Raises SettingError."""
    seen: set[str] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        name, spec = (each.strip() for each in part.partition("=")[::2])
        if check_token(name, f"{SETTING}: model name") in seen:
            raise SettingError(f"{SETTING} has {name} twice: give each model a name of its own")
        seen.add(name)
        yield name, spec


def parse(text: str) -> dict[str, str]:
    """Return the value of CV_MODEL for each name. Raises SettingError."""
    found = dict(parts(text))
    for name, spec in found.items():
        if not spec:
            raise SettingError(
                f"{SETTING} has {name} without a model: give {name}=/models/{name}.onnx; only 'tidegate up' finds "
                "measured models by their names"
            )
    if len(found) > MOST:
        raise SettingError(f"{SETTING} has {len(found)} models: give at most {MOST}")
    return found
