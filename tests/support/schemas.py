"""Validators of JSON Schema. Importing this module first makes later imports of jsonschema cheap."""

from __future__ import annotations

import sys
from functools import cache
from types import SimpleNamespace
from unittest.mock import patch

from shared.contract import events


def _is_valid_syntax(term: str, value: str) -> bool:
    from rfc3987_syntax import is_valid_syntax

    return is_valid_syntax(term, value)


# The grammars of this package cost a second of CPU at import: the first IRI that is checked loads them.
with patch.dict(sys.modules, {"rfc3987_syntax": SimpleNamespace(is_valid_syntax=_is_valid_syntax)}):  # type: ignore[dict-item]
    import jsonschema

Validator = jsonschema.Draft202012Validator
OlderValidator = jsonschema.Draft7Validator
ValidationError = jsonschema.ValidationError


@cache
def of_events() -> jsonschema.Draft202012Validator:
    """The validator of every event."""
    return Validator(events.json_schema())
