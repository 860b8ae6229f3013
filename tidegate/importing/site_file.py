"""The text of an imported site file, checked by the format itself. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from shared.contract.reading.mistakes import Mistakes
from shared.runtime.errors import SettingError
from shared.site import format


def text_of(site: dict[str, Any], source: str) -> str:
    """Return the site file. Raises SettingError if the format refuses it: then the input has what no check foresaw."""
    text = yaml.safe_dump(_plain(site), sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    try:
        format.read(text.encode(), "the imported site")
    except Mistakes as e:
        raise SettingError(f"{source} can't be imported as it is: correct these in it\n{e}") from e
    return f"# Imported from {' '.join(source.split())[:200]}: compare it with a site by 'tidegate diff -f'.\n{text}"


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples. Equal parts are copies, so that no alias is written."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
